#!/bin/sh
# Learning off the made-up data: the first months of a climate model teach, later months test.
#
#   bench/exoplasim/experiment.sh GCM DEMO OUT
#
# GCM   folder of run.sh; its months are in GCM/output
# DEMO  folder of `exastorm demo`, for its weights
# OUT   folder to make, for labels, samples, runs, masks, scores and a page
#
# The last two months test, the one before them is left out so that no test snapshot is nearly a
# picture that was learned, and those before it teach. EXASTORM and PYTHON name the command and the
# interpreter that has it, TRAIN_OPTIONS other settings of the training. Figures end in OUT/scores.md; docs/experiments/exoplasim.md tells them.
set -eu
gcm=${1:?usage: experiment.sh GCM DEMO OUT}
demo=${2:?usage: experiment.sh GCM DEMO OUT}
out=${3:?usage: experiment.sh GCM DEMO OUT}
exastorm=${EXASTORM:-exastorm}
here=$(cd "$(dirname "$0")" && pwd)
options=${TRAIN_OPTIONS:---train.batch-size 4 --train.num-steps 2000 --train.optimizer.learning-rate 0.002 --train.loss.overlap dice --train.validation.interval 500}
mkdir -p "$out"

months=$(ls "$gcm"/output/exoplasim_day*.nc)
count=$(echo "$months" | wc -l)
if [ "$count" -lt 5 ]; then
  echo "experiment.sh: needs at least 5 months, got $count in $gcm/output" >&2
  exit 2
fi
first=$(echo "$months" | head -n $((count - 3)))
later=$(echo "$months" | tail -n 2)

$exastorm inspect $months > "$out/inspect.txt"
$exastorm label $first --tc none --ar sc18 --out "$out/first_labels.nc" --json \
  > "$out/first_labels.json"
$exastorm label $later --tc none --ar sc18 --out "$out/labels.nc" --json > "$out/labels.json"
$exastorm prepare $first --labels "$out/first_labels.nc" --out "$out/samples" --prepare.overwrite \
  --prepare.split-fractions 0.85 0.15 0 --prepare.block-days 10 --json > "$out/samples.json"
rm -rf "$out/run"
$exastorm train "$out/samples" --out "$out/run" $options --json > "$out/train.json"
$exastorm evaluate "$out/run" "$out/samples" --split validation --baseline --json \
  > "$out/validation.json"

$exastorm segment $later --model "$out/run" --out "$out/learned_here.nc"
$exastorm segment $later --model "$demo/run" --out "$out/demo_weights.nc"
for masks in learned_here demo_weights; do
  $exastorm evaluate "$out/$masks.nc" "$out/labels.nc" --json > "$out/$masks.json"
done
$exastorm report "$out/learned_here.nc" "$out/demo_weights.nc" "$out/labels.nc" \
  --archive $later --report.backdrop TMQ --out "$out/page"
"${PYTHON:-python3}" "$here/scores.py" "$out" $later > "$out/scores.md"
cat "$out/scores.md"
