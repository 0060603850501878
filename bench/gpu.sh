#!/bin/sh
# What the package does on one GPU, each figure beside the device's own peak in the same run.
#
# Needs python3 with torch and the package's core dependencies; the package itself need not be
# installed. JSON lines go to the folder given as first argument (default: bench/results).
#
#   sh bench/gpu.sh [OUT]
set -eu
cd "$(dirname "$0")/.."
OUT=${1:-bench/results}
mkdir -p "$OUT"
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}"

bench() {
    python3 -m exastorm.cli.main bench "$@" --json
}

# Labels are made on the host: rule sets beside reading the bytes alone.
bench labels > "$OUT/labels.json"

# A training step of the compact network: the paper's grid and a quarter of it, in both precisions.
for grid in "768 1152" "192 288"; do
    set -- $grid
    for precision in float32 bfloat16; do
        for batch_size in 1 4; do
            bench step --step.device cuda --step.height "$1" --step.width "$2" \
                --step.precision "$precision" --step.channels-last \
                --step.batch-size "$batch_size" --step.num-steps 20 \
                > "$OUT/step-$1x$2-$precision-$batch_size.json"
        done
    done
done
