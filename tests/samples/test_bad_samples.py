"""Samples that can't be what was prepared: named, and left out where that was asked for."""

import os
import pickle

import numpy as np
import pytest
import torch
from tests.samples.conftest import SETTINGS, random_archive, random_labels
from tests.samples.kept import kept

from exastorm.errors import InputError
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.loader import LoaderSettings, make_loader
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.sampler import SamplePlan
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore

WEIGHTS = (1.0, 37.5, 7.7)
BAD = 3
"""Number of the sample that is spoiled; the training split comes first."""


@pytest.fixture(params=["float32", "float16"])
def folder(request, archive, labels, tmp_path):
    settings = PrepareSettings(**{**vars(SETTINGS), "dtype": request.param})
    prepare_samples(archive, labels, tmp_path / "s", settings)
    return tmp_path / "s"


def spoil(folder, value, *, channel=1, place=7):
    """Write a number over one of the field of a sample; None writes a class that there is not."""
    layout = SampleStore(folder).index.layout
    start = BAD * layout.stride + (channel * 72 + place) * layout.disk_dtype.itemsize
    content = np.array(value, layout.disk_dtype).tobytes() if value is not None else b"\x03"
    if value is None:
        start = BAD * layout.stride + layout.field_bytes + place
    with (folder / "train-00000.bin").open("r+b") as file:
        file.seek(start)
        file.write(content)


def train(folder, **options):
    return SegmentationDataset(SampleStore(folder), "train", class_weights=WEIGHTS, **options)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "variable PSL, time {}: must be finite, got 1 values that are not"),
        (np.inf, "variable PSL, time {}: must be finite, got 1 values that are not"),
        (-np.inf, "variable PSL, time {}: must be finite, got 1 values that are not"),
        (None, "variable class_map, time {}: classes must be 0 to 2, or -1"),
    ],
)
@pytest.mark.parametrize("roll", [False, True])
def test_what_cannot_be_is_named_with_file_and_time(folder, value, message, roll):
    spoil(folder, value)
    dataset = train(folder, roll=roll)
    time = dataset.store.time(BAD)
    with pytest.raises(InputError) as caught:
        dataset[BAD]
    assert f"train-00000.bin, {message.format(time)}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert torch.isfinite(dataset[BAD + 1][0]).all()


# Pressures lie near 1e5 Pa, packed from -1 to 1; flips of high bits of the exponent make 1e10 and
# more of the first, up to 65504 of the second.
@pytest.mark.parametrize("value", [6e4, -6e4])
def test_a_value_far_outside_what_was_prepared_is_found(folder, value):
    layout = SampleStore(folder).index.layout
    spoil(folder, value if layout.dtype == "float16" else value * 1e30)
    with pytest.raises(InputError, match=r"PSL, time .*: must be from .* Pa, as when it was prep"):
        train(folder)[BAD]


def test_good_samples_are_never_taken_for_bad(tmp_path):
    # A constant channel, a lone peak, minmax and zscore, both forms on disk.
    archive = random_archive(seed=8)
    archive["TMQ"][:] = 25.0
    archive["PRECT"][:] = 0.0
    archive["PRECT"][:, 2, 3] = 3e-5
    labels = random_labels(archive)
    for n, (dtype, scaling) in enumerate(
        (d, s) for d in ("float32", "float16") for s in ("zscore", "minmax")
    ):
        changes = {"dtype": dtype, "normalization": scaling}
        out = tmp_path / str(n)
        prepare_samples(archive, labels, out, PrepareSettings(**{**vars(SETTINGS), **changes}))
        for split in ("train", "validation", "test"):
            store = SampleStore(out)
            dataset = SegmentationDataset(store, split, class_weights=WEIGHTS)
            assert all(torch.isfinite(dataset[k][0]).all() for k in range(len(dataset)))


