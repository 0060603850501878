"""Which variables each launcher sets, and which launcher it was.

Launchers nest: srun may start the daemons of mpirun, and either may start torchrun on each machine.
The variables of the outer one are then still there, so the inner ones are looked for first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from exastorm.parallel.launch.slurm import in_slurm_step


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The variables of one launcher; of several in a field, the first that is set counts.

    Attributes:
        launcher: Its name.
        rank: This process.
        size: All processes.
        local_rank: This process among those of its machine.
        local_size: All processes of this machine.
        job: Tells this launch from others.
        restart_count: How often the launcher has started the ranks again.
    """

    launcher: str
    rank: tuple[str, ...]
    size: tuple[str, ...]
    local_rank: tuple[str, ...]
    local_size: tuple[str, ...] = ()
    job: tuple[str, ...] = ()
    restart_count: str | None = None


TORCHRUN = Dialect(
    # torch.distributed.run, "Environment Variables"; the same names are torch's env:// convention.
    launcher="torchrun",
    rank=("RANK",),
    size=("WORLD_SIZE",),
    local_rank=("LOCAL_RANK",),
    local_size=("LOCAL_WORLD_SIZE",),
    restart_count="TORCHELASTIC_RESTART_COUNT",
)
SLURM = Dialect(
    # srun(1), "OUTPUT ENVIRONMENT VARIABLES". SLURM_NTASKS can be that of a larger job.
    launcher="Slurm",
    rank=("SLURM_PROCID",),
    size=("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
    local_rank=("SLURM_LOCALID",),
    # sbatch(1), "OUTPUT ENVIRONMENT VARIABLES": times the job was requeued.
    restart_count="SLURM_RESTART_COUNT",
)
MPI = (
    Dialect(
        # Open MPI 5 documentation, section 11.1, "Environment variables set for MPI applications".
        launcher="Open MPI",
        rank=("OMPI_COMM_WORLD_RANK",),
        size=("OMPI_COMM_WORLD_SIZE",),
        local_rank=("OMPI_COMM_WORLD_LOCAL_RANK",),
        local_size=("OMPI_COMM_WORLD_LOCAL_SIZE",),
        # PMIx standard 5.0, section 5.2: the name space of a job, set by servers for their clients.
        job=("PMIX_NAMESPACE",),
    ),
    Dialect(
        # MVAPICH2: mpirun_rsh (src/pm/mpirun/mpispawn.c) and its hydra set these.
        launcher="MVAPICH2",
        rank=("MV2_COMM_WORLD_RANK",),
        size=("MV2_COMM_WORLD_SIZE",),
        local_rank=("MV2_COMM_WORLD_LOCAL_RANK",),
        local_size=("MV2_COMM_WORLD_LOCAL_SIZE",),
    ),
    Dialect(
        # MPICH's Hydra and Intel MPI (Developer Reference, "Environment Variables Not Propagated by
        # Hydra": it sets them itself), whose launches only Intel MPI tells apart; PMI_LOCAL_* come
        # from HPE Cray's PALS (mpiexec).
        launcher="MPICH or Intel MPI",
        rank=("PMI_RANK",),
        size=("PMI_SIZE",),
        local_rank=("MPI_LOCALRANKID", "PMI_LOCAL_RANK"),
        local_size=("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"),
        job=("I_MPI_HYDRA_UUID",),
    ),
)
PMIX = Dialect(
    # PMIx standard 5.0, section 5.2: a client finds its rank there, but the size only through the
    # library; so the user gives it.
    launcher="PMIx",
    rank=("PMIX_RANK",),
    size=("WORLD_SIZE",),
    local_rank=(),
    job=("PMIX_NAMESPACE",),
)


def find_dialect(environ: Mapping[str, str]) -> Dialect | None:
    """The innermost launcher whose variables are set; None for a process that none started."""
    if environ.get("RANK"):
        return TORCHRUN
    slurm = SLURM if in_slurm_step(environ) else None
    for dialect in MPI:
        if first_set(environ, dialect.rank + dialect.size):
            # Slurm's own PMI plugin (srun --mpi=pmi2) sets the same numbers, and Slurm knows more.
            # It sets no local rank, but all others do: also where srun started their daemons, one
            # of which may have the rank that a process under it has.
            own = slurm and not first_set(environ, dialect.local_rank)
            return slurm if own and _same_ranks(environ, dialect, SLURM) else dialect
    has_pmix = bool(environ.get("PMIX_RANK"))
    if slurm:
        # So does srun --mpi=pmix; a size that is another's tells of daemons that srun started.
        nested = has_pmix and environ.get("WORLD_SIZE")
        return PMIX if nested and not _same_ranks(environ, PMIX, slurm) else slurm
    if has_pmix:
        return PMIX
    return TORCHRUN if environ.get("WORLD_SIZE") else None


def first_set(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """The first of some variables that is set and not empty."""
    return next((name for name in names if environ.get(name)), None)


def _same_ranks(environ: Mapping[str, str], one: Dialect, other: Dialect) -> bool:
    """Whether two launchers give this process the same rank of as many."""
    ours, theirs = (
        [environ.get(first_set(environ, names) or "") for names in (dialect.rank, dialect.size)]
        for dialect in (one, other)
    )
    return ours == theirs
