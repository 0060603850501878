#!/bin/sh
# Trains on this node and others with torchrun; run it on each of them.
#
#   launch/torchrun.sh NUM_NODES RANKS_PER_NODE FIRST_NODE SAMPLES RUN [options of exastorm train]
#
# FIRST_NODE is the address of the node whose torchrun all others find. After a lost rank torchrun
# starts all again, at most three times, and they go on from the last checkpoint.
# Settings are those of exastorm's "cluster", or of --config.
set -eu
usage="usage: torchrun.sh NUM_NODES RANKS_PER_NODE FIRST_NODE SAMPLES RUN [options]"
nodes=${1:?$usage}
ranks=${2:?$usage}
first=${3:?$usage}
samples=${4:?$usage}
run=${5:?$usage}
shift 5
case " $*" in *" --config"*) ;; *) set -- --config cluster "$@" ;; esac

# A store that ranks share over restarts keeps what the lost ones left there (pytorch#135712).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec torchrun --nnodes "$nodes" --nproc-per-node "$ranks" --max-restarts 3 \
  --rdzv-backend c10d --rdzv-endpoint "$first:29400" --rdzv-id "$(basename "$run")" \
  --no-python exastorm train "$samples" --out "$run" --auto-resume "$@"
