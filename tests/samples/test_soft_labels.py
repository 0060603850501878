"""Samples with soft labels: kept beside the hard ones, checked, and given to training."""

import json

import numpy as np
import pytest
import torch
from tests.samples.conftest import SETTINGS

from exastorm.errors import InputError
from exastorm.readers.schema import DIMS
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.index import SampleLayout
from exastorm.samples.loader import make_loader
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.sampler import SamplePlan
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore
from exastorm.variables import VARIABLES

SOFT = PrepareSettings(**{**vars(SETTINGS), "soft_labels": True})
WEIGHTS = (1.0, 37.5, 7.7)


@pytest.fixture(scope="module")
def soft_labels(labels):
    """The made-up class maps with shares of 5 sets of thresholds for each class."""
    rng = np.random.default_rng(7)
    size = labels["class_map"].shape
    return labels.assign(
        cyclone_share=(DIMS, (rng.binomial(5, 0.1, size) / 5).astype(np.float32), {"units": "1"}),
        river_share=(DIMS, (rng.binomial(5, 0.2, size) / 5).astype(np.float32)),
    )


@pytest.fixture(scope="module")
def soft_samples(archive, soft_labels, tmp_path_factory):
    """A folder of samples with soft labels that no test may change."""
    out = tmp_path_factory.mktemp("soft") / "prepared"
    prepare_samples(archive.chunk({"time": 7}), soft_labels.chunk({"time": 5}), out, SOFT)
    return out


def expected_probabilities(soft_labels, time):
    cyclone = soft_labels["cyclone_share"].sel(time=time).values
    river = (1 - cyclone) * soft_labels["river_share"].sel(time=time).values
    return np.stack([1 - cyclone - river, cyclone, river])


def test_shares_lie_beside_the_hard_labels(soft_samples, prepared, soft_labels):
    store, hard = SampleStore(soft_samples), SampleStore(prepared)
    for i in range(len(store)):
        for ours, theirs in zip(store.read(i), hard.read(i), strict=True):
            assert np.array_equal(ours, theirs)
        # Fifths of 255 are whole numbers, so nothing is rounded.
        expected = expected_probabilities(soft_labels, store.time(i))
        assert store.read_probabilities(i) == pytest.approx(expected, abs=1e-6)


def test_bytes_lie_where_the_format_says(soft_samples, soft_labels):
    store = SampleStore(soft_samples)
    layout = store.index.layout
    raw = (soft_samples / store.index.shards[0].name).read_bytes()[: layout.stride]
    first = soft_labels.sel(time=store.time(0))
    start = layout.field_bytes + 6 * 12
    for n, name in enumerate(("cyclone_share", "river_share")):
        found = np.frombuffer(raw[start + 72 * n :][:72], np.uint8).reshape(6, 12)
        assert np.array_equal(found, np.rint(255 * first[name].values))
    assert not any(raw[start + 144 :])


def test_soft_labels_of_the_paper_s_size_cost_two_bytes_a_pixel():
    # 57,507,840 bytes without them (14,040 pages) and 2 x 884,736 = 432 pages more.
    names = tuple(VARIABLES)[:16]
    layout = SampleLayout.of(names, "float32", (768, 1152), ("cyclone_share", "river_share"))
    assert layout.stride == 57_507_840 + 2 * 884_736


def test_index_tells_of_soft_labels(soft_samples, prepared, soft_labels):
    store, hard = SampleStore(soft_samples), SampleStore(prepared)
    index = store.index
    assert (index.version, hard.index.version) == (2, 1)
    assert index.layout.shares == ("cyclone_share", "river_share")
    assert index.settings["soft_labels"] is True
    assert index.provenance["labels.cyclone_share.units"] == "1"
    assert "with soft labels" in index.to_line()
    assert "soft" not in hard.index.to_line()
    times = [store.time(i) for i in store.indices("train")]
    means = [expected_probabilities(soft_labels, t).mean(axis=(1, 2)) for t in times]
    assert index.soft_class_shares == pytest.approx(np.mean(means, axis=0), rel=1e-5)
    assert hard.index.soft_class_shares is None
    assert index.class_shares == hard.index.class_shares


def test_checksums_hold_for_soft_labels_too(soft_samples, archive, soft_labels, tmp_path):
    SampleStore(soft_samples).verify()
    prepare_samples(archive, soft_labels, tmp_path / "own", SOFT)
    victim = tmp_path / "own" / "test-00000.bin"
    assert victim.read_bytes() == (soft_samples / "test-00000.bin").read_bytes()
    content = bytearray(victim.read_bytes())
    content[SampleStore(soft_samples).index.layout.field_bytes + 72 + 5] ^= 1
    victim.write_bytes(content)
    with pytest.raises(InputError, match=r"checksum differs from the index: test-00000\.bin$"):
        SampleStore(tmp_path / "own").verify()


