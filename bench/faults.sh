#!/bin/sh
# Kills, stops, cuts off, poisons and starves ranks while they train, and looks at what becomes of it.
#
#   bench/faults.sh OUT [--num-trials 10] [--num-ranks 2] [--faults kill-forward,stop,...] [--seed 0]
#
# Prints a table in Markdown; docs/benchmarks/faults.md keeps one. PYTHON names an interpreter that has
# exastorm; without, that of `make test` is taken where it is there. The faults cut and full-disk need
# root (and iproute2): elsewhere they are left out.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv="$here/../.venv/bin/python"
if [ -z "${PYTHON:-}" ] && [ -x "$venv" ]; then PYTHON=$venv; fi
exec "${PYTHON:-python3}" "$here/faults" "$@"
