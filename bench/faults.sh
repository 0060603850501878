#!/bin/sh
# Kills, stops and poisons ranks while they train, and looks at what becomes of the run.
#
#   bench/faults.sh OUT [--num-trials 10] [--num-ranks 2] [--faults kill-forward,stop,...]
#
# Prints a table; docs/benchmarks/faults.md keeps one. PYTHON names an interpreter that has exastorm.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "${PYTHON:-python3}" "$here/faults.py" "$@"
