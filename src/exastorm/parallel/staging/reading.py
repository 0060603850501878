"""Several files from the shared store at once, by processes that may die without harm.

One reader of a parallel file system gets a fraction of what a node can: so several read side by
side, and one that is killed, hangs or waits holds up its own file alone. A thread of the job gives
them files and watches them; a file whose reader is gone is taken over by another.
"""

import queue
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Self

from exastorm.parallel.staging.attempts import Attempts
from exastorm.parallel.staging.folder_errors import LocalStoreError
from exastorm.parallel.staging.local_store import Entry, LocalStore
from exastorm.parallel.staging.manifest import AS_IT_IS, Manifest, StagedFile
from exastorm.parallel.staging.outcomes import InFlight, Read
from exastorm.parallel.staging.reader_process import Job
from exastorm.parallel.staging.seat import Seat
from exastorm.parallel.staging.settings import StageSettings
from exastorm.parallel.staging.shared_store import open_store
from exastorm.parallel.staging.source import Converter

WATCH_S = 0.1
"""How often readers are looked after where none says anything."""


class Readers:
    """Reader processes of a node, as a context manager; safe to use from several threads."""

    def __init__(
        self,
        manifest: Manifest,
        local: LocalStore,
        settings: StageSettings,
        converter: Converter | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Make ready; processes are started once there is something to read.

        Args:
            manifest: Names the shared store, and the form in which files are kept.
            local: Where files go; it was checked to be writable.
            settings: How many processes, and their patience.
            converter: Changes files on the way; must be one that can be pickled.
            tell: Told in a line what went wrong and goes on; standard error where None.

        Raises:
            InputError: If the root is an address of which nothing is known.
        """
        open_store(manifest.root, settings.patience_s)
        assert manifest.form == (converter.form if converter else AS_IT_IS), "another form"
        self._job = Job(
            manifest.root, str(local.folder), local.fingerprint, manifest.form,
            settings.patience_s, converter,
        )  # fmt: skip
        self._local, self._num_readers = local, settings.num_readers
        self._tell = tell or _tell_user
        self._attempts = Attempts(manifest.root, settings.patience_s, self._tell)
        self._lock = threading.RLock()
        self._seats: list[Seat] = []
        self._files: deque[StagedFile] = deque()
        self._read_bytes: Counter[str] = Counter()
        self._progress_at: dict[str, float] = {}
        self._done: queue.SimpleQueue[Read | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._source_bytes, self._is_over = 0, False
        self._ear, self._mouth = Pipe(duplex=False)
        self._thread = threading.Thread(target=self._watch, name="readers", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def source_bytes(self) -> int:
        """Bytes read from the shared store so far."""
        return self._source_bytes

    @property
    def num_waiting(self) -> int:
        """Files that no reader has begun."""
        return len(self._files)

    def submit(self, file: StagedFile) -> None:
        """Have a file read, after those that were submitted before."""
        with self._lock:
            self._files.append(file)
        self._wake()

    def next_done(self, timeout: float | None = None) -> Read | None:
        """The next file that is done, or can't be; waits for it.

        Args:
            timeout: How long to wait, in seconds; None waits for ever.

        Returns:
            What became of it; None if nothing was done in time.

        Raises:
            InputError: If the local store can't take files, or the shared store is gone.
            RuntimeError: If readers don't start, or a converter fails otherwise than it may.
        """
        with suppress(queue.Empty):
            read = self._done.get(timeout=timeout)
            if read is not None:
                return read
        if self._failure:
            self._done.put(None)
            raise self._failure
        return None

    def in_flight(self) -> list[InFlight]:
        """Files that are being read, and how they go."""
        now = time.monotonic()
        with self._lock:
            return [
                InFlight(seat.file, seat.source_bytes, now - self._progress_at[seat.file.name])
                for seat in self._seats
                if seat.file
            ]

    def cancel(self, name: str) -> bool:
        """Let a file be, as when another node has it; whoever reads it is killed.

        Returns:
            Whether it was neither done nor unknown; then it will not be told as done.
        """
        with self._lock:
            before = len(self._files)
            self._files = deque(file for file in self._files if file.name != name)
            found = [seat for seat in self._seats if seat.file and seat.file.name == name]
            for seat in found:
                self._dismiss(seat)
            return bool(found) or len(self._files) < before

    def pids(self) -> list[int]:
        """Numbers of the processes."""
        with self._lock:
            return [seat.pid for seat in self._seats]

    def close(self) -> None:
        """End all readers, and remove what they leave half done. Twice does no harm."""
        with self._lock:
            self._is_over = True
        self._wake()
        self._thread.join()
        with self._lock:
            for seat in list(self._seats):
                self._dismiss(seat)
            self._ear.close()
            self._mouth.close()

    def _wake(self) -> None:
        """Have the thread look at once."""
        with suppress(OSError):
            self._mouth.send(None)

    def _watch(self) -> None:
        """Give out files and hear readers, until all is over."""
        speaking, looked_at = list[Any](), float("-inf")
        try:
            while not self._is_over and not self._failure:
                with self._lock:
                    # Those that spoke, or have died; now and then all, for one may hang.
                    is_time = time.monotonic() - looked_at >= WATCH_S
                    for seat in [s for s in self._seats if is_time or s.connection in speaking]:
                        self._look_after(seat)
                    looked_at = time.monotonic() if is_time else looked_at
                    self._give_out()
                    heard = [self._ear, *(seat.connection for seat in self._seats)]
                with suppress(OSError):  # One that was canceled meanwhile.
                    speaking = wait(heard, WATCH_S)
                while self._ear.poll():
                    self._ear.recv()
        except Exception as error:  # Told by next_done, where the job waits.
            self._failure = self._failure or error
        if self._failure:
            with self._lock:
                for seat in list(self._seats):
                    self._dismiss(seat)
            self._done.put(None)

    def _give_out(self) -> None:
        """Give files to readers that have none, and start readers while there are too few."""
        idle = [seat for seat in self._seats if not seat.file]
        missing = min(len(self._files) - len(idle), self._num_readers - len(self._seats))
        for _ in range(missing):
            seat = Seat(self._job)
            self._seats.append(seat)
            idle.append(seat)
        for seat in idle[: len(self._files)]:
            file = self._files.popleft()
            self._progress_at[file.name] = time.monotonic()
            seat.give(file, self._local.new_token())

    def _look_after(self, seat: Seat) -> None:
        """Hear a reader, and replace it if it is dead or hangs."""
        ending = seat.ending()  # Before its last words are heard.
        for message in seat.messages():
            self._hear(seat, *message)
        # A reader that waits for the store says so, and when its own patience ends.
        if ending:
            self._replace(seat, ending)
        elif seat.silent_s > self._job.patience_s:
            self._replace(seat, f"got no answer for {self._job.patience_s:g} s", hung=True)

    def _hear(self, seat: Seat, kind: str, *words: Any) -> None:
        """Act on what a reader says.

        Raises:
            InputError: For the local store, or the shared one.
            RuntimeError: For a mistake in a program.
        """
        match kind, words:
            case "more", (num_bytes, is_last):
                self._count(seat, num_bytes)
                seat.is_keeping = is_last
            case "waiting", (line,):
                self._attempts.silence(line)
            case "done", (entry,):
                self._finish(seat, entry)
            case "problem", (line, is_corrupt):
                self._finish(seat, None, line, is_corrupt)
            case "local", (line,):
                raise LocalStoreError(line, file=self._local.folder)
            case "gone", (line,):
                raise self._attempts.gone(line)
            case "broken", (text,):
                raise RuntimeError(f"a reader failed:\n{text}")

    def _count(self, seat: Seat, num_bytes: int) -> None:
        """Count bytes that were read."""
        seat.source_bytes += num_bytes
        self._source_bytes += num_bytes
        if seat.file and num_bytes:
            self._read_bytes[seat.file.name] += num_bytes
            self._progress_at[seat.file.name] = time.monotonic()
            self._attempts.answer()

    def _finish(
        self, seat: Seat, entry: Entry | None, problem: str | None = None, is_corrupt: bool = False
    ) -> None:
        """Tell what became of a reader's file."""
        file, seat.file, seat.is_keeping = seat.file, None, False
        assert file is not None, "a reader brought what nobody asked for"
        self._done.put(Read(file, entry, problem, self._read_bytes.pop(file.name, 0), is_corrupt))

    def _replace(self, seat: Seat, ending: str, hung: bool = False) -> None:
        """Have the file of a reader that is no more read by another.

        Raises:
            InputError: If the store gives no answer, again.
            RuntimeError: If readers end as soon as they start.
        """
        file = seat.file
        self._dismiss(seat)
        self._attempts.started(seat.is_ready, ending)
        if file is None:
            return
        problem = self._attempts.lost(file.name, ending, hung)
        if problem is None:
            self._tell(f"reader {seat.pid} {ending}; {file.name} is read by another")
            self._files.appendleft(file)
        else:
            num_bytes = self._read_bytes.pop(file.name, 0)
            self._done.put(Read(file, None, problem, num_bytes, is_corrupt=True))

    def _dismiss(self, seat: Seat) -> None:
        """End a reader, and remove what it leaves half done."""
        seat.kill()
        self._seats.remove(seat)
        if seat.file:
            self._local.discard(seat.token)


def _tell_user(line: str) -> None:
    """Say a line where the user looks."""
    sys.stderr.write(f"exastorm: {line}\n")
    sys.stderr.flush()


__all__ = ["Converter", "InFlight", "Read", "Readers"]
