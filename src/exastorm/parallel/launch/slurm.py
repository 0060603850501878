"""What Slurm tells the tasks of a job step: whether there is one, which, and its first node."""

from collections.abc import Mapping

from exastorm.errors import InputError

FIRST_RESERVED_STEP = 0xFFFFFFF0
"""Steps from here on are no launches of srun but batch scripts, interactive shells and the like
(slurm/slurm.h: SLURM_INTERACTIVE_STEP is 0xfffffffa, SLURM_BATCH_SCRIPT 0xfffffffb)."""

_NODE_LISTS = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")


def in_slurm_step(environ: Mapping[str, str]) -> bool:
    """Whether srun started this process as a task.

    The shell of sbatch has SLURM_PROCID=0 and the job's SLURM_NTASKS too, and that of salloc has
    SLURM_NTASKS, but neither has SLURM_STEP_ID, which srun(1) sets.
    """
    step = environ.get("SLURM_STEP_ID", "") or environ.get("SLURM_STEPID", "")
    if not environ.get("SLURM_PROCID") or not step:
        return False
    return not (step.isdigit() and int(step) >= FIRST_RESERVED_STEP)


def slurm_job(environ: Mapping[str, str]) -> str:
    """Job and step: no two launches of a cluster have the same."""
    job = environ.get("SLURM_JOB_ID") or environ.get("SLURM_JOBID", "")
    return f"{job}.{environ.get('SLURM_STEP_ID') or environ.get('SLURM_STEPID', '')}"


def first_host(environ: Mapping[str, str], loopback: str) -> str:
    """The host of task 0: the first of the step's nodes, unless the user dealt tasks out otherwise.

    Args:
        environ: The environment.
        loopback: What to return where the step has one node, whose name need not be known then.

    Raises:
        InputError: If Slurm has told no nodes, or told them in another order than that of tasks.
    """
    if environ.get("SLURM_STEP_NUM_NODES") == "1":
        return loopback
    # srun(1), --distribution: all others start with the first node; lists of nodes are sorted.
    if environ.get("SLURM_DISTRIBUTION") == "arbitrary":
        raise InputError(
            "MASTER_ADDR must be set to the host of task 0, as SLURM_DISTRIBUTION is arbitrary"
        )
    name = next((name for name in _NODE_LISTS if environ.get(name)), None)
    if name is not None:
        return first_of(environ[name], name)
    # Where srun was called: the first node of the job for a call in a batch script.
    launcher = environ.get("SLURM_LAUNCH_NODE_IPADDR")
    if launcher:
        return launcher
    raise InputError("MASTER_ADDR must be set, as SLURM_STEP_NODELIST is not set")


def first_of(nodes: str, variable: str) -> str:
    """The first name of a Slurm host list: of "n[08-11,20],m1" it is "n08".

    Raises:
        InputError: If a bracket is not closed or nothing is left.
    """
    name, rest = "", nodes.strip()
    while rest and rest[0] != ",":
        head, bracket, tail = rest.partition("[")
        before, comma, _ = head.partition(",")
        name += before
        if comma or not bracket:
            break
        inside, closed, rest = tail.partition("]")
        if not closed:
            raise InputError(f"{variable} must close its brackets, got {nodes!r}")
        name += inside.partition(",")[0].partition("-")[0]
    if not name:
        raise InputError(f"{variable} must name nodes, got {nodes!r}")
    return name
