"""A damaged checkpoint is found, whatever is wrong with it, and the one before is used."""

import json
import random

import pytest
from tests.train.made_checkpoints import FILES, load, save_two, state_of, store_of

from exastorm.errors import InputError
from exastorm.train import checkpoint_files
from exastorm.train.checkpoint import has_checkpoint
from exastorm.train.checkpoint_files import list_steps, what_is_wrong


@pytest.fixture
def run(tmp_path):
    """A run with checkpoints of steps 1 and 2, the latter the latest."""
    return save_two(tmp_path)


@pytest.fixture
def folder(run):
    """The folder of its checkpoints."""
    return run / "checkpoints"


def flip(path, bit):
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


@pytest.mark.parametrize("name", FILES)
def test_single_flipped_bits_are_found_and_the_one_before_is_used(run, folder, name, capsys):
    path = folder / "step_00000002" / name
    for bit in random.Random(name).sample(range(8 * path.stat().st_size), 60):
        flip(path, bit)
        assert load(run) == 1
        told = capsys.readouterr().err
        assert told.startswith("exastorm: warning: ")
        assert f"step_00000002 is damaged: {name} is" in told
        assert told.endswith("; step 1 is used\n")
        assert told.count("\n") == 1
        flip(path, bit)
    assert load(run) == 2
    assert capsys.readouterr().err == ""


def test_every_bit_of_the_manifest_counts(folder):
    path = folder / "step_00000002" / "manifest.json"
    for bit in range(8 * path.stat().st_size):
        flip(path, bit)
        assert what_is_wrong(folder, 2) == "manifest.json is missing, torn or altered"
        flip(path, bit)
    assert what_is_wrong(folder, 2) == ""


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("left", [0, 0.5, -1])
def test_truncated_files_are_found(run, folder, name, left, capsys):
    path = folder / "step_00000002" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content)) if left >= 0 else left])
    assert load(run) == 1
    assert f"step_00000002 is damaged: {name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "problem"),
    [("state.pt", "state.pt cannot be read (No such file"), ("manifest.json", "manifest.json is")],
)
def test_missing_files_are_found(run, folder, name, problem, capsys):
    (folder / "step_00000002" / name).unlink()
    assert load(run) == 1
    assert problem in capsys.readouterr().err


def edited(folder, **changes):
    """Give the manifest of step 2 other values, and the checksum that fits them."""
    path = folder / "step_00000002" / "manifest.json"
    body = json.loads(path.read_text())
    del body["sha256"]
    path.write_bytes(checkpoint_files._manifest_text({**body, **changes}))


def test_a_manifest_with_a_checksum_of_its_own_does_not_make_other_bytes_right(run, folder, capsys):
    size = (folder / "step_00000002" / "state.pt").stat().st_size
    edited(folder, files={"state.pt": {"size": size, "sha256": "0" * 64}})
    assert load(run) == 1
    assert "state.pt is altered: its SHA-256 differs" in capsys.readouterr().err
    edited(folder, files={"state.pt": {"size": size + 1, "sha256": "0" * 64}})
    assert load(run) == 1
    assert f"state.pt must have {size + 1} bytes, got {size}" in capsys.readouterr().err


def test_a_checkpoint_under_the_name_of_another_step(run, folder, capsys):
    (folder / "step_00000002").rename(folder / "step_00000009")
    assert load(run) == 1
    assert "step_00000009 is damaged: manifest.json is of step 2" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[]", "{}", "7", "null", '{"sha256": "a"}'])
def test_a_manifest_of_another_shape(run, folder, content):
    (folder / "step_00000002" / "manifest.json").write_text(content)
    assert load(run) == 1


def test_another_format_is_refused_not_passed_over(run, folder):
    edited(folder, format=2, exastorm="9.0")
    with pytest.raises(InputError, match=r"format 1, got 2 .written by exastorm 9.0"):
        load(run)


def test_none_whole(run, folder):
    flip(folder / "step_00000001" / "state.pt", 4000)
    (folder / "step_00000002" / "state.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"must hold a whole checkpoint .*, got ") as caught:
        load(run)
    assert "step_00000002 is damaged: state.pt must have" in str(caught.value)
    assert "step_00000001 is damaged: state.pt is altered" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_none_at_all(tmp_path):
    assert not has_checkpoint(tmp_path)
    with pytest.raises(InputError, match="must hold a whole checkpoint to resume from, got none"):
        load(tmp_path)


def test_a_damaged_one_does_not_count_as_kept(run, folder):
    """Steps 1, whole, and 2, damaged; step 3 is saved: 1 is still the only other whole one."""
    flip(folder / "step_00000002" / "state.pt", 4000)
    with store_of(run, num_kept=2) as store:
        assert store.load()[1] == 1
        store.save(state_of(3), 3)
    assert list_steps(folder) == [3, 1]


def test_a_damaged_one_is_replaced_when_its_step_comes_again(run, folder):
    flip(folder / "step_00000002" / "state.pt", 4000)
    with store_of(run) as store:
        assert store.load()[1] == 1
        store.save(state_of(2), 2)
        assert store.load()[1] == 2
    assert list_steps(folder) == [2, 1]


# The file `latest`.


@pytest.mark.parametrize("content", [b"", b"step_0000\xff02", b"step_00000007\n", b"../1", None])
def test_without_latest_the_last_step_is_used(run, folder, content, capsys):
    (folder / "latest").unlink()
    if content is not None:
        (folder / "latest").write_bytes(content)
    assert load(run) == 2
    assert capsys.readouterr().err == ""


def test_latest_can_be_set_back_and_the_course_that_was_left_goes(run, folder):
    with store_of(run, num_kept=3) as store:
        store.save(state_of(30), 30)
    (folder / "latest").write_text("step_00000002\n")
    with store_of(run, num_kept=3) as store:
        assert store.load()[1] == 2
        store.save(state_of(3), 3)
    assert list_steps(folder) == [3, 2, 1]
    assert load(run) == 3
