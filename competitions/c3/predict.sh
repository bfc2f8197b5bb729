#!/usr/bin/env bash
# New text in, predictions out: bash predict.sh run=FOLDER input=FILE output=FILE
source "$(dirname "${BASH_SOURCE[0]}")/../run.sh"
stages c3 predict -- "$@"
