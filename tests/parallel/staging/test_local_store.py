"""Every file in a staged folder is whole; what others keep beside it is never touched."""

import errno
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from exastorm.errors import InputError
from exastorm.parallel.staging.checksums import crc32c
from exastorm.parallel.staging.folder_errors import size_in_words
from exastorm.parallel.staging.local_store import HOME_NAME, Entry, LocalStore
from exastorm.parallel.staging.manifest import Manifest, StagedFile


@pytest.fixture
def store(tmp_path):
    with LocalStore(tmp_path / "local", "print") as store:
        store.check_writable()
        yield store


def put(store, name, content):
    with store.begin(name, len(content)) as partial:
        for start in range(0, len(content), 3):
            partial.write(memoryview(content)[start : start + 3])
        return partial.commit()


def again(store, fingerprint="print", origins=None):
    """The folder, as a next run finds it."""
    store.close()
    fresh = LocalStore(store.folder, fingerprint, origins)
    fresh.check_writable()
    return fresh


def files_in(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_file_is_seen_once_it_is_whole(store):
    partial = store.begin("sub/a", 8)
    partial.write(b"01234")
    assert not store.path("sub/a").exists()
    partial.write(bytearray(b"567"))
    assert partial.commit() == Entry("sub/a", 8, crc32c(b"01234567"))
    assert store.path("sub/a").read_bytes() == b"01234567"
    assert store.noted() == store.present() == {"sub/a": Entry("sub/a", 8, crc32c(b"01234567"))}


def test_names_that_differ_by_case_and_empty_files(store):
    contents = {"a": b"1", "A": b"22", "x/a": b"", "X/a": b"333"}
    entries = {name: put(store, name, content) for name, content in contents.items()}
    assert again(store).present() == entries
    assert files_in(store.root) == contents


def test_a_folder_that_folds_case_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(LocalStore, "_folds_case", lambda _: True)
    with LocalStore(tmp_path, "print") as store:
        store.check_writable(["a", "b"])
        with pytest.raises(InputError, match="must tell upper from lower case, for a and A"):
            store.check_writable(["a", "A"])


def test_less_than_was_reserved(store):
    with store.begin("a", 1_000_000) as partial:
        partial.write(b"12")
        assert partial.commit().num_bytes == 2
    assert store.path("a").stat().st_size == 2


def test_what_is_left_half_done_goes(store):
    with store.begin("a") as partial:
        partial.write(b"1")  # And then nothing, as where a transfer breaks off.
    store.begin("b").write(b"1")  # As by a process that is killed.
    (partial,) = (store.folder / HOME_NAME / "partial").iterdir()
    fresh = again(store)
    assert not partial.exists()
    assert fresh.present() == {}


def test_killed_between_the_move_and_the_ledger(store):
    put(store, "a", b"1")
    store.begin("b")
    store.path("b").write_bytes(b"2")
    assert again(store).present() == {"a": Entry("a", 1, crc32c(b"1"))}
    assert files_in(store.root) == {"a": b"1"}


def test_killed_before_the_first_ledger(tmp_path):
    (tmp_path / HOME_NAME).mkdir()
    (tmp_path / HOME_NAME / "lock").touch()
    with LocalStore(tmp_path, "print") as store:
        store.check_writable()


WRITE = """
import sys
from exastorm.parallel.staging.local_store import LocalStore
store = LocalStore(sys.argv[1], "print")
store.check_writable()
number = 0
while True:
    with store.begin(f"sub/{number}", 5000) as partial:
        partial.write(bytes([number % 256]) * 5000)
        partial.commit()
    number += 1
    if number == int(sys.argv[2]):
        print("go", flush=True)
"""


@pytest.mark.parametrize("num_files", [1, 7, 30])
def test_kill_9_at_any_moment_leaves_whole_files(tmp_path, num_files):
    words = [sys.executable, "-c", WRITE, str(tmp_path), str(num_files)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as process:
        process.stdout.readline()
        process.kill()
    with LocalStore(tmp_path, "print") as store:
        store.check_writable()
        present, told = store.recover()
        assert not told
        assert len(present) >= num_files
        expected = {f"sub/{n}": bytes([n % 256]) * 5000 for n in range(len(present))}
        assert files_in(store.root) == expected
        assert not list((tmp_path / HOME_NAME / "partial").iterdir())


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.unlink(), "is gone"),
        (lambda path: path.write_bytes(b"01"), "has 2 bytes in place of 4"),
        (lambda path: path.write_bytes(b"01234"), "has 5 bytes in place of 4"),
        (lambda path: path.write_bytes(b"0193"), "has checksum [0-9a-f]{8} in place of"),
    ],
)
def test_what_does_not_match_is_removed_and_told(store, spoil, problem):
    put(store, "a", b"0123")
    good = put(store, "b", b"4567")
    spoil(store.path("a"))
    present, told = again(store).recover()
    assert present == {"b": good}
    assert re.fullmatch(f"a: {problem}.*; removed", " ".join(told))
    assert files_in(store.root) == {"b": b"4567"}
    assert store.recover() == ({"b": good}, ())


