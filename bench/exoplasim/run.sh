#!/bin/sh
# Runs the climate model ExoPlaSim for some months: moving weather that nobody drew.
#
#   bench/exoplasim/run.sh OUT [options of run_exoplasim.py]
#
# makes a virtual environment of its own in OUT/venv (the model writes into its own package, and needs
# other versions than exastorm), compiles the model at the resolution asked for, runs it, and leaves one
# netCDF file a month in OUT/output. The same command with more --days goes on where the last one ended.
# Needs Python 3.9 or later, gfortran, gcc, make and the internet; by default twenty minutes of one
# core, 1.5 GB of memory and 1.5 GB of disk. PYTHON names another interpreter.
set -eu
out=${1:?usage: run.sh OUT [--resolution T42] [--spinup-days 60] [--days 210] ...}
shift
here=$(cd "$(dirname "$0")" && pwd)
for tool in gfortran gcc make; do
  command -v "$tool" >/dev/null || { echo "run.sh: needs $tool (Debian: apt-get install gfortran gcc make)" >&2; exit 2; }
done
mkdir -p "$out"
out=$(cd "$out" && pwd)
if [ ! -x "$out/venv/bin/python" ]; then
  "${PYTHON:-python3}" -m venv "$out/venv"
fi
"$out/venv/bin/python" -m pip install --quiet "exoplasim==3.4.2" netCDF4
cd "$out"
exec "$out/venv/bin/python" "$here/run_exoplasim.py" "$out" "$@"
