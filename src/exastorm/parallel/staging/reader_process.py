"""A reader: a process that brings one file after the other, and is easily killed and replaced.

It is started afresh (no fork: the job has threads), imports little, and lives as long as the
process that it reads for. What it says there are tuples whose first word tells the rest.
"""

import os
import queue
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from exastorm.errors import InputError
from exastorm.parallel.staging.local_store import LocalStore
from exastorm.parallel.staging.manifest import StagedFile, origin
from exastorm.parallel.staging.source import Converter, FileProblemError, Source, StoreGoneError

ORPHAN_S = 0.5
"""How often a reader looks whether the process that it reads for is still there."""

PROGRESS_S = 0.2
"""Progress is told at most this often, so that it costs nothing also where many read."""


@dataclass(frozen=True)
class Job:
    """What all readers of a stage are told first.

    Attributes:
        root: Folder of the shared store.
        folder: Folder of the local store.
        fingerprint: Of the manifest.
        form: Of the files as kept.
        patience_s: How long the shared store may give no answer.
        converter: Changes files on the way; None for none.
    """

    root: str
    folder: str
    fingerprint: str
    form: str
    patience_s: float
    converter: Converter | None


Task = tuple[StagedFile, str]
"""A file, and the token of the attempt."""


class Reporter:
    """Tells the other process how a file goes; progress not too often."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self._told_at, self._untold = 0.0, 0

    def progress(self, num_bytes: int) -> None:
        """Tell of more bytes, or of life."""
        self._untold += num_bytes
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_S:
            self.flush()
            self._told_at = now

    def flush(self, is_last: bool = False) -> None:
        """Tell of all bytes, and whether all of the file was read."""
        self._connection.send(("more", self._untold, is_last))
        self._untold = 0

    def waiting(self, line: str) -> None:
        """Tell that the store does not answer."""
        self._connection.send(("waiting", line))

    def keeping(self) -> None:
        """Tell that a file is made durable."""
        self.flush(is_last=True)


def main(number: int, parent: int) -> None:
    """Read until nobody wants more.

    Args:
        number: The open socket to the other process.
        parent: That process.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)  # Those are for the job, which ends its readers.
    connection: Connection[Any, Any] = Connection(number)
    try:
        job: Job = connection.recv()
    except EOFError:
        return
    except Exception:
        connection.send(("broken", traceback.format_exc()))
        return
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, parent, tasks), daemon=True).start()
    connection.send(("ready",))
    while True:
        file, token = tasks.get()
        connection.send(_answer(job, file, token, Reporter(connection)))


def _listen(
    connection: "Connection[Any, Any]", parent: int, tasks: "queue.SimpleQueue[Task]"
) -> None:
    """Take tasks; end the process with the one that it reads for, also in mid-file."""
    try:
        while os.getppid() == parent:
            if connection.poll(ORPHAN_S):
                tasks.put(connection.recv())
    except (EOFError, OSError):
        pass
    os._exit(0)


def _answer(job: Job, file: StagedFile, token: str, reporter: Reporter) -> tuple[Any, ...]:
    """Bring a file, and say how that went."""
    local = LocalStore(job.folder, job.fingerprint, {file.name: origin(file, job.form)})
    source = Source(
        job.root, local, job.patience_s, job.converter,
        reporter.progress, reporter.waiting, reporter.keeping,
    )  # fmt: skip
    try:
        entry = source.stage(file, token)
    except FileProblemError as error:
        reporter.flush()
        return "problem", str(error), error.is_corrupt
    except StoreGoneError as error:
        return "gone", str(error)
    except InputError as error:
        return "local", error.problem
    except Exception:
        # A mistake of ours, or of a converter: shown where the user looks.
        return "broken", traceback.format_exc()
    return "done", entry


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
