#!/bin/sh
# Labels beside TempestExtremes: the same files, one run, one core, every figure in CPU time.
#
# PROGRAMS is the folder with DetectNodes and DetectBlobs, built from
# github.com/ClimateGlobalChange/tempestextremes. The set-up of DetectBlobs takes some minutes at
# 768 x 1152. A table goes to the screen; with OUT, JSON goes to that file instead. Further words
# are options of `exastorm bench labels`.
#
#   sh bench/peers/label_speed.sh PROGRAMS [OUT [OPTION]...]
set -eu
PROGRAMS=$(cd "${1:?folder with DetectNodes and DetectBlobs}" && pwd)
OUT=${2:-}
case $OUT in "" | /*) ;; *) OUT=$PWD/$OUT ;; esac
shift "$(($# < 2 ? $# : 2))"
cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS=1
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}"
# Where the system can, everything stays on one core.
PIN=""
if command -v taskset > /dev/null; then PIN="taskset -c 0"; fi

if [ -n "$OUT" ]; then
    $PIN python3 -m exastorm.cli.main bench labels --tempest "$PROGRAMS" --json "$@" > "$OUT"
else
    $PIN python3 -m exastorm.cli.main bench labels --tempest "$PROGRAMS" "$@"
fi
