"""The staged files of one node: a folder in which every file is whole and checked.

A file is written under a name of its own, made durable, moved to its place, and then noted in the
ledger; so a run that is killed at any moment leaves whole files, and rubbish that the next start
knows to be rubbish. All of it lies in one subfolder; what others keep beside it is never touched.

Files staged for another manifest are kept where they were made from the same bytes (size, SHA-256)
in the same form; all others are removed, since the folder is there for one data set at a time.
"""

import itertools
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self

from exastorm.parallel.staging.checksums import crc32c_of_file
from exastorm.parallel.staging.folder_errors import (
    LocalStoreError,
    free_bytes,
    size_in_words,
    telling,
)
from exastorm.parallel.staging.folder_lock import FolderLock
from exastorm.parallel.staging.ledger import LEDGER_NAME, Entry, Ledger, Line
from exastorm.parallel.staging.manifest import differ_by_case
from exastorm.parallel.staging.partial_file import PartialFile

HOME_NAME = "exastorm-staged"
"""The subfolder in which everything lies, so that a folder of the user's holds nothing else."""

LOCK_NAME, FILES_NAME, PARTIAL_NAME = "lock", "files", "partial"
PARTIAL_PREFIX = "part-"

NUM_CHECKERS = 4
"""Files checked side by side at a start: a read ahead for each keeps a disk busy."""


