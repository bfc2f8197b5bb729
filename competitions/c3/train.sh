#!/usr/bin/env bash
# From the files to a checked submission. Arguments are key=value settings: bash train.sh data_dir=FOLDER seeds=[1,2]
# --config FILE, data_dir, output_dir and encoder may be relative to where you are.
source "$(dirname "${BASH_SOURCE[0]}")/../run.sh"
stages c3 prepare train ensemble check -- "$@"
