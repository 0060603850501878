"""`exastorm stage`, and `exastorm train --stage`, as a user runs them."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parallel.made_forks import Fork
from tests.parallel.made_ports import free_ports
from tests.train.conftest import make_samples

from exastorm.cli.main import main
from exastorm.networks.record import load_model
from exastorm.samples.convert import ConvertSettings, convert_samples
from exastorm.samples.shards import SampleStore

TINY = [
    "--train.num-steps", "3", "--train.schedule.warmup-steps", "0", "--train.batch-size", "2",
    "--train.compute.device", "cpu", "--train.compute.num-threads", "1",
    "--train.exchange.allreduce.kind", "flat",
]  # fmt: skip


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """In shards small enough that each of two nodes can have some of each split."""
    folder = tmp_path_factory.mktemp("stage")
    return convert_to(make_samples(folder / "whole"), folder / "s")


def convert_to(samples, folder):
    """The same samples in many shards."""
    convert_samples(samples, folder, ConvertSettings(to="shards", shard_mb=0.02))
    return folder


@pytest.fixture
def store(samples, tmp_path):
    """The samples, to be spoilt."""
    return Path(shutil.copytree(samples, tmp_path / "store"))


def staged(capsys, *argv):
    """What staging moved, over all nodes."""
    assert main(["stage", *map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def mistake(capsys, *argv):
    """The one line that a mistake is answered with."""
    assert main([*map(str, argv)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("exastorm: error: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def size_of(folder):
    return sum(path.stat().st_size for path in Path(folder).glob("*.bin"))


def shard_of(folder, split="train"):
    return sorted(Path(folder).glob(f"{split}-*.bin"))[0]


def test_what_is_staged_is_the_samples_and_is_moved_once(samples, tmp_path, capsys):
    local = tmp_path / "local"
    first = staged(capsys, samples, "--to", local)
    assert first["total"]["read_bytes"] == size_of(samples)
    assert first["total"]["present_bytes"] == 0
    here = Path(first["folder"])
    for path in samples.glob("*.bin"):
        assert (here / path.name).read_bytes() == path.read_bytes()
    assert (here / "index.json").read_bytes() == (samples / "index.json").read_bytes()
    second = staged(capsys, samples, "--to", local)
    assert second["total"]["read_bytes"] == 0
    assert second["total"]["present_bytes"] == size_of(samples)


def test_what_was_spoilt_on_the_node_alone_is_copied_again(samples, tmp_path, capsys):
    here = Path(staged(capsys, samples, "--to", tmp_path / "local")["folder"])
    bad = shard_of(here)
    flip(bad)
    again = staged(capsys, samples, "--to", tmp_path / "local")
    assert again["total"]["read_bytes"] == bad.stat().st_size
    assert bad.read_bytes() == shard_of(samples).read_bytes()


def test_channels_and_numbers_are_changed_on_the_way(samples, tmp_path, capsys):
    words = ["--stage.channels", "PSL", "--stage.dtype", "float16"]
    found = staged(capsys, samples, "--to", tmp_path / "local", *words)
    here, direct = Path(found["folder"]), tmp_path / "direct"
    settings = ConvertSettings(to="shards", channels=("PSL",), dtype="float16", shard_mb=0.02)
    convert_samples(samples, direct, settings)
    mine, theirs = SampleStore(here), SampleStore(direct)
    assert mine.index.layout == theirs.index.layout
    assert mine.index.statistics == theirs.index.statistics
    for i in range(len(theirs)):
        assert np.array_equal(mine.read(i)[0], theirs.read(i)[0])
        assert np.array_equal(mine.read(i)[1], theirs.read(i)[1])
    # All was read as it is in the store.
    assert found["total"]["read_bytes"] == size_of(samples)
    again = staged(capsys, samples, "--to", tmp_path / "local", *words)
    assert again["total"]["read_bytes"] == 0
    # Another form is another thing to stage.
    other = staged(capsys, samples, "--to", tmp_path / "local")
    assert other["total"]["read_bytes"] == size_of(samples)
    words = mistake(capsys, "stage", samples, "--to", tmp_path, "--stage.channels", "none")
    assert "channels must be different ones of" in words


def flip(path):
    """Flip one bit in the middle of a file, as a failing disk does."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    """Cut the end off a file."""
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("spoil", [flip, cut])
def test_a_corrupt_shard_is_named_and_stops_or_is_left_out(store, tmp_path, capsys, spoil):
    bad = shard_of(store)
    spoil(bad)
    words = mistake(capsys, "stage", store, "--to", tmp_path / "local")
    assert bad.name in words
    skip = ["--to", tmp_path / "local", "--stage.on-corrupt", "skip"]
    found = staged(capsys, store, *skip)
    assert found["left_out"] == [bad.name]
    assert not (Path(found["folder"]) / bad.name).exists()


def test_a_full_or_closed_disk_is_one_line(samples, tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert str(blocked) in mistake(capsys, "stage", samples, "--to", blocked / "local")
    if os.geteuid() == 0 and mount_small(tmp_path / "small"):
        try:
            words = mistake(capsys, "stage", samples, "--to", tmp_path / "small")
            assert "needs" in words
            assert "free" in words
        finally:
            subprocess.run(["umount", str(tmp_path / "small")], check=True)


def mount_small(folder):
    """Mount a file system of 64 kB, if that is allowed here."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def lead(words, group):
    """A command as the first of a process group, whose number it leaves in a file."""
    os.setsid()
    group.write_text(str(os.getpid()))
    return main(words)


