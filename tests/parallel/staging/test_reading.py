"""Readers that die, hang or wait hold up their own file alone, and nothing wrong arrives."""

import hashlib
import os
import re
import signal
import threading
import time

import pytest
from tests.parallel.staging.made_converters import Dying, Limiting, Mistaken, Refusing, Slow, Upper

from exastorm.errors import InputError
from exastorm.parallel.staging.local_store import HOME_NAME, LocalStore
from exastorm.parallel.staging.manifest import AS_IT_IS, Manifest, StagedFile
from exastorm.parallel.staging.reading import Readers
from exastorm.parallel.staging.settings import StageSettings

LIMIT_S = 20.0


class Made:
    """A shared store, a local one, and readers between them."""

    def __init__(self, folder, num_files=4, num_bytes=100_000, converter=None, **words):
        self.root, self.told, self.sources = folder / "shared", [], {}
        for number in range(num_files):
            name = f"sub/{number}" if number % 2 else f"{number}"
            content = bytes([97 + number]) * num_bytes
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(content)
            self.sources[name] = content
        self.manifest = Manifest(
            str(self.root),
            tuple(
                StagedFile(name, num_bytes, hashlib.sha256(content).hexdigest())
                for name, content in self.sources.items()
            ),
            converter.form if converter else AS_IT_IS,
        )
        self.local = LocalStore(folder / "local", self.manifest.fingerprint, self.manifest.origins)
        self.local.check_writable()
        settings = StageSettings(**({"num_readers": 2, "patience_s": 10.0} | words))
        self.readers = Readers(self.manifest, self.local, settings, converter, self.told.append)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.readers.close()
        self.local.close()

    def submit_all(self):
        for file in self.manifest.files:
            self.readers.submit(file)

    def all_done(self):
        """What became of each file."""
        reads = [self.readers.next_done(LIMIT_S) for _ in self.manifest.files]
        assert None not in reads
        assert self.readers.next_done(0.0) is None
        return {read.file.name: read for read in reads}

    def wait_until(self, fulfilled):
        deadline = time.monotonic() + LIMIT_S
        while not fulfilled():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def num_begun(self):
        """Files that are being read and not only waited for."""
        return sum(flight.source_bytes > 0 for flight in self.readers.in_flight())

    def kept(self):
        root = self.local.root
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    def partial(self):
        return list((self.local.folder / HOME_NAME / "partial").iterdir())


def test_all_files_arrive_side_by_side(tmp_path):
    with Made(tmp_path) as made:
        made.submit_all()
        reads = made.all_done()
        assert made.kept() == made.sources
        assert {name: read.entry for name, read in reads.items()} == made.local.present()
        assert [read.source_bytes for read in reads.values()] == [100_000] * 4
        assert made.readers.source_bytes == 400_000
        assert len(set(made.readers.pids())) == 2
        assert made.told == []
    assert made.readers.pids() == []
    # Found again by the next start.
    again = LocalStore(made.local.folder, made.manifest.fingerprint)
    assert again.present().keys() == made.sources.keys()


def test_no_more_readers_than_files_and_settings_say(tmp_path):
    with Made(tmp_path, num_files=1, num_readers=5) as made:
        made.submit_all()
        made.all_done()
        assert len(made.readers.pids()) == 1


def test_converted_on_the_way(tmp_path):
    with Made(tmp_path, converter=Upper()) as made:
        made.submit_all()
        assert {read.entry.num_bytes for read in made.all_done().values()} == {100_001}
        assert made.kept() == {n: b":" + c.upper() for n, c in made.sources.items()}


def test_a_reader_killed_in_mid_file_is_replaced(tmp_path):
    with Made(tmp_path, num_bytes=64_000_000, num_files=3) as made:
        made.submit_all()
        made.wait_until(lambda: made.num_begun() > 0)
        victim = made.readers.pids()[0]
        os.kill(victim, signal.SIGKILL)
        made.all_done()
        assert made.kept() == made.sources
        assert made.partial() == []
        assert len(made.told) <= 1  # None if it was between two files.
        for line in made.told:
            assert re.fullmatch(
                rf"reader {victim} was killed by SIGKILL; .* is read by another", line
            )


def test_a_reader_that_dies_with_every_file(tmp_path):
    with Made(tmp_path, num_files=1, converter=Dying()) as made:
        made.submit_all()
        (read,) = made.all_done().values()
        assert read.problem == "3 readers died over it; the last one was killed by SIGSEGV"
        assert read.is_corrupt
        assert len(made.told) == 2
        assert (made.kept(), made.partial()) == ({}, [])


def test_a_reader_that_hangs_is_killed_and_its_file_taken_over(tmp_path):
    with Made(tmp_path, num_files=2, patience_s=2.0, converter=Slow()) as made:
        made.submit_all()
        made.wait_until(lambda: made.num_begun() == 2)
        victim = made.readers.pids()[0]
        os.kill(victim, signal.SIGSTOP)
        made.all_done()
        assert len(made.kept()) == 2
        (line,) = made.told
        assert re.fullmatch(rf"reader {victim} got no answer for 2 s; .* is read by another", line)
        assert victim not in made.readers.pids()


