"""One file from the shared store into the local one, checked on the way: what a reader does.

The bytes pass once through a buffer that stays: read, summed, written. A file that is not what the
manifest says is read once more, past the page cache, since a flip on the way is no flip in the
store. A store that is gone is asked again and again, for as long as patience lasts.
"""

import errno
import hashlib
import mmap
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from exastorm.parallel.staging.checksums import Buffer
from exastorm.parallel.staging.folder_errors import LocalStoreError
from exastorm.parallel.staging.local_store import Entry, LocalStore
from exastorm.parallel.staging.manifest import StagedFile
from exastorm.parallel.staging.shared_store import (
    UNKNOWN,
    IrregularFileError,
    SharedFile,
    open_store,
)

BUFFER_BYTES = 4 << 20
"""What is read at once: a few stripes of a parallel file system, which are 1 MiB by default on
Lustre; and little enough that a slow store is not taken for a dead one."""

MEMORY_BYTES = 1 << 30
"""Files to convert up to this size wait in memory to be checked; larger ones on the local disk."""

RETRY_S = 0.5
"""Pause before a store that gave no answer is asked again."""

OF_FILE = (
    errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO
)  # fmt: skip
"""Errors that are about one file, and will be the same the next time."""


class Converter(Protocol):
    """Changes files on the way; pickled to each reader."""

    @property
    def form(self) -> str:
        """Names what comes out; equal words, equal bytes."""
        ...

    def num_bytes(self, file: StagedFile) -> int:
        """Size of what comes out."""
        ...

    def convert(self, source: BinaryIO, write: Callable[[Buffer], object]) -> None:
        """Change a file, which was checked and starts at its begin.

        Raises:
            ValueError: If it is not what can be converted; OSError and KeyError say the same.
        """
        ...


class FileProblemError(Exception):
    """A file can't be staged, and others can: says why.

    Attributes:
        is_corrupt: Whether it is the file that is wrong, and not the way to it.
    """

    def __init__(self, line: str, *, is_corrupt: bool) -> None:
        super().__init__(line)
        self.is_corrupt = is_corrupt


class StoreGoneError(Exception):
    """The shared store gave no answer for as long as patience lasts: says what it last said."""


class _MismatchError(Exception):
    """A file is not what the manifest says: says how."""


