"""The control plane among real processes on this machine, over the loopback: what each rank counts.

The processes are light (`control_rank`), so that tens of them fit on two cores. They hear one
another's address, and that all are at the same place, through their pipes to this process: the
control plane itself carries nothing but its own packets.
"""

import json
import subprocess
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from exastorm.errors import InputError


class Crew:
    """Processes of one run, each a rank; they end with the context at the latest.

    Args:
        num_ranks: How many.
        plan: What `control_rank` is told.
        timeout_s: After so many seconds they are ended.

    Raises:
        InputError: If this machine can't start so many.
    """

    def __init__(self, num_ranks: int, plan: dict[str, Any], timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._is_late = False
        self._processes: list[subprocess.Popen[str]] = []
        self._timer = threading.Timer(timeout_s, self._give_up)
        self._timer.start()
        words = [sys.executable, "-m", "exastorm.performance.control_rank"]
        try:
            for rank in range(num_ranks):
                self._start([*words, str(rank), json.dumps(plan)])
        except OSError as error:
            self._end()
            raise InputError(
                f"num_processes must be what this machine can start, got {num_ranks} ({error})"
            ) from error

    def gather(self) -> list[Any]:
        """Wait until all ranks have come to their next meeting; what each says.

        Raises:
            InputError: If one of them fails.
        """
        lines = []
        for rank, process in enumerate(self._processes):
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                self._tell_of(rank)
            lines.append(json.loads(line))
        return lines

    def tell(self, word: Any) -> None:
        """Let all ranks go on from their meeting, with a word for all."""
        line = json.dumps(word) + "\n"
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # The next meeting tells of it.
                process.stdin.write(line)
                process.stdin.flush()

    def part(self) -> None:
        """Wait until all ranks have ended.

        Raises:
            InputError: If one of them fails.
        """
        for rank, process in enumerate(self._processes):
            if process.wait():
                self._tell_of(rank)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End what still runs."""
        self._end()

    def _start(self, words: list[str]) -> None:
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self._processes.append(process)

    def _give_up(self) -> None:
        """On the timer's thread: nobody has to wait any longer."""
        self._is_late = True
        for process in list(self._processes):
            process.kill()

    def _end(self) -> None:
        self._timer.cancel()
        for process in self._processes:
            process.kill()
            with suppress(BrokenPipeError):
                process.communicate()

    def _tell_of(self, rank: int) -> None:
        """Raise what a rank that has ended says."""
        if self._is_late:
            raise InputError(f"ranks must come to their end within timeout_s {self._timeout_s:g}")
        _, errors = self._processes[rank].communicate()
        last = errors.strip().rpartition("\n")[2]
        raise InputError(f"rank {rank} of the benchmark must end well, got: {last}")


def run_processes(
    num_ranks: int, plan: dict[str, Any], timeout_s: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Steps of a negotiated order and steps of a cached one.

    Args:
        num_ranks: Processes.
        plan: What `control_rank` is told.
        timeout_s: The longest all of it may take.

    Returns:
        For each of the two, what a step takes: packets and messages (each bucket by itself) that
        rank 0 and the busiest rank receive and send, CPU time of rank 0 and of the busiest rank,
        and the time from a step to the next. All are means over steps.

    Raises:
        InputError: If a rank fails or hangs.
    """
    with Crew(num_ranks, plan, timeout_s) as crew:
        crew.tell(crew.gather())  # Addresses.
        while not all(found := crew.gather()):
            crew.tell(None)
        crew.tell(None)
        crew.part()
    negotiated, cached = (_figures(found, kind, plan) for kind in ("negotiated", "cached"))
    return negotiated, cached


def _figures(found: list[dict[str, Any]], kind: str, plan: dict[str, Any]) -> dict[str, Any]:
    num_steps = plan["num_steps"]
    per_rank = [
        [(count - rank["num_neighbors"]) / num_steps for count in rank[kind]["counts"]]
        for rank in found
    ]
    figures: dict[str, Any] = {}
    names = ("packets_sent", "packets_received", "messages_sent", "messages_received")
    for name, of_ranks in zip(names, zip(*per_rank, strict=True), strict=True):
        figures[f"root_{name}"] = of_ranks[0]
        figures[f"max_{name}"] = max(of_ranks)
    cpu_ms = [1e3 * rank[kind]["cpu_s"] / num_steps for rank in found]
    # No step can end before the last rank has begun.
    start_s = max(rank[kind]["start_s"] for rank in found)
    end_s = max(rank[kind]["end_s"] for rank in found)
    step_ms = 1e3 * (end_s - start_s) / num_steps
    return figures | {
        "root_busy_ms": cpu_ms[0],
        "max_busy_ms": max(cpu_ms),
        "agreement_ms": step_ms - 1e3 * plan["step_s"],
    }
