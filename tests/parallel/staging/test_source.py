"""A file arrives as the manifest says it is, or not at all; a store that is gone is waited for."""

import errno
import hashlib
import os
import re
import threading
import time

import pytest
from tests.parallel.staging.made_converters import Refusing, Upper

from exastorm.errors import InputError
from exastorm.parallel.staging import source as source_module
from exastorm.parallel.staging.local_store import LocalStore
from exastorm.parallel.staging.manifest import StagedFile
from exastorm.parallel.staging.shared_store import FolderStore
from exastorm.parallel.staging.source import FileProblemError, Source, StoreGoneError

CONTENT = bytes(range(256)) * 40
NUM_BYTES = 10240


class Made:
    """A shared store with one file, and a source that reads it."""

    def __init__(self, folder, converter=None, patience_s=5.0):
        self.root = folder / "shared"
        self.root.mkdir()
        self.path = self.root / "a"
        self.path.write_bytes(CONTENT)
        self.local = LocalStore(folder / "local", "print")
        self.local.check_writable()
        self.num_bytes, self.waits, self.keeps = 0, [], []
        self.source = Source(
            str(self.root), self.local, patience_s, converter,
            self.count, self.waits.append, lambda: self.keeps.append(1),
        )  # fmt: skip

    def count(self, num_bytes):
        self.num_bytes += num_bytes

    def stage(self, num_bytes=NUM_BYTES, sha256=None):
        words = sha256 or hashlib.sha256(CONTENT).hexdigest()
        return self.source.stage(StagedFile("a", num_bytes, words), self.local.new_token())

    def fails(self, line, is_corrupt=True, **words):
        with pytest.raises(FileProblemError, match=f"^{line}$") as caught:
            self.stage(**words)
        assert caught.value.is_corrupt is is_corrupt
        assert not self.local.path("a").exists()
        assert self.local.present() == {}


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch):
    monkeypatch.setattr(source_module, "BUFFER_BYTES", 4096)


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def test_a_file_arrives_and_each_byte_is_read_once(made):
    entry = made.stage()
    assert made.local.path("a").read_bytes() == CONTENT
    assert made.local.present() == {"a": entry}
    assert (made.num_bytes, made.waits, made.keeps) == (len(CONTENT), [], [1])


def test_without_a_checksum_size_alone_is_checked(made):
    made.source.stage(StagedFile("a", len(CONTENT)), "t")
    assert made.local.path("a").read_bytes() == CONTENT


def test_an_empty_file(made):
    made.path.write_bytes(b"")
    assert made.stage(0, hashlib.sha256(b"").hexdigest()).num_bytes == 0
    assert made.local.path("a").read_bytes() == b""


def test_truncated_grown_or_flipped(made):
    made.path.write_bytes(CONTENT[:-1])
    made.fails("has 10239 bytes in place of 10240, twice")
    assert made.num_bytes == 0
    made.path.write_bytes(CONTENT + b"1")
    made.fails("has 10241 bytes in place of 10240, twice")
    made.path.write_bytes(CONTENT[:5000] + b"\xff" + CONTENT[5001:])
    made.fails(r"has sha256 [0-9a-f]{12}\.\.\. in place of [0-9a-f]{12}\.\.\., twice")
    assert made.num_bytes == 2 * len(CONTENT)  # It was read once more.


@pytest.mark.parametrize(
    ("late", "line"),
    [(b"", "has 4096 bytes in place of 10240"), (b"more", "has more than 10240 bytes")],
)
def test_a_file_that_changes_while_it_is_read(made, late, line):
    def change(num_bytes):
        if late:
            made.path.write_bytes(CONTENT + late)
        else:
            os.truncate(made.path, 4096)

    made.source.progress = change
    made.fails(f"{line}, twice|has [0-9]+ bytes in place of 10240, twice")


def test_a_flip_on_the_way_is_read_again(made, monkeypatch):
    advised = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *words: advised.append(words[3]))
    flips = [1]

    def flip_once(num_bytes):
        if flips:
            flips.pop()
            made.path.write_bytes(CONTENT)

    made.path.write_bytes(b"\xff" + CONTENT[1:])
    made.source.progress = flip_once
    made.stage()
    assert made.local.path("a").read_bytes() == CONTENT
    sequential = os.POSIX_FADV_SEQUENTIAL
    assert advised == [sequential, sequential, os.POSIX_FADV_DONTNEED]


