"""Ranks on this machine, started together, and started again when one of them is lost.

The supervisor keeps the store at which ranks meet, so it outlives them; to ranks it speaks as
torchrun does. What a rank is told to do is the caller's: the first time, and after a loss.

A rank that ends with code 2 has said what is wrong with what it was given, which would be as wrong
the next time; any other end but 0 is a loss. The other ranks find that out by themselves; those
that still run after half of the grace are asked to stop, and killed if they don't.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch.distributed as dist

from exastorm.parallel.launch.launchers import LOOPBACK

_torch: Any = dist  # whose stubs don't know the stores

USAGE_ERROR = 2
"""Exit code of a command that was given something wrong."""

POLL_S = 0.05

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals that are passed on to all ranks, which then save and end."""


@dataclass(frozen=True, kw_only=True)
class SupervisorSettings:
    """How ranks are started and started again."""

    num_ranks: int = 2
    """Processes on this machine."""

    max_restarts: int = 3
    """Times that the ranks are started again after one was lost."""

    grace_s: float = 30.0
    """Seconds that ranks have to end once another was lost, before they are killed."""

    def __post_init__(self) -> None:
        if self.num_ranks < 1:
            raise ValueError(f"num_ranks must be at least 1, got {self.num_ranks}")
        if self.max_restarts < 0:
            raise ValueError(f"max_restarts must not be negative, got {self.max_restarts}")
        if not self.grace_s > 0:
            raise ValueError(f"grace_s must be positive, got {self.grace_s}")


@dataclass(frozen=True)
class Ending:
    """How a rank ended.

    Attributes:
        rank: Which.
        code: Its exit code; negative for the signal that killed it.
        was_deaf: Whether the supervisor killed it, since it did not end otherwise.
    """

    rank: int
    code: int
    was_deaf: bool = False

    def to_line(self) -> str:
        """How, in words."""
        if self.was_deaf:
            return f"rank {self.rank} did not end when it had to, and was killed"
        if self.code < 0:
            return f"rank {self.rank} was killed by {signal.Signals(-self.code).name}"
        return f"rank {self.rank} ended with code {self.code}"


def variables_of(rank: int, num_ranks: int, port: int, run_id: str, attempt: int) -> dict[str, str]:
    """What a rank finds in its environment.

    Those are torchrun's variables, "Environment Variables" in PyTorch's documentation of it.

    Args:
        rank: Which.
        num_ranks: All of them, on this machine.
        port: Where the supervisor keeps the store.
        run_id: Tells this run from others.
        attempt: How often ranks were started before.
    """
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_WORLD_SIZE": str(num_ranks),
        "GROUP_RANK": "0",
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": str(attempt),
        "TORCHELASTIC_RUN_ID": run_id,
    }


class Supervisor:
    """Starts ranks, watches them, and starts them again."""

    def __init__(
        self, command: Callable[[int], Sequence[str]], settings: SupervisorSettings
    ) -> None:
        """Open the meeting point.

        Args:
            command: What each rank runs, by how often ranks were started before.
            settings: How many, and how often.
        """
        self._command, self._settings = command, settings
        self._store = _torch.TCPStore(
            LOOPBACK, 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60)
        )
        self._run_id = secrets.token_hex(8)
        self._ranks: list[subprocess.Popen[bytes]] = []
        self._asked_by: int | None = None

    def run(self) -> int:
        """Run until all ranks are done; returns the exit code of the whole.

        That is 0 if all ended well, 2 if one was given something wrong, and 1 if ranks were lost
        more often than allowed, or while a signal had asked them to stop.
        """
        before = {number: signal.signal(number, self._pass_on) for number in FORWARDED}
        try:
            for attempt in range(self._settings.max_restarts + 1):
                self._start(attempt)
                ending = self._watch()
                if ending is None or ending.code == USAGE_ERROR:
                    return 0 if ending is None else USAGE_ERROR
                self._tell(ending, attempt)
                if self._asked_by is not None:
                    return 1
            return 1
        finally:
            self._end_all()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self, attempt: int) -> None:
        """Start all ranks."""
        num_ranks = self._settings.num_ranks
        command = list(self._command(attempt))
        threads = max(1, len(os.sched_getaffinity(0)) // num_ranks)
        shared = {"OMP_NUM_THREADS": str(threads)} | os.environ
        self._ranks = []
        for rank in range(num_ranks):
            own = variables_of(rank, num_ranks, self._store.port, self._run_id, attempt)
            # Ctrl-C reaches them through here, once.
            self._ranks.append(subprocess.Popen(command, env=shared | own, start_new_session=True))
            # One may have come while there was no rank yet, or not this one.
            if self._asked_by is not None:
                self._ranks[rank].send_signal(self._asked_by)

    def _watch(self) -> Ending | None:
        """Wait until all ranks are done, or one is lost; then end the others.

        Returns:
            How the first one that did not end well ended; None if all did.
        """
        while True:
            codes = [process.poll() for process in self._ranks]
            endings = [Ending(rank, code) for rank, code in enumerate(codes) if code]
            if endings:
                # One that was killed is the cause where others then failed.
                first = min(endings, key=lambda ending: (ending.code > 0, ending.rank))
                deaf = self._end_all(self._settings.grace_s / 2)
                codes = [process.returncode for process in self._ranks]
                if USAGE_ERROR in codes:
                    return Ending(codes.index(USAGE_ERROR), USAGE_ERROR)
                # One that others waited for in vain is the cause of their end.
                if deaf and first.code > 0:
                    return Ending(deaf[0], -signal.SIGKILL, was_deaf=True)
                return first
            if all(code == 0 for code in codes):
                return None
            time.sleep(POLL_S)

    def _end_all(self, own_end_s: float = 0.0) -> list[int]:
        """Ask all ranks that still run after so long to stop, and kill those that don't.

        Returns:
            Those that had to be killed.
        """
        start = time.monotonic()
        self._wait_until(start + own_end_s)
        for rank in self._running():
            self._ranks[rank].send_signal(signal.SIGTERM)
        self._wait_until(start + self._settings.grace_s)
        deaf = self._running()
        for rank in deaf:
            # With what it has started: it is the first of a session.
            with suppress(ProcessLookupError):
                os.killpg(self._ranks[rank].pid, signal.SIGKILL)
            self._ranks[rank].wait()
        return deaf

    def _running(self) -> list[int]:
        """Ranks that have not ended."""
        return [rank for rank, process in enumerate(self._ranks) if process.poll() is None]

    def _wait_until(self, deadline: float) -> None:
        """Wait until no rank runs any more, or it is too late."""
        while time.monotonic() < deadline:
            if all(_is_stopped(self._ranks[rank].pid) for rank in self._running()):
                return
            time.sleep(POLL_S)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Pass a signal on to all ranks."""
        self._asked_by = number
        for process in self._ranks:
            if process.poll() is None:
                process.send_signal(number)

    def _tell(self, ending: Ending, attempt: int) -> None:
        """Say in one line who was lost, and what happens."""
        left = self._settings.max_restarts - attempt
        if self._asked_by is not None:
            then = "not started again, since a signal asked to stop"
        elif left == 0:
            then = f"not started again after {attempt} restarts"
        else:
            then = f"all ranks are started again ({left} restarts left)"
        sys.stderr.write(f"exastorm: {ending.to_line()}; {then}\n")
        sys.stderr.flush()


def _is_stopped(pid: int) -> bool:
    """Whether a signal has stopped a process; then it heeds no other but SIGKILL (signal(7))."""
    with suppress(OSError):
        # "T" is the state in proc_pid_stat(5), behind the name, in which anything may stand.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")
    return False
