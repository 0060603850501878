import pickle
import threading

import numpy as np
import pytest
import torch
from tests.parallel.made_forks import context
from tests.samples.conftest import NUM_LON, SETTINGS
from tests.samples.kept import kept

from exastorm.errors import InputError
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.loader import LoaderSettings, make_loader, resume_loader
from exastorm.samples.normalize import normalize
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.sampler import SamplePlan, SamplePosition, position_after
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore

WEIGHTS = (1.0, 37.5, 7.7)


@pytest.fixture
def dataset(prepared):
    return SegmentationDataset(SampleStore(prepared), "train", class_weights=WEIGHTS)


@pytest.fixture
def rolling(prepared):
    return SegmentationDataset(
        SampleStore(prepared), "train", class_weights=WEIGHTS, roll=True, seed=3
    )


def plan_of(dataset, **changes):
    return SamplePlan(**{"num_samples": len(dataset), "batch_size": 4, "seed": 1, **changes})


def test_sample_is_scaled_labeled_and_weighted(dataset):
    field, label, weight = dataset[3]
    assert (field.dtype, label.dtype, weight.dtype) == (torch.float32, torch.int64, torch.float32)
    raw, classes = dataset.store.read(int(dataset.samples[3]))
    expected = normalize(raw, dataset.store.index.scaling)
    assert np.allclose(field.numpy(), expected, atol=1e-5)
    assert np.array_equal(label.numpy(), classes)
    for flag, wanted in enumerate(WEIGHTS):
        assert np.all(weight.numpy()[classes == flag] == np.float32(wanted))


def test_training_fields_have_mean_zero_and_spread_one(dataset):
    fields = torch.stack([dataset[i][0] for i in range(len(dataset))]).double()
    assert fields.mean(dim=(0, 2, 3)).numpy() == pytest.approx([0, 0, 0], abs=1e-5)
    assert fields.std(dim=(0, 2, 3), correction=0).numpy() == pytest.approx([1, 1, 1], abs=1e-5)


def test_half_precision_and_minmax_go_through_the_same_door(archive, labels, dataset, tmp_path):
    changed = {"dtype": "float16", "normalization": "minmax"}
    prepare_samples(archive, labels, tmp_path, PrepareSettings(**{**vars(SETTINGS), **changed}))
    half = SegmentationDataset(SampleStore(tmp_path), "train", class_weights=WEIGHTS)
    fields = torch.stack([half[i][0] for i in range(len(half))])
    # Packing is good to 2.5e-4 of the plausible range, which is up to 9 times this one's spread.
    assert fields.min() == pytest.approx(0, abs=5e-3)
    assert fields.max() == pytest.approx(1, abs=5e-3)
    assert torch.equal(half[0][1], dataset[0][1])


def test_unlabeled_pixels_weigh_nothing(archive, labels, tmp_path):
    partly = labels.copy(deep=True)
    partly["class_map"][0, :, :5] = -1
    prepare_samples(archive, partly, tmp_path, SETTINGS)
    dataset = SegmentationDataset(SampleStore(tmp_path), "train", class_weights=WEIGHTS)
    _, label, weight = dataset[0]
    assert torch.all(label[:, :5] == -1)
    assert torch.all(weight[:, :5] == 0)
    assert torch.all(weight[:, 5:] > 0)


def test_roll_turns_field_label_and_weight_together(dataset, rolling):
    shifts = []
    for i in range(len(dataset)):
        shift = rolling.turn_of(int(rolling.samples[i]), 0).roll
        shifts.append(shift)
        for plain, turned in zip(dataset[i], rolling[i], strict=True):
            assert torch.equal(torch.roll(plain, shift, dims=-1), turned)
    # Of 12 columns all come up in about 60 draws.
    assert set(shifts) == set(range(NUM_LON))


def test_rolls_depend_on_seed_and_epoch(prepared, rolling):
    store = SampleStore(prepared)
    other = SegmentationDataset(store, "train", class_weights=WEIGHTS, roll=True, seed=4)
    first = [rolling.turn_of(i, 0).roll for i in range(40)]
    assert first == [rolling.turn_of(i, 0).roll for i in range(40)]
    assert first != [rolling.turn_of(i, 1).roll for i in range(40)]
    assert first != [other.turn_of(i, 0).roll for i in range(40)]
    before = rolling[0][0]
    epoch = next(
        e for e in range(1, 20) if rolling.turn_of(0, e).roll != rolling.turn_of(0, 0).roll
    )
    rolling.set_epoch(epoch)
    assert not torch.equal(before, rolling[0][0])


def test_roll_needs_the_whole_globe(archive, labels, tmp_path):
    half = {"lon": slice(0, 179)}
    prepare_samples(archive.sel(half), labels.sel(half), tmp_path, SETTINGS)
    store = SampleStore(tmp_path)
    SegmentationDataset(store, "train", class_weights=WEIGHTS)
    with pytest.raises(InputError, match="roll needs longitudes that go round the globe"):
        SegmentationDataset(store, "train", class_weights=WEIGHTS, roll=True)


