"""Object stores, folders, and addresses of which nothing is known."""

import os
import re
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from tests.parallel.staging.made_nodes import stage_on_nodes
from tests.parallel.staging.made_web import CONTENT, NAME, SIZE, Reader

from exastorm.errors import InputError
from exastorm.parallel.staging import shared_store
from exastorm.parallel.staging.manifest import Manifest, StagedFile
from exastorm.parallel.staging.shared_store import FolderStore, IrregularFileError, open_store
from exastorm.parallel.staging.source import FileProblemError, StoreGoneError


@pytest.fixture
def reader_of(tmp_path):
    return lambda root, patience_s=2.0: Reader(root, tmp_path, patience_s)


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.pipe("/box/part/a b+%.bin", CONTENT)
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def test_an_object_store(reader_of, memory):
    reader = reader_of("memory://box", 0.3)
    reader.stage()
    assert reader.num_bytes == SIZE
    with pytest.raises(FileProblemError, match="has 768000 bytes in place of 5, twice"):
        reader.stage(size=5)
    memory.pipe("/box/other", b"")
    with pytest.raises(FileProblemError, match="is missing from the shared store"):
        reader.stage("nothing")
    memory.rm("/box", recursive=True)
    with pytest.raises(StoreGoneError):
        reader.stage()


def test_drivers_have_errors_of_their_own(reader_of, memory, monkeypatch):
    class DriverError(Exception):
        pass

    def fail_once(act):
        def failing(*words, **named):
            if failures:
                failures.pop()
                raise DriverError("slow down")
            return act(*words, **named)

        return failing

    reader = reader_of("memory://box")
    for owner, name in [(type(memory), "open"), (type(memory.open("/box/" + NAME)), "readinto")]:
        failures = [1]
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail_once(getattr(owner, name)), raising=False)
            reader.stage()
        assert not failures
        assert reader.source._store.is_there()


@pytest.mark.parametrize("root", ["nothing://box", "s4://box"])
def test_an_address_of_which_nothing_is_known_is_a_mistake_in_a_line(tmp_path, root):
    line = f"{root}: no store can be opened there (Protocol not known: "
    with pytest.raises(InputError, match=re.escape(line)):
        open_store(root, 1.0)
    manifest = Manifest(root, (StagedFile("a", 1),))
    results = stage_on_nodes(manifest, tmp_path, (0,))
    assert str(results[0]).startswith(line)


def test_a_folder_that_is_refused_stays_no_open_file(tmp_path):
    (tmp_path / "a").mkdir()
    before = open_files()
    for _ in range(5):
        with pytest.raises(IrregularFileError):
            FolderStore(str(tmp_path)).open("a")
    assert open_files() == before


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_readers_of_a_folder_load_nothing_for_the_web():
    text = (
        "import sys, exastorm.parallel.staging.reader_process;"
        "print({'http.client', 'ssl', 'fsspec', 'numpy', 'torch'} & set(sys.modules))"
    )
    words = [sys.executable, "-c", text]
    environment = os.environ | {"PYTHONPATH": str(Path(shared_store.__file__).parents[3])}
    out = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert out.stdout == "set()\n"
