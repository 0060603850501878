"""Who started this process, as which rank of how many, and where all meet: from the environment.

Every launcher tells its processes their rank in variables of its own; none is imported or called.
torchrun also tells where to meet. Elsewhere `MASTER_ADDR` and `MASTER_PORT` may tell, and always
win; else Slurm's list of nodes starts with rank 0's, and processes of one machine meet on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

from exastorm.errors import InputError
from exastorm.parallel.launch.dialects import MPI, SLURM, TORCHRUN, Dialect, find_dialect, first_set
from exastorm.parallel.launch.slurm import first_host, slurm_job

RANKS_PER_NODE = "EXASTORM_RANKS_PER_NODE"
ADDRESS, PORT = "MASTER_ADDR", "MASTER_PORT"

LOOPBACK = "127.0.0.1"

FIRST_PORT, NUM_PORTS = 20_000, 12_000
"""Where a port is chosen: above the ports of services, below those that Linux hands out to
connections (32768 and up, net.ipv4.ip_local_port_range in the kernel's ip-sysctl.rst)."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a launcher told this process.

    Attributes:
        launcher: Its name; "none" for a process that was started by hand.
        rank: This process, from 0.
        num_ranks: All processes.
        local_rank: This process among those the launcher started on this machine, where told.
        address: Host name or address of the meeting point, which is on rank 0's machine.
        port: TCP port of the meeting point.
        restart_count: How often the launcher has started the ranks again.
        keeps_store: True if the launcher, not rank 0, keeps the store at the meeting point, and
            keeps it over restarts.
        job: Tells this run from others at the same meeting point; empty where unknown.
        ranks_per_node: Emulate nodes of so many ranks; None for real nodes.
    """

    launcher: str = "none"
    rank: int = 0
    num_ranks: int = 1
    local_rank: int | None = None
    address: str = LOOPBACK
    port: int = FIRST_PORT
    restart_count: int = 0
    keeps_store: bool = False
    job: str = ""
    ranks_per_node: int | None = None


def read_launch(environ: Mapping[str, str]) -> Launch:
    """What the environment says about this process.

    A launcher inside another wins: torchrun, then MPI (whose daemons srun may have started), then
    Slurm. A process that none started is alone, also in the shell of sbatch or salloc.

    Raises:
        InputError: If a variable is no number, is missing beside its partners, contradicts another,
            or if processes on several machines are not told where to meet.
    """
    dialect = find_dialect(environ)
    ranks_per_node = _number(environ, RANKS_PER_NODE, at_least=1)
    if dialect is None:
        return Launch(ranks_per_node=ranks_per_node)
    rank, num_ranks = _rank_of(environ, dialect.rank, dialect.size)
    local_rank, local_size = _local_rank_of(environ, dialect, num_ranks)
    _check_agreement(environ, dialect, rank, num_ranks)
    job = _job(environ, dialect)
    address, port = LOOPBACK, FIRST_PORT
    if num_ranks > 1:
        address = _address(environ, dialect, all_here=local_size == num_ranks)
        port = _port(environ, dialect, job)
    return Launch(
        launcher=dialect.launcher,
        rank=rank,
        num_ranks=num_ranks,
        local_rank=local_rank,
        address=address,
        port=port,
        restart_count=_number(environ, dialect.restart_count) or 0,
        # torch.distributed.rendezvous compares with str(True).
        keeps_store=dialect is TORCHRUN and environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        job=job,
        ranks_per_node=ranks_per_node,
    )


def _number(environ: Mapping[str, str], name: str | None, at_least: int = 0) -> int | None:
    """The whole number in a variable; None where it is not set.

    Raises:
        InputError: If it is none, or too small.
    """
    text = environ.get(name) if name else None
    if not text:
        return None
    if not (text.isascii() and text.strip().isdigit()) or int(text) < at_least:
        raise InputError(f"{name} must be a whole number from {at_least}, got {text!r}")
    return int(text)


def _rank_of(
    environ: Mapping[str, str], rank_names: tuple[str, ...], size_names: tuple[str, ...]
) -> tuple[int, int]:
    """A rank and the number of ranks, both set and one below the other.

    Raises:
        InputError: If not.
    """
    rank_name, size_name = first_set(environ, rank_names), first_set(environ, size_names)
    for name, names, other in (
        (rank_name, rank_names, size_name),
        (size_name, size_names, rank_name),
    ):
        if name is None:
            raise InputError(f"{' or '.join(names)} must be set, as {other} is set")
    rank, size = _number(environ, rank_name), _number(environ, size_name, at_least=1)
    assert rank is not None
    assert size is not None
    if rank >= size:
        raise InputError(f"{rank_name} must be less than {size_name} ({size}), got {rank}")
    return rank, size


def _local_rank_of(
    environ: Mapping[str, str], dialect: Dialect, num_ranks: int
) -> tuple[int | None, int | None]:
    """Rank and number of ranks on this machine, each where told.

    Raises:
        InputError: If there are more on this machine than in all.
    """
    size_name = first_set(environ, dialect.local_size)
    if size_name is None:
        return _number(environ, first_set(environ, dialect.local_rank)), None
    rank, size = _rank_of(environ, dialect.local_rank, dialect.local_size)
    if size > num_ranks:
        raise InputError(
            f"{size_name} must be at most {first_set(environ, dialect.size)} ({num_ranks}), "
            f"got {size}"
        )
    return rank, size


def _check_agreement(
    environ: Mapping[str, str], dialect: Dialect, rank: int, num_ranks: int
) -> None:
    """Refuse RANK set by hand for all processes of an MPI launch.

    Raises:
        InputError: If RANK is not the MPI rank among as many processes, and torchrun, which may
            number its processes otherwise, has not set it.
    """
    if dialect is not TORCHRUN or environ.get("TORCHELASTIC_RUN_ID"):
        return
    for other in MPI:
        if first_set(environ, other.rank + other.size):
            told, size = _rank_of(environ, other.rank, other.size)
            if size == num_ranks and told != rank:
                raise InputError(f"RANK must be {other.rank[0]} ({told}), got {rank}")


def _job(environ: Mapping[str, str], dialect: Dialect) -> str:
    if dialect is SLURM:
        return slurm_job(environ)
    return environ.get(first_set(environ, dialect.job) or "", "")


def _address(environ: Mapping[str, str], dialect: Dialect, *, all_here: bool) -> str:
    """Where rank 0 is.

    Raises:
        InputError: If it can't be known.
    """
    if environ.get(ADDRESS):
        return environ[ADDRESS].strip()
    if dialect is TORCHRUN:
        raise InputError(f"{ADDRESS} must be set, as RANK and WORLD_SIZE are set")
    if dialect is SLURM:
        return first_host(environ, LOOPBACK)
    if all_here:
        return LOOPBACK
    raise InputError(
        f"{ADDRESS} must be set to the host name of rank 0 where {dialect.launcher} starts "
        f"processes on several machines (mpirun -x {ADDRESS}=... of Open MPI, -genv {ADDRESS} ... "
        "of MPICH and Intel MPI)"
    )


def _port(environ: Mapping[str, str], dialect: Dialect, job: str) -> int:
    """Where rank 0 listens: as told, or chosen by job, so that all ranks choose the same.

    Raises:
        InputError: If it is no port.
    """
    port = _number(environ, PORT, at_least=1)
    if port is None and dialect is TORCHRUN:
        raise InputError(f"{PORT} must be set, as RANK and WORLD_SIZE are set")
    if port is None:
        return FIRST_PORT + crc32(job.encode()) % NUM_PORTS
    if port >= 2**16:
        raise InputError(f"{PORT} must be from 1 to 65535, got {port}")
    return port
