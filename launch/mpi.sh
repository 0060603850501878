#!/bin/sh
# Trains with the ranks that an MPI launcher starts (Open MPI, MPICH, Intel MPI); MPI itself is used
# to start them and for nothing else.
#
#   launch/mpi.sh HOSTFILE NUM_RANKS SAMPLES RUN [options of exastorm train]
#
# HOSTFILE has a line for each node (Open MPI: "node1 slots=4"; MPICH, Intel MPI: "node1:4"). Ctrl-C or
# SIGTERM once: the run saves itself and ends; the same line goes on with it. Twice: it is killed.
# Settings are those of exastorm's "cluster", or of --config. MPI_OPTIONS holds more of the launcher's.
set -eu
usage="usage: mpi.sh HOSTFILE NUM_RANKS SAMPLES RUN [options]"
hosts=${1:?$usage}
ranks=${2:?$usage}
samples=${3:?$usage}
run=${4:?$usage}
shift 4
case " $*" in *" --config"*) ;; *) set -- --config cluster "$@" ;; esac
set -- exastorm train "$samples" --out "$run" --auto-resume "$@"

# Where ranks meet: the first node of the list.
MASTER_ADDR=$(awk '!/^[[:space:]]*(#|$)/ { sub(/:.*/, "", $1); print $1; exit }' "$hosts")
MASTER_PORT=${MASTER_PORT:-29500}
OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Open MPI and Intel MPI would pin a rank with all its threads, also those that read samples, to a core
# or two. MPICH and Intel MPI pass all variables on.
I_MPI_PIN=0
export MASTER_ADDR MASTER_PORT OMP_NUM_THREADS I_MPI_PIN
if mpirun --version 2>/dev/null | grep -q "Open MPI"; then
  set -- mpirun --hostfile "$hosts" --bind-to none \
    -x MASTER_ADDR -x MASTER_PORT -x OMP_NUM_THREADS ${MPI_OPTIONS:-} -n "$ranks" "$@"
else
  set -- mpiexec -f "$hosts" ${MPI_OPTIONS:-} -n "$ranks" "$@"
fi

# At Ctrl-C or SIGTERM Open MPI kills all ranks within a second, but SIGUSR1 all launchers pass on, and
# at that the run saves itself. In a session of its own the launcher does not hear Ctrl-C.
setsid "$@" &
launcher=$!
signal=USR1
trap 'kill -s "$signal" "$launcher"; signal=TERM' INT TERM USR1
code=0
wait "$launcher" || code=$?
# A signal ends the waiting, too.
while kill -0 "$launcher" 2>/dev/null; do
  code=0
  wait "$launcher" || code=$?
done
exit "$code"
