import pickle

import numpy as np
import pytest
from tests.samples.conftest import SETTINGS

from exastorm.errors import InputError
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore


@pytest.fixture
def own_copy(archive, labels, tmp_path):
    """Samples in ten shards, to spoil."""
    settings = PrepareSettings(**{**vars(SETTINGS), "shard_mb": 0.05})
    prepare_samples(archive, labels, tmp_path / "own", settings)
    return tmp_path / "own"


def test_left_out_shard_is_not_opened_and_its_samples_are_in_no_split(own_copy):
    whole = SampleStore(own_copy)
    victim = whole.index.shards[1]
    (own_copy / victim.name).unlink()
    store = SampleStore(own_copy, left_out=(victim.name,))
    # The second of the shards of 12 samples.
    gone = range(12, 24)
    assert victim.split == "train"
    assert store.indices("train").tolist() == [
        i for i in whole.indices("train").tolist() if i not in gone
    ]
    assert np.array_equal(store.indices("test"), whole.indices("test"))
    assert len(store) == len(whole)
    with pytest.raises(InputError, match=f"{victim.name}: shard is left out, or held by another"):
        store.read(12)
    store.verify()


def test_samples_keep_their_numbers_in_a_folder_with_some_of_the_shards(own_copy):
    whole = SampleStore(own_copy)
    names = [shard.name for shard in whole.index.shards]
    last = int(whole.indices("train")[-1])
    expected = whole.read(last)
    held = [whole.place_of(last)["file"].name]
    for name in set(names) - set(held):
        (own_copy / name).unlink()
    store = SampleStore(own_copy, only=held)
    assert store.indices("train")[-1] == last
    assert len(store.indices("train")) == store.index.shards[names.index(held[0])].num_samples
    for ours, theirs in zip(store.read(last), expected, strict=True):
        assert np.array_equal(ours, theirs)
    assert store.time(0) == whole.time(0)
    # Other nodes hold the rest, so no sample of a split here is no mistake.
    assert len(store.indices("validation")) == 0
    dataset = SegmentationDataset(store, "train", class_weights=(1.0, 1.0, 1.0))
    assert dataset[len(dataset) - 1][0].shape == expected[0].shape


def test_shares_of_all_nodes_are_the_split(own_copy):
    whole = SampleStore(own_copy)
    names = [shard.name for shard in whole.index.shards]
    stores = [SampleStore(own_copy, only=names[node::3]) for node in range(3)]
    together = np.concatenate([store.indices("train") for store in stores])
    assert sorted(together) == whole.indices("train").tolist()
    both = SampleStore(own_copy, left_out=names[:3], only=names[::3])
    assert not set(both.indices("train")) & set(range(36))


def test_held_shards_are_checked_and_named(own_copy):
    names = [shard.name for shard in SampleStore(own_copy).index.shards]
    (own_copy / names[2]).unlink()
    SampleStore(own_copy, only=names[:2])
    with pytest.raises(InputError, match=rf"{names[2]}: shard must have \d+ bytes, got no such"):
        SampleStore(own_copy, only=names[:3])
    victim = own_copy / names[1]
    content = bytearray(victim.read_bytes())
    content[5] ^= 1
    victim.write_bytes(content)
    SampleStore(own_copy, only=names[:1]).verify()
    with pytest.raises(InputError, match=f"checksum differs from the index: {names[1]}$"):
        SampleStore(own_copy, only=names[:2]).verify()


@pytest.mark.parametrize("kind", ["left_out", "only"])
def test_unknown_shards_are_refused(prepared, kind):
    with pytest.raises(InputError, match=r"must be in the index, got train-00077\.bin"):
        SampleStore(prepared, **{kind: ["train-00077.bin"]})


def test_split_of_which_all_is_left_out_is_refused(prepared):
    store = SampleStore(prepared, left_out=["test-00000.bin"])
    with pytest.raises(InputError, match="the test split has no samples: all its shards are left"):
        store.indices("test")


def test_what_is_held_travels_to_other_processes(prepared):
    store = SampleStore(prepared, left_out=["test-00000.bin"], only=["train-00000.bin"])
    store.read(0)
    twin = pickle.loads(pickle.dumps(store))
    assert np.array_equal(twin.indices("train"), store.indices("train"))
    assert twin.left_out == {"test-00000.bin"}
    assert np.array_equal(twin.read(5)[0], store.read(5)[0])
