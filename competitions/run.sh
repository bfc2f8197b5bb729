# Sourced by every contest's train.sh and predict.sh: runs stages one after another and stops at the first that fails.
# The commands run where the caller stands, so that relative paths mean what they say.
set -euo pipefail
kit="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$kit/.venv/bin/python"
[ -x "$python" ] || python="${PYTHON:-python3}"
export PYTHONPATH="$kit${PYTHONPATH:+:$PYTHONPATH}"

# stages CONTEST STAGE... -- WORD...
stages() {
  local contest="$1" stage names=()
  shift
  while [ "$1" != "--" ]; do names+=("$1"); shift; done
  shift
  for stage in "${names[@]}"; do
    "$python" -m competitions "$contest" "$stage" "$@"
  done
}