def test_a_store_that_never_answers_ends_it(tmp_path):
    with Made(tmp_path, num_files=1, patience_s=0.4, converter=Slow()) as made:
        over = threading.Event()

        def stop_all():
            while not over.wait(0.005):
                for pid in made.num_begun() * made.readers.pids():
                    os.kill(pid, signal.SIGSTOP)

        thread = threading.Thread(target=stop_all)
        thread.start()
        made.submit_all()
        line = f"{made.root}: the shared store gave no answer for 0.4 s (2 times, when 0 was read)"
        try:
            with pytest.raises(InputError, match=re.escape(line)):
                made.all_done()
        finally:
            over.set()
            thread.join()
        with pytest.raises(InputError, match="gave no answer"):
            made.readers.next_done(0.0)


def test_a_store_that_comes_back_is_told_once(tmp_path):
    with Made(tmp_path) as made:
        made.root.rename(tmp_path / "gone")
        made.submit_all()
        made.wait_until(lambda: made.told)
        (tmp_path / "gone").rename(made.root)
        made.all_done()
        assert made.kept() == made.sources
        gone, back = made.told
        assert gone == (
            f"{made.root}: the shared store does not answer (No such file or directory); "
            "it is waited for up to 10 s"
        )
        assert back.startswith(f"{made.root}: the shared store answers again, after ")


def test_a_store_that_stays_away_ends_it(tmp_path):
    with Made(tmp_path, patience_s=0.5) as made:
        made.root.rename(tmp_path / "gone")
        made.submit_all()
        line = f"{made.root}: the shared store gave no answer for 0.5 s (No such file or directory)"
        with pytest.raises(InputError, match=re.escape(line)):
            made.all_done()
        assert len(made.told) == 1


def test_a_corrupt_file_is_told_and_others_arrive(tmp_path):
    with Made(tmp_path) as made:
        (made.root / "2").write_bytes(made.sources.pop("2")[:-1])
        made.submit_all()
        reads = made.all_done()
        assert reads["2"].problem == "has 99999 bytes in place of 100000, twice"
        assert reads["2"].is_corrupt
        assert reads["2"].entry is None
        assert made.kept() == made.sources


def test_a_local_disk_that_takes_no_more_ends_it_with_one_line(tmp_path):
    with Made(tmp_path, converter=Limiting()) as made:
        made.submit_all()
        line = f"{tmp_path / 'local'}: can't be written (File too large)"
        with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
            made.all_done()
        assert (made.kept(), made.partial(), made.told) == ({}, [], [])


def test_what_a_converter_can_and_must_not_say(tmp_path):
    with Made(tmp_path, num_files=1, converter=Refusing()) as made:
        made.submit_all()
        (read,) = made.all_done().values()
        assert read.problem == "can't be converted to upper case (no letters)"
    (tmp_path / "more").mkdir()
    with Made(tmp_path / "more", num_files=1, converter=Mistaken()) as made:
        made.submit_all()
        with pytest.raises(RuntimeError, match="ZeroDivisionError: a bug"):
            made.all_done()


def test_a_canceled_file_is_let_be(tmp_path):
    with Made(tmp_path, num_files=3, num_readers=1, converter=Slow()) as made:
        made.submit_all()
        made.wait_until(lambda: made.readers.in_flight())
        running = made.readers.in_flight()[0].file.name
        assert running == "0"
        assert made.readers.num_waiting == 2
        assert made.readers.cancel("0")
        assert made.readers.cancel("sub/1")
        assert not made.readers.cancel("unknown")
        assert made.readers.next_done(LIMIT_S).file.name == "2"
        assert not made.readers.cancel("2")
        assert made.readers.next_done(0.0) is None
        assert made.kept().keys() == {"2"}
        assert made.partial() == []
        assert made.told == []


def test_closing_in_mid_file_leaves_nothing_half_done(tmp_path):
    with Made(tmp_path, converter=Slow()) as made:
        made.submit_all()
        made.wait_until(lambda: made.readers.in_flight())
        pids = made.readers.pids()
    made.readers.close()
    assert made.partial() == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_readers_that_do_not_start(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with Made(tmp_path) as made:
        made.submit_all()
        with pytest.raises(RuntimeError, match="readers don't start: the last one ended, code 1"):
            made.all_done()


def test_told_on_standard_error_unless_said_otherwise(tmp_path, capsys):
    with Made(tmp_path, num_files=1, converter=Dying()) as made:
        made.readers.close()
        made.readers = Readers(made.manifest, made.local, StageSettings(num_readers=1), Dying())
        made.submit_all()
        made.all_done()
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("exastorm: reader ") for line in lines] == [True, True]