@dataclass
class Source:
    """The shared store, as one reader sees it.

    Attributes:
        root: Its folder, or URL.
        local: Where files go.
        patience_s: How long it may give no answer.
        converter: Changes files on the way; None for none.
        progress: Told how many more bytes were read, also 0 to say that all is well.
        waiting: Told what the store said, while it is asked again.
        keeping: Told that a file is made durable now, which may take its time.
    """

    root: str
    local: LocalStore
    patience_s: float
    converter: Converter | None
    progress: Callable[[int], None]
    waiting: Callable[[str], None]
    keeping: Callable[[], None]

    def __post_init__(self) -> None:
        self._buffer = memoryview(mmap.mmap(-1, BUFFER_BYTES))
        self._store = open_store(self.root, self.patience_s)

    def stage(self, file: StagedFile, token: str) -> Entry:
        """Bring one file.

        Args:
            file: What the manifest says of it.
            token: Names the attempt in the local store.

        Raises:
            FileProblemError: If the file is not what the manifest says, twice, or can't be read.
            StoreGoneError: If the store is gone for too long.
            InputError: If the local store can't take it.
        """
        first_failure: float | None = None
        num_mismatches = 0
        while True:
            try:
                return self._attempt(file, token, past_cache=num_mismatches > 0)
            except _MismatchError as error:
                num_mismatches += 1
                if num_mismatches > 1:
                    raise FileProblemError(f"{error}, twice", is_corrupt=True) from None
            except OSError as error:
                if error.errno in OF_FILE:
                    raise FileProblemError(
                        f"can't be read ({error.strerror})", is_corrupt=False
                    ) from None
                is_there = self._store.is_there()
                if isinstance(error, FileNotFoundError) and is_there:
                    num_mismatches += 1
                    if num_mismatches > 1:
                        raise FileProblemError(
                            "is missing from the shared store", is_corrupt=True
                        ) from None
                first_failure = first_failure or time.monotonic()
                self._wait(error, first_failure, is_there)

    def _wait(self, error: OSError, first_failure: float, is_there: bool) -> None:
        """Wait before the store is asked again.

        Raises:
            FileProblemError: If it was asked for too long, and is there but for this file.
            StoreGoneError: If it was asked for too long.
        """
        line = error.strerror or str(error)
        if time.monotonic() - first_failure > self.patience_s:
            if is_there:
                raise FileProblemError(f"can't be read ({line})", is_corrupt=False)
            raise StoreGoneError(line)
        if is_there:
            self.progress(0)
        else:
            self.waiting(line)
        time.sleep(min(RETRY_S, self.patience_s / 10))

    def _attempt(self, file: StagedFile, token: str, past_cache: bool) -> Entry:
        """Bring one file, once.

        Raises:
            OSError: If it can't be read.
            _MismatchError: If it is not what the manifest says.
            FileProblemError: If it can't be converted.
            InputError: If the local store can't take it.
        """
        try:
            source = self._store.open(file.name)
        except IrregularFileError:
            raise FileProblemError("is no regular file", is_corrupt=True) from None
        with source:
            if source.num_bytes not in (file.num_bytes, UNKNOWN):
                raise _MismatchError(f"has {source.num_bytes} bytes in place of {file.num_bytes}")
            if past_cache:
                source.forget()
            if self.converter:
                return self._convert(self.converter, source, file, token)
            with self.local.begin(file.name, file.num_bytes, token) as partial:
                self._pass_on(source, file, partial.write)
                self.keeping()
                return partial.commit()

    def _convert(
        self, converter: Converter, source: SharedFile, file: StagedFile, token: str
    ) -> Entry:
        """Bring one file in another form; the converter sees nothing that was not checked.

        Raises:
            OSError: If it can't be read.
            _MismatchError: If it is not what the manifest says.
            FileProblemError: If it can't be converted.
            InputError: If the local store can't take it.
        """
        num_bytes = converter.num_bytes(file)
        with self._room_for(file) as whole:
            self._pass_on(source, file, lambda view: self._hold(whole, view))
            whole.seek(0)
            with self.local.begin(file.name, num_bytes, token) as partial:

                def write(buffer: Buffer) -> None:
                    partial.write(buffer)
                    self.progress(0)

                try:
                    converter.convert(whole, write)
                except LocalStoreError:
                    raise
                except (ValueError, OSError, KeyError) as error:
                    raise FileProblemError(
                        f"can't be converted to {converter.form} ({error})", is_corrupt=True
                    ) from error
                if partial.num_bytes != num_bytes:
                    raise FileProblemError(
                        f"has {partial.num_bytes} bytes in place of {num_bytes} once converted "
                        f"to {converter.form}",
                        is_corrupt=True,
                    )
                self.keeping()
                return partial.commit()

    def _room_for(self, file: StagedFile) -> BinaryIO:
        """A file without a name, in memory or on the local disk.

        Raises:
            InputError: If the local store can't take it.
        """
        if file.num_bytes <= MEMORY_BYTES and hasattr(os, "memfd_create"):
            return os.fdopen(os.memfd_create("source"), "w+b", buffering=0)  # type: ignore[return-value]
        folder = self.local.path("").parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryFile(dir=folder, buffering=0)  # type: ignore[return-value]
        except OSError as error:
            raise LocalStoreError(f"can't be written ({error})", file=self.local.folder) from error

    def _hold(self, whole: BinaryIO, view: memoryview) -> None:
        """Write all of a buffer to a file without a name, which may take less at once.

        Raises:
            InputError: If there is no room.
        """
        try:
            while view.nbytes:
                view = view[whole.write(view) :]
        except OSError as error:
            raise LocalStoreError(
                f"has no room for a file to convert ({error.strerror})", file=self.local.folder
            ) from error

    def _pass_on(
        self, source: SharedFile, file: StagedFile, write: Callable[[memoryview], object]
    ) -> None:
        """Read a file to its end, and hand it on.

        Raises:
            OSError: If it can't be read.
            _MismatchError: If it is not what the manifest says.
        """
        total = 0
        words = hashlib.sha256() if file.sha256 else None
        # One byte more than there should be tells a file that grows.
        while count := source.readinto(self._buffer[: file.num_bytes + 1 - total]):
            total += count
            if total > file.num_bytes:
                break
            view = self._buffer[:count]
            if words:
                words.update(view)
            write(view)
            self.progress(count)
        if total != file.num_bytes:
            more = "more than " if total > file.num_bytes else f"{total} bytes in place of "
            raise _MismatchError(f"has {more}{file.num_bytes}")
        if words and words.hexdigest() != file.sha256:
            raise _MismatchError(
                f"has sha256 {words.hexdigest()[:12]}... in place of {str(file.sha256)[:12]}..."
            )
