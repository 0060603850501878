"""Ranks that are started, listened to, and waited for: but not for ever."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent

OPTIONS = [
    "--train.num-steps", 24, "--train.schedule.warmup-steps", 2, "--train.batch-size", 2,
    "--train.no-roll", "--train.log-interval", 1, "--train.validation.interval", 24,
    "--train.checkpoint.interval", 3, "--train.checkpoint.num-kept", 3,
    "--train.compute.deterministic", "--train.compute.device", "cpu",
    "--train.compute.num-threads", 1,
    "--train.exchange.lag", 1, "--train.exchange.check-interval", 1,
]  # fmt: skip
"""What a step sees does not depend on how often it was seen before: a sample can be told by its
values."""

NUM_STEPS, INTERVAL, BATCH = 24, 3, 2

GRACE_S = 15.0
"""For the supervisor; ranks end by themselves within half of it."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What `faulty_rank` is told; see there."""

    kind: str = "none"
    place: str = ""
    rank: int = 0
    step: int = 0
    part: str = "first"


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Exit code of each process; None for one that had to be killed.
        lines: What was said on stderr, and when (seconds since the epoch).
        at: When the last one had ended.
    """

    code: tuple[int | None, ...]
    lines: list[tuple[float, str]]
    at: float


class Course:
    """The folder of one trial: a run, notes of its ranks, and copies of the run."""

    def __init__(self, folder, samples, patience):
        self.run, self.other, self.notes = folder / "run", folder / "other", folder / "notes"
        self.samples, self.patience = samples, patience
        self.notes.mkdir(parents=True)

    def launch(self, num_ranks, told, *words, run=None, limit_s=120.0, max_restarts=1):
        """Train under the supervisor."""
        run = run or self.run
        command = [
            sys.executable, HERE / "faulty_launch.py", "--launch.num-ranks", num_ranks,
            "--launch.max-restarts", max_restarts, "--launch.grace-s", GRACE_S * self.patience,
            "train", self.samples, "--out", run, "--auto-resume", *words,
        ]  # fmt: skip
        return self.listen([(command, {})], told, run, limit_s)

    def listen(self, commands, told, run, limit_s, meanwhile=lambda: None):
        """Start processes, each with variables of its own, and take down all that they say."""
        fault = asdict(told) | {"notes": str(self.notes), "folder": str(run / "checkpoints")}
        environment = os.environ | {"FAULT": json.dumps(fault), "OMP_NUM_THREADS": "1"}
        # A rank that hangs can be asked where, by SIGABRT.
        environment["PYTHONFAULTHANDLER"] = "1"
        # Bytecode is kept, as where exastorm is installed: processes start by the dozen.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        read, write = os.pipe()
        processes = [
            subprocess.Popen(
                list(map(str, command)),
                env=environment | variables,
                stdout=subprocess.DEVNULL,
                stderr=write,
            )
            for command, variables in commands
        ]
        os.close(write)
        lines = []
        listener = threading.Thread(target=_take_down, args=(read, lines), daemon=True)
        listener.start()
        meanwhile()
        deadline = time.monotonic() + limit_s * self.patience
        codes = [_code_of(process, deadline) for process in processes]
        if None in codes:
            self._kill_ranks(told.part)
        at = time.time()
        listener.join(5.0)
        return Ended(tuple(codes), lines, at)

    def rank_command(self, *words):
        """What starts one rank without a supervisor."""
        train = ["train", self.samples, "--out", self.run, "--auto-resume", *words]
        return [sys.executable, HERE / "faulty_rank.py", *train]

    def keep(self):
        """Copy the run as the fault left it, to go on from there with other ranks too."""
        shutil.copytree(self.run, self.other, dirs_exist_ok=True)

    def wait_for_mark(self, limit_s=60.0):
        """Wait until the fault has struck."""
        deadline = time.monotonic() + limit_s * self.patience
        while not (self.notes / "struck").exists() and time.monotonic() < deadline:
            time.sleep(0.005)

    def struck_at(self):
        """When the fault struck; None if it did not."""
        mark = self.notes / "struck"
        return mark.stat().st_mtime if mark.exists() else None

    def _kill_ranks(self, part):
        """Kill the ranks of this trial that a supervisor has left behind; first they say where."""
        for number in (signal.SIGABRT, signal.SIGKILL):
            for path in self.notes.glob(f"{part}-*.pid"):
                with suppress(ProcessLookupError):
                    os.kill(int(path.read_text()), number)
            time.sleep(2.0)


def _take_down(read, lines):
    """Read lines as they come."""
    with os.fdopen(read, errors="replace") as file:
        lines += ((time.time(), line.rstrip("\n")) for line in file if line.strip())


def _code_of(process, deadline):
    """Exit code of a process; None if it had to be killed."""
    try:
        return process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