def environment(**variables):
    """That of a process which is no rank of another job, with variables."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("EXASTORM")}
    return clean | {"OMP_NUM_THREADS": "1"} | variables


def test_a_killed_job_goes_on_with_what_is_missing(samples, tmp_path, capsys):
    local = tmp_path / "local"
    words = ["stage", samples, "--to", local, "--stage.num-readers", "1"]
    group = tmp_path / "group"
    job = Fork(lead, (list(map(str, words)), group), tmp_path / "job", environment())
    files = local / "exastorm-staged" / "files"
    deadline = time.monotonic() + 60
    while not list(files.glob("*.bin")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(int(group.read_text()), signal.SIGKILL)
    job.kill()
    found = staged(capsys, samples, "--to", local)["total"]
    assert found["present_bytes"] + found["read_bytes"] == size_of(samples)
    for path in samples.glob("*.bin"):
        assert (files / path.name).read_bytes() == path.read_bytes()


def train(samples, run, *more, **variables):
    """Weights of two ranks."""
    words = ["train", *map(str, [samples, *more, *TINY, "--out", run])]
    variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0])}
    ranks = [
        Fork(
            main,
            (words,),
            Path(f"{run}-{rank}"),
            environment(WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank), **variables),
        )
        for rank in range(2)
    ]
    ends = [rank.end(120) for rank in ranks]
    assert [code for code, _, _ in ends] == [0, 0], ends
    return load_model(run)[0].state_dict()


def test_training_from_staged_samples_is_training_from_the_store(samples, tmp_path):
    expected = train(samples, tmp_path / "plain")
    nodes = {"EXASTORM_RANKS_PER_NODE": "1"}
    local = tmp_path / "local-{node}"
    got = train(samples, tmp_path / "staged", "--stage", local, **nodes)
    assert all(torch.equal(got[name], value) for name, value in expected.items())
    # What was staged is gone with the run that needed it.
    assert not list(tmp_path.glob("local-*/exastorm-staged"))
    words = ["--stage", local, "--train.stage.mode", "partition", "--keep"]
    other = train(samples, tmp_path / "shares", *words, **nodes)
    assert any(not torch.equal(other[name], value) for name, value in expected.items())
    # Each node has a part, and both together have all.
    parts = [sorted(p.name for p in tmp_path.glob(f"local-{n}/*/files/*.bin")) for n in range(2)]
    assert set(parts[0]).isdisjoint(parts[1])
    assert sorted(parts[0] + parts[1]) == sorted(path.name for path in samples.glob("*.bin"))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["stage"], "stage needs samples and --to FOLDER"),
        (["stage", "s"], "stage needs samples and --to FOLDER"),
        (["stage", "s", "--to", "t", "--stage.mode", "sample"], "samples_per_node must be given"),
    ],
)
def test_mistakes_are_one_line(argv, words, capsys):
    assert words in mistake(capsys, *argv)