def test_every_class_needs_a_weight(prepared):
    with pytest.raises(ValueError, match="class_weights must be 3, got 2"):
        SegmentationDataset(SampleStore(prepared), "train", class_weights=(1.0, 2.0))


def test_loader_follows_the_plan_for_every_rank(rolling):
    plan = plan_of(rolling, batch_size=3, num_ranks=2)
    seen = []
    for rank in range(2):
        for batch in make_loader(rolling, plan, epoch=5, rank=rank):
            assert batch.field.shape == (3, 3, 6, 12)
            seen += [f.tobytes() for f in batch.field.numpy()]
    assert len(set(seen)) == len(seen) == 2 * 3 * plan.num_steps


@pytest.mark.parametrize("settings", [{"num_threads": 0}, {"num_threads": 5, "num_ahead": 7}])
def test_threads_change_nothing_in_what_comes(rolling, settings):
    plan = plan_of(rolling, tail="keep")
    usual = kept(make_loader(rolling, plan, epoch=2))
    other = kept(make_loader(rolling, plan, epoch=2, settings=LoaderSettings(**settings)))
    assert len(usual) == plan.num_steps == len(other)
    for ours, theirs in zip(usual, other, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b)


def test_loader_goes_on_at_any_step(rolling):
    plan = plan_of(rolling)
    whole = kept(make_loader(rolling, plan, epoch=1))
    rest = kept(make_loader(rolling, plan, epoch=1, start_step=7))
    assert len(rest) == plan.num_steps - 7
    for a, b in zip(whole[7:], rest, strict=True):
        assert torch.equal(a.field, b.field)
        assert torch.equal(a.label, b.label)
    next_epoch = next(iter(make_loader(rolling, plan, epoch=2)))
    assert not torch.equal(whole[0].field, next_epoch.field)


def test_loader_goes_on_with_other_batches_and_ranks(rolling):
    plan = plan_of(rolling, batch_size=5)
    whole = [f for batch in kept(make_loader(rolling, plan, epoch=1)) for f in batch.field]
    place = position_after(plan, SamplePosition(1), 3)
    assert place == (1, 15)
    other = plan_of(rolling, batch_size=2, num_ranks=3)
    parts = [kept(resume_loader(rolling, other, place, rank=rank)) for rank in range(3)]
    rest = [f for step in zip(*parts, strict=True) for batch in step for f in batch.field]
    assert len(rest) == (len(rolling) - 15) // 6 * 6
    for a, b in zip(whole[15:], rest, strict=False):
        assert torch.equal(a, b)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_batches_are_made_ahead_and_no_further(dataset, monkeypatch, num_threads):
    filled = []
    real = SegmentationDataset.fill

    def count(self, sample, batch, place, epoch):
        real(self, sample, batch, place, epoch)
        filled.append(sample)

    monkeypatch.setattr(SegmentationDataset, "fill", count)
    settings = LoaderSettings(num_threads=num_threads, num_ahead=3)
    loader = make_loader(dataset, plan_of(dataset), epoch=0, settings=settings)
    next(loader)
    for thread in threading.enumerate():
        if thread.name.startswith("samples"):
            # The pool's queue empties when the batches asked for are ready.
            while len(filled) < 16 and thread.is_alive():
                thread.join(0.01)
    assert len(filled) == 16, "the batch given and three ahead, of four samples each"
    loader.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("samples")]


def test_error_in_a_thread_reaches_the_caller(archive, labels, tmp_path):
    prepare_samples(archive, labels, tmp_path, SETTINGS)
    dataset = SegmentationDataset(SampleStore(tmp_path), "train", class_weights=WEIGHTS)
    with (tmp_path / "train-00000.bin").open("r+b") as file:
        file.truncate(0)
    with pytest.raises(InputError, match="shard ends at byte"):
        next(make_loader(dataset, plan_of(dataset), epoch=0))


def test_plan_of_another_size_is_refused(dataset):
    plan = SamplePlan(num_samples=len(dataset) + 1, batch_size=1)
    with pytest.raises(ValueError, match="num_samples must be"):
        next(make_loader(dataset, plan, epoch=0))


@pytest.mark.parametrize("wrong", [{"num_threads": -1}, {"num_ahead": 0}])
def test_loader_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
        LoaderSettings(**wrong)


def test_dataset_travels_to_worker_processes(rolling):
    rolling.set_epoch(4)
    twin = pickle.loads(pickle.dumps(rolling))
    assert torch.equal(twin[2][0], rolling[2][0])


@pytest.mark.slow
def test_torch_loader_with_worker_processes(rolling):
    loader = torch.utils.data.DataLoader(
        rolling, batch_size=4, num_workers=2, multiprocessing_context=context
    )
    fields = torch.cat([batch[0] for batch in loader])
    assert torch.equal(fields, torch.stack([rolling[i][0] for i in range(len(rolling))]))
