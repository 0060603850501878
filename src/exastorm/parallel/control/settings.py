"""How the control plane behaves: shape of the tree, patience, and what it remembers."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """Settings of the control plane; all ranks must be given the same."""

    radix: int = 4
    """Children of a rank in the control tree; 0 is the flat tree, whose rank 0 talks to everyone.

    Between 2 and 8 performed alike on Summit (SC18 paper, section V-A3)."""

    batch_s: float = 0.002
    """While an order is negotiated, a rank sends what is ready upward at most this often (seconds).

    2 ms is the cycle of Horovod's background thread in the paper's Summit runs
    (HOROVOD_SLEEP_INTERVAL)."""

    confirm_steps: int = 3
    """Steps in a row in which every rank keeps its order, until it is no longer negotiated.

    Two would do for a deterministic backward pass, but the first step of a run is often unlike the
    others (lazy set-up), so one more must agree. A wrong guess costs three messages more per
    neighbor, in one step."""

    stall_s: float = 60.0
    """Silence after which the ranks that are missing are looked for and named (seconds).

    Horovod warns after the same time (HOROVOD_STALL_CHECK_TIME_SECONDS)."""

    hang_s: float = 600.0
    """Silence after which the run is ended on all ranks (seconds).

    10 minutes is the timeout of PyTorch's NCCL process group. Must be longer than whatever one rank
    does alone while the others wait, such as writing a checkpoint."""

    reply_s: float = 2.0
    """A control thread that gives no answer for so long counts as silent (seconds).

    It has to fetch Python's lock from a busy main thread, 5 ms at a time (sys.getswitchinterval),
    and perhaps a core from other processes: 400 turns are ample."""

    connect_s: float = 300.0
    """Time for all neighbors in the tree to connect (seconds); PyTorch's TCPStore waits as long."""

    num_slowest: int = 8
    """How many of the slowest ranks are named at each step; a node of Summit has 6 GPUs."""

    straggler_steps: int = 100
    """Steps over which rank 0 counts who is late."""

    late_share: float = 0.1
    """A rank is late in a step if it took longer than the others' mean by more than this share.

    One rank 10 % late costs a synchronous run as much as all losses of the paper's largest run
    together (90.7 % efficiency)."""

    def __post_init__(self) -> None:
        for name, least in (
            ("radix", 0), ("batch_s", 0), ("confirm_steps", 1), ("num_slowest", 1),
            ("straggler_steps", 1), ("late_share", 0),
        ):  # fmt: skip
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("stall_s", "reply_s", "connect_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not self.hang_s >= self.stall_s:
            raise ValueError(f"hang_s must be at least stall_s {self.stall_s}, got {self.hang_s}")