@pytest.fixture
def two_files(made):
    (made.root / "b").touch()  # So the store is there, without the file.
    return made


def test_a_missing_file_is_not_waited_for_long(two_files):
    two_files.path.unlink()
    start = time.monotonic()
    two_files.fails("is missing from the shared store")
    assert time.monotonic() - start < two_files.source.patience_s


def test_a_folder_a_pipe_and_a_loop(two_files):
    two_files.path.unlink()
    two_files.path.mkdir()
    two_files.fails("is no regular file")
    two_files.path.rmdir()
    os.mkfifo(two_files.path)
    two_files.fails("is no regular file")
    two_files.path.unlink()
    two_files.path.symlink_to(two_files.path)
    two_files.fails(r"can't be read \(Too many levels of symbolic links\)", is_corrupt=False)


def test_a_link_is_followed_to_its_file(made, tmp_path):
    made.path.rename(tmp_path / "elsewhere")
    made.path.symlink_to(tmp_path / "elsewhere")
    made.stage()
    assert not made.local.path("a").is_symlink()
    assert made.local.path("a").read_bytes() == CONTENT


@pytest.mark.parametrize("empty", [False, True])
def test_a_store_that_comes_back(made, tmp_path, empty):
    made.root.rename(tmp_path / "gone")
    if empty:
        made.root.mkdir()  # As where a file system is no longer mounted.

    def come_back():
        if empty:
            made.root.rmdir()
        (tmp_path / "gone").rename(made.root)

    timer = threading.Timer(0.3, come_back)
    timer.start()
    made.stage()
    timer.join()
    assert made.waits
    assert set(made.waits) == {"No such file or directory"}
    assert made.local.path("a").read_bytes() == CONTENT


def test_a_store_that_stays_away(tmp_path):
    made = Made(tmp_path, patience_s=0.3)
    made.root.rename(tmp_path / "gone")
    with pytest.raises(StoreGoneError, match="No such file or directory"):
        made.stage()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_errors_in_mid_file_are_tried_again(tmp_path, monkeypatch, number):
    made = Made(tmp_path, patience_s=0.3)
    failures = [1, 1]

    def fail(num_bytes):
        if failures:
            failures.pop()
            raise OSError(number, os.strerror(number))
        Made.count(made, num_bytes)

    made.source.progress = fail
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "is_there", lambda _: False)
        made.stage()
    assert made.local.path("a").read_bytes() == CONTENT


def test_a_file_that_alone_gives_errors(tmp_path):
    made = Made(tmp_path, patience_s=0.2)

    def fail(num_bytes):
        if num_bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    made.source.progress = fail
    made.fails(r"can't be read \(Input/output error\)", is_corrupt=False)


def test_a_local_store_that_is_full_is_no_problem_of_the_file(made, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=re.escape("local: is full (No space left on device; ")):
        made.stage()


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_converter_sees_what_was_checked(tmp_path, in_memory, monkeypatch):
    if not in_memory:
        monkeypatch.setattr(source_module, "MEMORY_BYTES", 0)
    made = Made(tmp_path, Upper())
    entry = made.stage()
    assert made.local.path("a").read_bytes() == b":" + CONTENT.upper()
    assert entry.num_bytes == len(CONTENT) + 1
    assert made.num_bytes == len(CONTENT)
    home = made.local.root.parent
    assert {p.name for p in home.iterdir()} == {"files", "ledger", "lock", "partial"}


def test_a_converter_sees_nothing_else(tmp_path, monkeypatch):
    made = Made(tmp_path, Refusing())
    made.fails(r"can't be converted to upper case \(no letters\)")
    made.path.write_bytes(CONTENT[::-1])
    made.fails("has sha256 .*, twice")


def test_a_conversion_of_another_size_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(Upper, "num_bytes", lambda *_: len(CONTENT))
    made = Made(tmp_path, Upper())
    made.fails("has 10241 bytes in place of 10240 once converted to upper case")
