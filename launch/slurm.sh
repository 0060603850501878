#!/bin/bash
# Trains on the nodes of a Slurm job, one rank for each GPU, and goes on after a lost node.
#
#   sbatch --nodes 4 launch/slurm.sh SAMPLES RUN [options of exastorm train]
#
# SAMPLES and RUN are folders on a file system that the first node sees (samples: all nodes). The job
# asks for a signal two minutes before its time is up, at which the run saves itself; submit the same
# line again and it goes on. Adjust what follows to the machine.
#SBATCH --job-name exastorm
#SBATCH --gpus-per-node 4
#SBATCH --ntasks-per-node 4
#SBATCH --cpus-per-task 8
#SBATCH --time 04:00:00
#SBATCH --signal USR1@120
#SBATCH --requeue
#SBATCH --open-mode append
set -eu
samples=${1:?usage: slurm.sh SAMPLES RUN [options]}
run=${2:?usage: slurm.sh SAMPLES RUN [options]}
shift 2

# Where ranks meet: the job's first node, and a port that other jobs there won't have.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}

# A lost node ends all ranks within a minute; srun then fails, and they are started again from the
# last checkpoint as long as enough nodes are left.
for attempt in 1 2 3; do
  if srun --kill-on-bad-exit=1 --wait 60 \
    exastorm train "$samples" --out "$run" --auto-resume --config cluster "$@"; then
    exit 0
  fi
  echo "slurm.sh: attempt $attempt ended early" >&2
done
exit 1