def test_progress_of_checking_is_told(store):
    put(store, "a", b"0123")
    told = []
    store.present(told.append)
    assert sum(told) == 4


def test_another_manifest_keeps_what_was_made_from_the_same_bytes(store):
    def manifest(form, **letters):
        return Manifest(
            "/r", tuple(StagedFile(n, 4, c * 64 if c else None) for n, c in letters.items()), form
        )

    old = manifest("half", same="a", changed="b", gone="c", unknown=None)
    first = again(store, old.fingerprint, old.origins)
    entries = {name: put(first, name, b"0123") for name in old.origins}
    new = manifest("half", same="a", changed="d", unknown=None, more="e")
    second = again(first, new.fingerprint, new.origins)
    assert second.present() == {"same": entries["same"]}
    assert files_in(second.root) == {"same": b"0123"}
    # Known from now on as a file of the new one; in another form it is another file.
    assert LocalStore(store.folder, new.fingerprint).noted() == {"same": entries["same"]}
    third = manifest("whole", same="a")
    assert again(second, third.fingerprint, third.origins).present() == {}


def test_space_is_checked_and_told(store):
    store.require_space(1)
    with pytest.raises(InputError, match=r"local: staging needs 1000000000.00 GB, .* are free"):
        store.require_space(10**18)
    assert size_in_words(999_999) == "999999 bytes"
    assert size_in_words(2_500_000) == "2.5 MB"


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    line = "local: is full (No space left on device; "
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(InputError, match=re.escape(line)):
            store.begin("a", 10)
    with store.begin("a") as partial, monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(InputError, match=re.escape(line)):
            partial.write(b"1")
    with store.begin("a") as partial, monkeypatch.context() as patch:
        partial.write(b"1")
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=re.escape(line)):
            partial.commit()
    assert not list((store.folder / HOME_NAME / "partial").iterdir())
    assert files_in(store.root) == {}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_device_that_is_full(store, monkeypatch):
    with store.begin("a") as partial:
        os.dup2(os.open("/dev/full", os.O_WRONLY), partial._file)
        with pytest.raises(InputError, match=r"is full \(No space left on device; .* are free\)"):
            partial.write(b"1")


def test_file_systems_that_reserve_nothing(store, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert put(store, "a", b"1").num_bytes == 1


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        line = f"{folder}: can't be written"
        with pytest.raises(InputError, match=re.escape(line)):
            LocalStore(folder, "print").check_writable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(InputError, match=r"can't be written \(Permission denied\)"):
        LocalStore(tmp_path, "print").check_writable()


def test_two_jobs_in_one_folder(store):
    with pytest.raises(
        InputError, match=r"another job or node stages into this folder .*local/\{node\}$"
    ):
        LocalStore(store.folder, "print").check_writable()
    store.close()
    with LocalStore(store.folder, "print") as other:
        other.check_writable()


def test_a_subfolder_of_someone_else_is_refused(tmp_path):
    (tmp_path / HOME_NAME).mkdir()
    (tmp_path / HOME_NAME / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match="holds something that was not staged"):
        LocalStore(tmp_path, "print").check_writable()
    assert (tmp_path / HOME_NAME / "thesis.tex").read_text() == "years"


def test_removing_all_and_nothing_else(tmp_path):
    made = tmp_path / "made"
    with LocalStore(made, "print") as store:
        store.check_writable()
        put(store, "sub/deep/a", b"1")
        store.begin("b")
        store.remove()
    assert not made.exists()

    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine").write_text("mine")
    with LocalStore(tmp_path / "kept", "print") as store:
        store.check_writable()
        put(store, "sub/a", b"1")
        (store.root / "sub" / "mine").write_text("mine too")
        store.remove()
    home = f"{HOME_NAME}/files/sub/mine"
    assert files_in(tmp_path / "kept") == {"mine": b"mine", home: b"mine too"}


def test_links_lead_nothing_astray(store, tmp_path):
    put(store, "sub/a", b"1")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a").write_bytes(b"1")
    store.path("sub/a").unlink()
    (store.root / "sub").rmdir()
    (store.root / "sub").symlink_to(tmp_path / "home")
    assert store.recover() == ({}, ("sub/a: is gone; removed",))
    store.remove()
    assert (tmp_path / "home" / "a").read_bytes() == b"1"


def test_dropping_what_is_no_longer_needed(store):
    put(store, "a", b"1")
    kept = put(store, "b", b"2")
    store.drop(["a", "never there"])
    assert store.noted() == {"b": kept}
    assert files_in(store.root) == {"b": b"2"}
