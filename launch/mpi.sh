#!/bin/sh
# Trains with the ranks that an MPI launcher starts (Open MPI, MPICH, Intel MPI); MPI itself is used
# to start them and for nothing else.
#
#   launch/mpi.sh HOSTFILE NUM_RANKS SAMPLES RUN [options of exastorm train]
#
# HOSTFILE has a line for each node (Open MPI: "node1 slots=4").
set -eu
usage="usage: mpi.sh HOSTFILE NUM_RANKS SAMPLES RUN [options]"
hosts=${1:?$usage}
ranks=${2:?$usage}
samples=${3:?$usage}
run=${4:?$usage}
shift 4

# Where ranks meet: the first node of the list.
MASTER_ADDR=$(sed -n 's/[[:space:]:].*//; /./{p;q;}' "$hosts")
MASTER_PORT=${MASTER_PORT:-29500}
export MASTER_ADDR MASTER_PORT

set -- "$samples" --out "$run" --auto-resume --config cluster "$@"
if mpirun --version 2>/dev/null | grep -q "Open MPI"; then
  exec mpirun --hostfile "$hosts" -n "$ranks" -x MASTER_ADDR -x MASTER_PORT exastorm train "$@"
fi
exec mpiexec -f "$hosts" -n "$ranks" -env MASTER_ADDR "$MASTER_ADDR" -env MASTER_PORT "$MASTER_PORT" \
  exastorm train "$@"