class LocalStore:
    """Files staged on this node, as a context manager that gives the folder back.

    Attributes:
        folder: The folder that the user named.
        root: Where the files lie by their names.
    """

    def __init__(
        self, folder: str | Path, fingerprint: str, origins: Mapping[str, str] | None = None
    ) -> None:
        """Name the folder; nothing is touched yet.

        Args:
            folder: The folder that the user named.
            fingerprint: Of the manifest.
            origins: `Manifest.origins`, by which files of another manifest are known again;
                without, those are removed.
        """
        self.folder = Path(folder).absolute()
        self.fingerprint = fingerprint
        self._home = self.folder / HOME_NAME
        self.root = self._home / FILES_NAME
        self._partial = self._home / PARTIAL_NAME
        self._origins = dict(origins or {})
        self._ledger = Ledger(self._home / LEDGER_NAME)
        self._lock = FolderLock(self._home / LOCK_NAME, self.folder)
        self._numbers = itertools.count()
        self._made_folder = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_writable(self, names: Iterable[str] = ()) -> None:
        """Make the folder, keep other jobs out of it, and remove what a dead run left half done.

        Args:
            names: Files that will be staged.

        Raises:
            InputError: If the folder can't be written, another job stages into it, its subfolder
                was not made by us, or it can't tell apart two of the names.
        """
        with telling(self.folder):
            self._made_folder = not self.folder.exists()
            self._home.mkdir(parents=True, exist_ok=True)
            self._require_own()
            self._lock.acquire()
            self._remove_partial()
            # First of all, since by it the subfolder is known to be ours.
            names_noted, lines = self._ledger.read()
            self._ledger.rewrite(lines, names_noted - lines.keys())
            self.root.mkdir(exist_ok=True)
            self._partial.mkdir(exist_ok=True)
            alike = differ_by_case(names)
            if alike and self._folds_case():
                raise LocalStoreError(
                    f"must tell upper from lower case, for {alike[0]} and {alike[1]}",
                    file=self.folder,
                )

    def require_space(self, num_bytes: int) -> None:
        """Check that so many bytes more fit.

        Raises:
            InputError: If they don't; says what is free.
        """
        with telling(self.folder):
            free = free_bytes(self.folder)
        if num_bytes > free:
            raise LocalStoreError(
                f"staging needs {size_in_words(num_bytes)}, {size_in_words(free)} are free",
                file=self.folder,
            )

    def present(self, advance: Callable[[int], None] | None = None) -> dict[str, Entry]:
        """Files that are there and right, read again and checked; all else of ours is removed.

        Args:
            advance: Told how many more bytes were read; called by several threads.

        Raises:
            InputError: If the folder can't be read or written.
        """
        return self.recover(advance)[0]

    def recover(
        self, advance: Callable[[int], None] | None = None
    ) -> tuple[dict[str, Entry], tuple[str, ...]]:
        """As `present`, with a line for each file that was noted as whole and wasn't right."""
        with telling(self.folder):
            names, lines = self._ledger.read()
            wanted = {name: line for name, line in lines.items() if self._is_wanted(line)}
            with ThreadPoolExecutor(NUM_CHECKERS, thread_name_prefix="check") as executor:
                rows = list(wanted.items())
                found = executor.map(lambda row: self._problem_of(row[1].entry, advance), rows)
                problems = {name: line for (name, _), line in zip(rows, found, strict=True) if line}
            kept = {
                name: Line(line.entry, self.fingerprint, line.origin)
                for name, line in wanted.items()
                if name not in problems
            }
            for name in names - kept.keys():
                self._unlink(name)
            self._ledger.rewrite(kept)
        told = tuple(f"{name}: {line}; removed" for name, line in problems.items())
        return {name: line.entry for name, line in kept.items()}, told

    def noted(self) -> dict[str, Entry]:
        """Files of this manifest by the ledger, as processes of the node agree; none is read.

        Raises:
            InputError: If the folder can't be read.
        """
        with telling(self.folder):
            lines = self._ledger.read()[1]
        return {name: line.entry for name, line in lines.items() if self._is_wanted(line)}

    def begin(self, name: str, num_bytes: int = 0, token: str | None = None) -> PartialFile:
        """Begin a file; it is there, under its name, once it is committed.

        Args:
            name: Its name in the manifest.
            num_bytes: Size to reserve on the disk; 0 reserves nothing.
            token: Tells this attempt from others; drawn where None.

        Raises:
            InputError: If it can't be made, or won't fit.
        """
        token = token or self.new_token()
        with telling(self.folder):
            self._home.mkdir(parents=True, exist_ok=True)
            self._ledger.begin(name)
            self._partial.mkdir(exist_ok=True)
            return PartialFile(
                self._partial / (PARTIAL_PREFIX + token),
                self.path(name),
                name,
                num_bytes,
                self.folder,
                lambda entry: self._ledger.add(
                    Line(entry, self.fingerprint, self._origins.get(name, ""))
                ),
            )

    def new_token(self) -> str:
        """Words that no other attempt has, of this process or another."""
        return f"{os.getpid()}-{next(self._numbers)}-{secrets.token_hex(4)}"

    def discard(self, token: str) -> None:
        """Remove what an attempt left whose process is dead; nothing is fine too."""
        with suppress(OSError):
            (self._partial / (PARTIAL_PREFIX + token)).unlink()

    def path(self, name: str) -> Path:
        """The path of a file, be it there or not."""
        return self.root / name

    def drop(self, names: Iterable[str]) -> None:
        """Remove files that are no longer needed.

        Raises:
            InputError: If the folder can't be written.
        """
        gone = set(names)
        with telling(self.folder):
            noted, lines = self._ledger.read()
            for name in gone & noted:
                self._unlink(name)
            left = {name: line for name, line in lines.items() if name not in gone}
            self._ledger.rewrite(left, noted - gone - left.keys())

    def close(self) -> None:
        """Let other jobs use the folder. Twice does no harm."""
        self._lock.release()

    def remove(self) -> None:
        """Remove all that was staged, and give the folder back; what others put there stays.

        Raises:
            InputError: If the folder can't be written.
        """
        with telling(self.folder):
            for name in self._ledger.read()[0]:
                self._unlink(name)
            self._remove_partial()
            for path in (self._home / LEDGER_NAME, self._home / (LEDGER_NAME + ".new")):
                path.unlink(missing_ok=True)
            # Removed while it is held, so that nobody takes a lock on a file that goes away.
            (self._home / LOCK_NAME).unlink(missing_ok=True)
            self._lock.release()
            folders = [self.root, self._partial, self._home]
            for folder in folders + [self.folder] * self._made_folder:
                with suppress(OSError):  # Not empty: others put something there.
                    folder.rmdir()

    def _is_wanted(self, line: Line) -> bool:
        """Whether a noted file is one of this manifest."""
        if line.fingerprint == self.fingerprint:
            return True
        return bool(line.origin) and line.origin == self._origins.get(line.entry.name)

    def _problem_of(self, entry: Entry, advance: Callable[[int], None] | None) -> str | None:
        """What is wrong with a noted file; None if it is right."""
        path = self.path(entry.name)
        if not self._is_inside(path) or not path.is_file():
            return "is gone"
        size = path.stat().st_size
        if size != entry.num_bytes:
            return f"has {size} bytes in place of {entry.num_bytes}"
        try:
            _, value = crc32c_of_file(path, advance)
        except OSError as error:
            return f"can't be read ({error.strerror})"
        if value != entry.crc32c:
            return f"has checksum {value:08x} in place of {entry.crc32c:08x}"
        return None

    def _unlink(self, name: str) -> None:
        """Remove a file, and the folders above it where they are empty then."""
        path = self.path(name)
        if not self._is_inside(path):
            return
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self.root:
                break
            with suppress(OSError):
                folder.rmdir()

    def _is_inside(self, path: Path) -> bool:
        """Whether a path lies below the root, also where someone linked a folder elsewhere."""
        return path.parent.resolve().is_relative_to(self.root.resolve())

    def _remove_partial(self) -> None:
        """Remove what is half done; nobody is at it any more."""
        for path in self._partial.glob(PARTIAL_PREFIX + "*"):
            path.unlink(missing_ok=True)

    def _require_own(self) -> None:
        """Refuse a subfolder that someone else filled."""
        held = {path.name for path in self._home.iterdir()}
        if LEDGER_NAME not in held and held - {LOCK_NAME, LEDGER_NAME + ".new"}:
            raise LocalStoreError("holds something that was not staged", file=self._home)

    def _folds_case(self) -> bool:
        """Whether the file system takes upper for lower case."""
        probe = self._partial / (PARTIAL_PREFIX + "CASE")
        probe.touch()
        folds = (self._partial / (PARTIAL_PREFIX + "case")).exists()
        probe.unlink()
        return folds


__all__ = ["Entry", "LocalStore", "LocalStoreError", "PartialFile"]
