#!/bin/sh
# What the package does on a machine with GPUs: a step on one of them, each figure beside the device's
# own peak in the same run, and sums of gradients over all of them.
#
# Needs python3 with torch and the package's core dependencies; the package itself need not be
# installed. JSON goes to the folder given as first argument (default: bench/results), a file for each
# run; what fails is told, leaves its message in a file ending in .failed, and the rest goes on.
#
#   sh bench/gpu.sh [OUT]
#
# A run whose file is in OUT is not run again, so that what a booked hour did not reach goes on in the
# next; EXASTORM_BENCH_LIMIT_S=SECONDS begins no further run after so long, and leaves none going.
# EXASTORM_BENCH_SMALL=1 runs the same lines on the CPU, small, to see that they work.
set -eu
cd "$(dirname "$0")/.."
OUT=${1:-bench/results}
SMALL=${EXASTORM_BENCH_SMALL:-}
mkdir -p "$OUT"
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}"
PYTHON=${PYTHON:-python3}
LIMIT_S=${EXASTORM_BENCH_LIMIT_S:-}
started=$(date +%s)
failed=0
left=0

# bench NAME WHAT OPTIONS...: one benchmark, its figures in OUT/NAME.json.
bench() {
    name=$1
    shift
    [ -e "$OUT/$name.json" ] && return
    limit=
    if [ "$LIMIT_S" ]; then
        remaining=$((LIMIT_S - $(date +%s) + started))
        if [ "$remaining" -le 0 ]; then
            left=$((left + 1))
            return
        fi
        limit="timeout $remaining"
    fi
    # shellcheck disable=SC2086
    if $limit "$PYTHON" -m exastorm.cli.main bench "$@" --json > "$OUT/$name.part" \
        2> "$OUT/$name.failed"; then
        mv "$OUT/$name.part" "$OUT/$name.json"
        rm "$OUT/$name.failed"
        echo "done    $name, $(($(date +%s) - started)) s"
    elif [ "$LIMIT_S" ] && [ $(($(date +%s) - started)) -ge "$LIMIT_S" ]; then
        rm "$OUT/$name.part" "$OUT/$name.failed"
        left=$((left + 1))
    else
        rm "$OUT/$name.part"
        failed=$((failed + 1))
        echo "FAILED  $name: $(tail -n 1 "$OUT/$name.failed")"
    fi
}

if [ "$SMALL" ]; then
    DEVICE="--step.compute.device cpu --step.num-steps 1 --step.num-rounds 1 --step.num-warmups 1"
    GRID="--step.height 32 --step.width 64"
    PRESET=compact
    PRECISIONS="float32"
    BATCHES="2"
    COMPILED=""
    LAYOUT="channels_last"
    RANKS="--exchange.device cpu --exchange.ranks-per-node 2"
    SIZES="0.064 1"
    STEPS="--overlap.device cpu --overlap.ranks-per-node 2 --overlap.num-steps 1 --overlap.bucket-mb 1"
    SAMPLE="--overlap.height 32 --overlap.width 48"
    INPUT="--input.height 32 --input.width 48 --input.num-samples 4 --input.num-rounds 1"
    LOOP="--overhead.height 32 --overhead.width 48 --overhead.num-rounds 1 --overhead.num-snapshots 40"
else
    DEVICE="--step.compute.device cuda --step.num-steps 10"
    GRID="--step.height 768 --step.width 1152"
    PRESET=full
    BATCHES="2 4"
    PRECISIONS="bfloat16 float32 float16"
    COMPILED="off cuda_graphs"
    LAYOUT="contiguous"
    GPUS=$("$PYTHON" -c "import torch; print(torch.cuda.device_count())")
    RANKS="--exchange.device cuda --exchange.ranks-per-node $GPUS"
    SIZES="0.004 0.064 1 25 174.7"
    STEPS="--overlap.device cuda --overlap.ranks-per-node $GPUS --overlap.num-steps 10"
    SAMPLE="--overlap.height 768 --overlap.width 1152 --overlap.network.preset full"
    INPUT="--input.device cuda"
    LOOP="--overhead.height 768 --overhead.width 1152 --overhead.network.preset full"
    # Labels are made on the host: rule sets beside reading the bytes alone.
    bench labels labels
fi

# step NAME OPTIONS...: one training step.
step() {
    name=$1
    shift
    # shellcheck disable=SC2086
    bench "step-$name" step $DEVICE $GRID --step.network.preset $PRESET "$@"
}

# Both networks in both variants and three precisions, as the paper's table has them; samples/s, TF/s,
# shares of the measured peaks, and memory are in each file.
for precision in $PRECISIONS; do
    for network in deeplabv3plus tiramisu; do
        for variant in modern paper; do
            step "$network-$variant-$precision" --step.network.name "$network" \
                --step.network.variant "$variant" --step.compute.precision "$precision"
        done
    done
done

# What each other choice brings, on the modern networks in bfloat16, one sample a step, compiled,
# channels last: batch, compilation, layout, memory.
for network in deeplabv3plus tiramisu; do
    for batch in $BATCHES; do
        step "$network-batch$batch" --step.network.name "$network" --step.batch-size "$batch" \
            --step.compute.precision bfloat16
    done
    for compiled in $COMPILED; do
        step "$network-compile-$compiled" --step.network.name "$network" \
            --step.compute.precision bfloat16 --step.compute.compile "$compiled"
    done
    step "$network-$LAYOUT" --step.network.name "$network" --step.compute.precision bfloat16 \
        --step.compute.memory-format "$LAYOUT"
    step "$network-recompute" --step.network.name "$network" --step.compute.precision bfloat16 \
        --step.compute.recompute
    step "$network-float32-without-tf32" --step.network.name "$network" \
        --step.compute.no-tensor-float32
    step "$network-batchnorm" --step.network.name "$network" --step.network.norm batch \
        --step.compute.precision bfloat16
done

# Sums over one rank for each GPU, by NCCL: its time by size, and what of it a step hides. One GPU alone
# has nothing to sum, which then says what the exchange costs a step by itself.
# shellcheck disable=SC2086
bench exchange exchange $RANKS --exchange.no-emulate --exchange.num-nodes 1 \
    --exchange.kinds flat --exchange.sizes-mb $SIZES
# shellcheck disable=SC2086
bench overlap overlap $STEPS --overlap.no-emulate --overlap.num-nodes 1 $SAMPLE \
    --overlap.work network --overlap.allreduce.kind flat

# Samples from files to tensors on a GPU, and what feeding a device of 30 samples/s costs.
# shellcheck disable=SC2086
bench input input $INPUT --input.device-rate 30

# The loop of exastorm train at one process, beside a plain one.
# shellcheck disable=SC2086
bench overhead overhead $LOOP

"$PYTHON" - "$OUT" <<'TABLE'
"""One line a run: what was asked of it and what it did."""
import json
import sys
from pathlib import Path

print(f"{'run':<40} {'samples/s':>9} {'TF/s':>8} {'of conv. peak':>13} {'memory MB':>10}")
for path in sorted(Path(sys.argv[1]).glob("step-*.json")):
    f = json.loads(path.read_text())
    share = next((v for k, v in f.items() if k.startswith("share_of_convolution")), float("nan"))
    print(
        f"{path.stem[5:]:<40} {f['samples_per_s']:>9.3g} {f['tflop_per_s']:>8.3g} {share:>13.2f}"
        f" {f['peak_memory_mb']:>10.0f}"
    )
TABLE
echo "$failed failed, $left left"
[ $((failed + left)) -eq 0 ]
