"""A checkpoint comes back as it went, or not at all."""

import pytest
import torch

from exastorm.errors import InputError
from exastorm.train.checkpoint import load_checkpoint, save_checkpoint


def test_what_is_saved_is_what_is_loaded(tmp_path):
    state = {"step": 3, "weights": {"a": torch.arange(5.0)}, "best": {"TC": None}}
    save_checkpoint(tmp_path / "c.pt", state)
    loaded = load_checkpoint(tmp_path / "c.pt")
    assert torch.equal(loaded["weights"].pop("a"), torch.arange(5.0))
    assert loaded == {"step": 3, "weights": {}, "best": {"TC": None}}


@pytest.mark.parametrize("place", [0, 40, -1])
def test_one_flipped_bit_is_found(tmp_path, place):
    save_checkpoint(tmp_path / "c.pt", {"a": torch.zeros(1000)})
    content = bytearray((tmp_path / "c.pt").read_bytes())
    content[place] ^= 4
    (tmp_path / "c.pt").write_bytes(bytes(content))
    with pytest.raises(InputError, match="checkpoint must match its checksum"):
        load_checkpoint(tmp_path / "c.pt")


def test_a_torn_checkpoint_is_found(tmp_path):
    save_checkpoint(tmp_path / "c.pt", {"a": torch.zeros(1000)})
    (tmp_path / "c.pt").write_bytes((tmp_path / "c.pt").read_bytes()[:-10])
    with pytest.raises(InputError, match="torn or altered"):
        load_checkpoint(tmp_path / "c.pt")


def test_none_there(tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(tmp_path / "c.pt")
