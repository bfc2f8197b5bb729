#!/usr/bin/env bash
# New pairs in, labels out: bash predict.sh run=FOLDER input=FILE output=FILE
source "$(dirname "${BASH_SOURCE[0]}")/../run.sh"
stages sohu_matching predict -- "$@"
