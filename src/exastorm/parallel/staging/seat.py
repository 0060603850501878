"""One reader as the job sees it: its process, what it does, and when it last said so."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from exastorm.parallel.staging.manifest import StagedFile
from exastorm.parallel.staging.reader_process import Job

REAP_S = 2.0
"""How long a killed reader is waited for; one that hangs in the kernel ends when it can."""

START_S = 60.0
"""What a reader may take to start, beside the patience with the store: 0.1 s where nobody else
computes, but its program may lie on a slow store too."""


class Seat:
    """A reader's process, and the file that it reads.

    Attributes:
        connection: The socket to it.
        file: What it reads; None for nothing.
        token: Of that attempt.
        source_bytes: Read of that file.
        heard_at: When it last said anything (time.monotonic).
        is_keeping: Whether it waits for the local disk alone.
        is_ready: Whether it has started.
    """

    def __init__(self, job: Job) -> None:
        """Start the process.

        Args:
            job: What it is told first.
        """
        here, there = Pipe()
        self.connection: Connection[Any, Any] = here
        self.file: StagedFile | None = None
        self.token, self.source_bytes = "", 0
        self.is_keeping, self.is_ready = False, False
        self.heard_at = time.monotonic()
        words = ["-m", "exastorm.parallel.staging.reader_process"]
        with there:
            self._process = subprocess.Popen(
                [sys.executable, *words, str(there.fileno()), str(os.getpid())],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        with suppress(OSError):
            self.connection.send(job)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def give(self, file: StagedFile, token: str) -> None:
        """Give it a file; one that is dead is noticed later."""
        self.file, self.token, self.source_bytes = file, token, 0
        self.is_keeping, self.heard_at = False, time.monotonic()
        with suppress(OSError):
            self.connection.send((file, token))

    @property
    def silent_s(self) -> float:
        """Seconds for which the shared store may have given it no answer."""
        if self.file is None or self.is_keeping:
            return 0.0
        silent_s = time.monotonic() - self.heard_at
        return silent_s if self.is_ready else silent_s - START_S

    def messages(self) -> Iterator[tuple[Any, ...]]:
        """What it said since, until it has no more to say; ends too where it has died."""
        with suppress(EOFError, OSError):
            while self.connection.poll():
                message = self.connection.recv()
                self.heard_at, self.is_ready = time.monotonic(), True
                yield message

    def ending(self) -> str | None:
        """How it ended, in words; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended, code {code}"

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_S)
        self.connection.close()