def test_a_bad_sample_that_may_be_skipped_weighs_nothing(folder):
    spoil(folder, np.nan)
    dataset = train(folder, skip_bad=True)
    with pytest.warns(RuntimeWarning, match="sample left out: .*PSL.*must be finite"):
        field, label, weight = dataset[BAD]
    assert not field.any()
    assert torch.all(label == -1)
    assert not weight.any()
    assert list(dataset.bad_samples) == [BAD]
    assert str(dataset.store.time(BAD)) in dataset.bad_samples[BAD]
    # Told once; warnings are errors here.
    assert not dataset[BAD][2].any()
    assert dataset[0][2].any()
    assert list(dataset.bad_samples) == [BAD]
    assert pickle.loads(pickle.dumps(dataset)).bad_samples == dataset.bad_samples


def test_the_rest_of_a_batch_stays_as_it_is(folder):
    good = train(folder)
    plan = SamplePlan(num_samples=len(good), batch_size=5, shuffle=False, tail="keep")
    before = kept(make_loader(good, plan, epoch=0))
    spoil(folder, np.nan)
    dataset = train(folder, skip_bad=True)
    with pytest.warns(RuntimeWarning, match="sample left out") as told:
        after = kept(make_loader(dataset, plan, epoch=0, settings=LoaderSettings(num_threads=4)))
    assert len(told) == 1
    place = torch.arange(5) != BAD
    for a, b in zip(before[0], after[0], strict=True):
        assert torch.equal(a[place], b[place])
        assert not torch.equal(a[BAD], b[BAD])
    for a, b in zip(before[1:], after[1:], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_shard_cut_short_while_it_is_read(folder, skip_bad):
    dataset = train(folder, skip_bad=skip_bad)
    layout = dataset.store.index.layout
    os.truncate(folder / "train-00000.bin", BAD * layout.stride + 10)
    assert dataset[BAD - 1][2].any()
    message = rf"train-00000\.bin, time {dataset.store.time(BAD)}: shard ends at byte"
    if not skip_bad:
        with pytest.raises(InputError, match=message):
            dataset[BAD]
        return
    with pytest.warns(RuntimeWarning, match=message):
        assert not dataset[BAD][2].any()


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_disk_that_fails(folder, skip_bad, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    dataset = train(folder, skip_bad=skip_bad)
    monkeypatch.setattr(os, "preadv", fail)
    message = rf"train-00000\.bin, time {dataset.store.time(0)}: can't be read: Input/output error"
    if not skip_bad:
        with pytest.raises(InputError, match=message):
            dataset[0]
        return
    with pytest.warns(RuntimeWarning, match=message):
        assert not dataset[0][0].any()
    # What can be read again counts again.
    monkeypatch.undo()
    assert dataset[0][2].any()


def test_a_shard_that_has_gone(folder):
    dataset = train(folder)
    (folder / "train-00000.bin").unlink()
    with pytest.raises(InputError, match="can't be read: No such file"):
        dataset[0]


def test_soft_weights_of_a_bad_sample(archive, labels, tmp_path):
    names = ("a", "b")
    sets = labels.rename(class_map="a").assign(b=random_labels(archive, seed=9)["class_map"])
    settings = PrepareSettings(**{**vars(SETTINGS), "label": names})
    prepare_samples(archive, sets, tmp_path, settings)
    layout = SampleStore(tmp_path).index.layout
    with (tmp_path / "train-00000.bin").open("r+b") as file:
        file.seek(BAD * layout.stride + layout.field_bytes + 72 + 5)
        file.write(b"\x07")
    # The first set is whole, the second has a class that there is not.
    assert train(tmp_path)[BAD][2].any()
    dataset = train(tmp_path, label_set="soft", skip_bad=True)
    with pytest.warns(RuntimeWarning, match="classes must be 0 to 2, or -1"):
        _, label, weight = dataset[BAD]
    assert weight.shape == (3, 6, 12)
    assert not weight.any()
    assert torch.all(label == -1)
