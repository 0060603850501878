#!/bin/bash
# Trains on the nodes of a Slurm job, one rank for each GPU, and goes on after a lost rank.
#
#   sbatch --nodes 4 launch/slurm.sh SAMPLES RUN [options of exastorm train]
#
# SAMPLES and RUN are folders on a file system that the first node sees (samples: all nodes). The job
# asks for a signal two minutes before its time is up, at which the run saves itself; submit the same
# line again and it goes on. To end it earlier: scancel --signal USR1 JOB. Settings are those of
# exastorm's "cluster", or of --config. Adjust what follows to the machine; sbatch's own options win.
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
case " $*" in *" --config"*) ;; *) set -- --config cluster "$@" ;; esac

# srun does not take a task's CPUs over from sbatch (srun(1), --cpus-per-task).
cpus=${SLURM_CPUS_PER_TASK:-1}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$cpus}

# Ranks find out by themselves where they meet, and that one of them is lost: then all end, a minute
# later at most, and are started again from the last checkpoint. After the loss of a node Slurm puts
# the job back into the queue (--requeue). Code 2 says that something given is wrong, as it would be
# the next time.
for attempt in 1 2 3; do
  code=0
  srun --cpus-per-task "$cpus" --kill-on-bad-exit=0 --wait 60 \
    exastorm train "$samples" --out "$run" --auto-resume "$@" || code=$?
  case $code in 0 | 2) exit "$code" ;; esac
  echo "slurm.sh: attempt $attempt ended with code $code" >&2
done
exit 1
