"""A job that is killed takes its readers along, and a second start brings what is missing."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.parallel.staging.made_converters import Upper

from exastorm.parallel.staging.local_store import HOME_NAME, LocalStore
from exastorm.parallel.staging.manifest import Manifest, StagedFile
from exastorm.parallel.staging.reading import Readers
from exastorm.parallel.staging.settings import StageSettings

LIMIT_S = 20.0

JOB = """
import sys, time
from exastorm.parallel.staging.local_store import LocalStore
from exastorm.parallel.staging.manifest import Manifest, StagedFile
from exastorm.parallel.staging.reading import Readers
from exastorm.parallel.staging.settings import StageSettings
from tests.parallel.staging.made_converters import Slow
manifest = Manifest(sys.argv[1], tuple(StagedFile(str(n), 100) for n in range(6)), Slow.form)
local = LocalStore(sys.argv[2], manifest.fingerprint)
local.check_writable()
readers = Readers(manifest, local, StageSettings(num_readers=2), Slow())
for file in manifest.files:
    readers.submit(file)
readers.next_done()
print(*readers.pids(), flush=True)
time.sleep(60)
"""


def test_kill_9_of_the_job_ends_its_readers_and_leaves_whole_files(tmp_path):
    files = tuple(StagedFile(str(number), 100) for number in range(6))
    (tmp_path / "shared").mkdir()
    for file in files:
        (tmp_path / "shared" / file.name).write_bytes(bytes([int(file.name)]) * 100)
    folders = [str(tmp_path / "shared"), str(tmp_path / "local")]
    words = [sys.executable, "-c", JOB, *folders]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as job:
        pids = [int(word) for word in job.stdout.readline().split()]
        job.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + LIMIT_S
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    manifest = Manifest(folders[0], files, Upper.form)
    with LocalStore(folders[1], manifest.fingerprint) as local:
        local.check_writable()
        present, told = local.recover()
        assert told == ()
        assert 0 < len(present) < len(files)
        assert not list((local.folder / HOME_NAME / "partial").iterdir())
        # A second start brings what is missing, and nothing else.
        with Readers(manifest, local, StageSettings(num_readers=2), Upper()) as readers:
            missing = [file for file in files if file.name not in present]
            for file in missing:
                readers.submit(file)
            assert all(readers.next_done(LIMIT_S).entry for _ in missing)
            assert readers.source_bytes == len(missing) * 100
        assert len(local.present()) == len(files)


def is_running(pid):
    """Whether a process runs; one that nobody waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