def test_samples_of_before_are_read(archive, labels, prepared, tmp_path):
    prepare_samples(archive, labels, tmp_path, SETTINGS)
    path = tmp_path / "index.json"
    content = json.loads(path.read_text())
    # What an index said before there were soft labels.
    del (
        content["layout"]["shares"],
        content["soft_class_shares"],
        content["settings"]["soft_labels"],
    )
    path.write_text(json.dumps(content))
    store = SampleStore(tmp_path)
    assert np.array_equal(store.read(3)[0], SampleStore(prepared).read(3)[0])
    with pytest.raises(InputError, match=r"soft targets need samples prepared with --prepare\.sof"):
        store.read_probabilities(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["layout"].update(shares=["river_share"]), "layout.shares must be none or"),
        (lambda c: c.update(soft_class_shares=None), "soft_class_shares must have 3 entries, got"),
        (lambda c: c["layout"].update(shares=[]), "soft_class_shares must have 0 entries, got 3"),
    ],
)
def test_index_that_contradicts_itself_is_refused(soft_samples, tmp_path, change, message):
    content = json.loads((soft_samples / "index.json").read_text())
    change(content)
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        SampleStore(tmp_path)


def test_soft_labels_need_shares(archive, labels, soft_labels, tmp_path):
    with pytest.raises(InputError, match=r"need cyclone_share or river_share, .* hold class_map"):
        prepare_samples(archive, labels, tmp_path / "a", SOFT)
    assert not (tmp_path / "a").exists()
    flat = soft_labels.assign(river_share=soft_labels["river_share"][0])
    with pytest.raises(InputError, match="variable river_share: must have dimensions"):
        prepare_samples(archive, flat, tmp_path / "a", SOFT)


def test_one_ensemble_is_enough(archive, soft_labels, tmp_path):
    labels = soft_labels.drop_vars("cyclone_share")
    prepare_samples(archive, labels, tmp_path, SOFT)
    store = SampleStore(tmp_path)
    cyclones = store.read(0)[1] == 1
    assert np.array_equal(store.read_probabilities(0)[1], cyclones)


@pytest.mark.parametrize("wrong", [1.5, -0.1, np.nan])
def test_a_share_that_is_none_is_named_or_left_out(archive, soft_labels, tmp_path, wrong):
    bad = soft_labels.copy(deep=True)
    bad["river_share"][3, 2, 5] = wrong
    message = r"variable river_share, time 2000-01-02 12:00:00: shares must be from 0 to 1"
    with pytest.raises(InputError, match=message):
        prepare_samples(archive, bad, tmp_path, SOFT)
    lenient = PrepareSettings(**{**vars(SOFT), "skip_bad": True})
    index = prepare_samples(archive, bad, tmp_path, lenient)
    assert len(index.left_out) == 1
    # Where nothing is labeled any value will do.
    bad["class_map"][3, 2, 5] = -1
    again = PrepareSettings(**{**vars(SOFT), "overwrite": True})
    assert prepare_samples(archive, bad, tmp_path, again).left_out == ()


def test_soft_samples_weigh_classes(soft_samples, soft_labels):
    store = SampleStore(soft_samples)
    hard = SegmentationDataset(store, "train", class_weights=WEIGHTS)
    soft = SegmentationDataset(store, "train", class_weights=WEIGHTS, soft=True)
    for n in (0, 5):
        expected = expected_probabilities(soft_labels, store.time(int(soft.samples[n])))
        field, label, weight = soft[n]
        assert weight.shape == (3, 6, 12)
        expected *= np.array(WEIGHTS)[:, None, None]
        assert weight.numpy() == pytest.approx(expected, abs=1e-5)
        assert torch.equal(field, hard[n][0])
        assert torch.equal(label, hard[n][1])
        assert hard[n][2].shape == (6, 12)


def test_roll_turns_soft_labels_too(soft_samples):
    store = SampleStore(soft_samples)
    plain = SegmentationDataset(store, "train", class_weights=WEIGHTS, soft=True)
    rolling = SegmentationDataset(
        store, "train", class_weights=WEIGHTS, soft=True, roll=True, seed=3
    )
    shifts = [rolling.turn_of(int(rolling.samples[n]), 0).roll for n in range(8)]
    assert len(set(shifts)) > 3
    for n, shift in enumerate(shifts):
        for still, turned in zip(plain[n], rolling[n], strict=True):
            assert torch.equal(torch.roll(still, shift, dims=-1), turned)


def test_batches_know_what_they_are(soft_samples):
    store = SampleStore(soft_samples)
    for soft in (False, True):
        dataset = SegmentationDataset(store, "train", class_weights=WEIGHTS, soft=soft)
        plan = SamplePlan(num_samples=len(dataset), batch_size=4)
        batch = next(make_loader(dataset, plan, epoch=0))
        assert batch.is_soft is soft
        assert batch.total_weight.item() == pytest.approx(batch.weight.sum().item(), rel=1e-5)


def test_soft_targets_need_soft_labels(prepared):
    with pytest.raises(InputError, match=r"prepared: soft targets need samples") as caught:
        SegmentationDataset(SampleStore(prepared), "train", class_weights=WEIGHTS, soft=True)
    assert "\n" not in str(caught.value)
