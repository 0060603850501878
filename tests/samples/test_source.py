"""Samples of all forms are recognized, and make the same tensors."""

import pickle

import numpy as np
import pytest
import torch
from tests.samples.sources import write_deepcam, write_shards

from exastorm.errors import InputError
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.deepcam_source import DeepcamSamples
from exastorm.samples.shards import SampleStore
from exastorm.samples.source import open_samples
from exastorm.samples.zarr_files import write_zarr
from exastorm.samples.zarr_source import ZarrSamples

WEIGHTS = (1.0, 37.5, 7.7)


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """The same samples, with two label sets, as shards, DeepCAM files and a Zarr store."""
    root = tmp_path_factory.mktemp("forms")
    store = write_shards(root / "shards", num_sets=2)
    write_deepcam(store, root / "deepcam")
    write_zarr(store, root / "zarr")
    return root


def test_each_form_is_recognized_by_what_is_there(forms):
    assert type(open_samples(forms / "shards")) is SampleStore
    assert type(open_samples(forms / "deepcam")) is DeepcamSamples
    assert type(open_samples(forms / "zarr")) is ZarrSamples
    assert type(open_samples(f"file://{forms}/zarr")) is ZarrSamples


def test_what_holds_no_samples_is_refused(tmp_path):
    with pytest.raises(InputError, match="must be samples: a folder that"):
        open_samples(tmp_path)
    with pytest.raises(InputError, match="can't be read as a Zarr group"):
        open_samples("memory://nothing/here.zarr")


@pytest.mark.parametrize("form", ["deepcam", "zarr"])
@pytest.mark.parametrize("options", [{}, {"roll": True, "mirror": True}, {"label_set": "soft"}])
def test_all_forms_make_the_same_tensors(forms, form, options):
    ours, theirs = (
        SegmentationDataset(open_samples(forms / name), "train", class_weights=WEIGHTS, **options)
        for name in ("shards", form)
    )
    assert len(ours) == len(theirs) > 40
    for position in (0, 17, len(ours) - 1):
        for a, b in zip(ours[position], theirs[position], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("form", ["shards", "deepcam", "zarr"])
def test_sources_go_to_other_processes_and_answer_alike(forms, form):
    store = open_samples(forms / "shards")
    source = pickle.loads(pickle.dumps(open_samples(forms / form)))
    assert source.index.times == store.index.times
    for split in ("train", "validation", "test"):
        assert np.array_equal(source.indices(split), store.indices(split))
    assert source.time(5) == store.time(5)
    assert source.place_of(5)["time"] == store.time(5)
    layout = store.index.layout
    ours, theirs = (s.read_raw(-1, np.empty(layout.stride, np.uint8)) for s in (store, source))
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(a, b)
        assert a.dtype == b.dtype


@pytest.mark.parametrize("form", ["deepcam", "zarr"])
def test_what_samples_lack_is_refused(forms, form):
    source = open_samples(forms / form)
    with pytest.raises(InputError, match="split must be one of train"):
        source.indices("training")
    with pytest.raises(InputError, match="soft targets need samples prepared with"):
        source.require_soft_labels()
    with pytest.raises(InputError, match="label_set must be below the number of label sets, 2"):
        source.require_label_set(2)
    with pytest.raises(IndexError):
        source.read_raw(len(source), np.empty(source.index.layout.stride, np.uint8))
