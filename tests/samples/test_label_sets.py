"""Several label sets of one snapshot: kept side by side, and learned one, by lot, or by vote."""

import json

import numpy as np
import pytest
import torch
from tests.samples.conftest import SETTINGS, random_labels
from tests.samples.kept import kept

from exastorm.errors import InputError
from exastorm.grid import area_weights
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.label_sets import check_label_set, chosen_label, fill_vote_weights, fixed_set
from exastorm.samples.loader import make_loader
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.sampler import SamplePlan
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore

NAMES = ("strict", "lenient", "third")
SETS = PrepareSettings(**{**vars(SETTINGS), "label": NAMES})
WEIGHTS = (1.0, 37.5, 7.7)


@pytest.fixture(scope="module")
def three_sets(archive):
    maps = [random_labels(archive, seed=20 + n)["class_map"] for n in range(3)]
    return maps[0].to_dataset(name=NAMES[0]).assign(dict(zip(NAMES, maps, strict=True)))


@pytest.fixture(scope="module")
def samples(archive, three_sets, tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "samples"
    prepare_samples(archive.chunk({"time": 7}), three_sets.chunk({"time": 5}), out, SETS)
    return out


def train(samples, **options):
    return SegmentationDataset(SampleStore(samples), "train", class_weights=WEIGHTS, **options)


def maps_at(three_sets, time):
    return np.stack([three_sets[name].sel(time=time).values for name in NAMES])


def test_every_set_lies_in_every_sample(samples, three_sets, prepared):
    store = SampleStore(samples)
    assert store.index.version == 3
    assert store.index.layout.label_sets == NAMES
    assert "with 3 label sets" in store.index.to_line()
    for i in range(len(store)):
        for n, expected in enumerate(maps_at(three_sets, store.time(i))):
            field, label = store.read(i, label_set=n)
            assert np.array_equal(label, expected)
        assert np.array_equal(field, SampleStore(prepared).read(i)[0])
    with pytest.raises(InputError, match=r"below the number of label sets, 3 \(strict, .*got 3"):
        store.read(0, label_set=3)


def test_bytes_lie_where_the_format_says(samples, three_sets):
    store = SampleStore(samples)
    layout = store.index.layout
    raw = (samples / store.index.shards[0].name).read_bytes()[: layout.stride]
    found = np.frombuffer(raw[layout.field_bytes :][: 3 * 72], np.int8).reshape(3, 6, 12)
    assert np.array_equal(found, maps_at(three_sets, store.time(0)))
    assert layout.used_bytes == 3 * 72 * 4 + 3 * 72
    store.verify()


def test_one_set_is_written_as_it_was_before(archive, three_sets, tmp_path):
    one = PrepareSettings(**{**vars(SETTINGS), "label": ("lenient",)})
    index = prepare_samples(archive, three_sets, tmp_path / "a", one)
    assert (index.version, index.layout.label_sets, index.label_set_shares) == (1, (), ())
    renamed = three_sets.rename(lenient="class_map")
    prepare_samples(archive, renamed, tmp_path / "b", SETTINGS)
    for name in ("train-00000.bin", "test-00000.bin"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    # What an index said before there were label sets.
    path = tmp_path / "a" / "index.json"
    content = json.loads(path.read_text())
    del content["layout"]["label_sets"], content["label_set_shares"]
    path.write_text(json.dumps(content))
    assert SampleStore(tmp_path / "a").index.shares_of(0) == index.class_shares


def test_shares_are_told_of_each_set_and_of_all(samples, three_sets):
    store = SampleStore(samples)
    times = [store.time(i) for i in store.indices("train")]
    counts = [
        [np.count_nonzero(three_sets[name].sel(time=times).values == k) for k in range(3)]
        for name in NAMES
    ]
    index = store.index
    assert [list(s.num_pixels) for s in index.label_set_shares] == counts
    assert list(index.class_shares.num_pixels) == np.sum(counts, axis=0).tolist()
    assert sum(index.whole_class_shares.num_pixels) == 3 * 72 * len(store)
    assert index.shares_of(1) == index.label_set_shares[1]
    assert index.shares_of("random") == index.shares_of("soft") == index.class_shares


def test_an_annotator_may_miss_a_snapshot_but_not_all_of_them(archive, three_sets, tmp_path):
    partly = three_sets.copy(deep=True)
    partly["strict"][0] = -1
    partly["lenient"][1] = partly["strict"][1] = partly["third"][1] = -1
    lenient = PrepareSettings(**{**vars(SETS), "skip_bad": True})
    index = prepare_samples(archive, partly, tmp_path / "a", lenient)
    assert len(index.left_out) == 1
    assert "variable strict, lenient, third" in index.left_out[0]
    # A draw passes over the set that has nothing to say of a snapshot.
    for epoch in range(20):
        dataset = train(tmp_path / "a", label_set="random", seed=1)
        dataset.set_epoch(epoch)
        assert dataset[0][1].max() >= 0
    assert train(tmp_path / "a")[0][1].max() == -1
    # The vote is that of the two others, and so is the label.
    label, weight = train(tmp_path / "a", label_set="soft")[0][1:]
    others = maps_at(partly, SampleStore(tmp_path / "a").time(0))[1:]
    assert np.array_equal(label.numpy(), others[0])
    assert weight[1].numpy() == pytest.approx(37.5 * (others == 1).mean(axis=0), rel=1e-6)
    partly["third"][:] = -1
    with pytest.raises(InputError, match="third: label set must label something of the training"):
        prepare_samples(archive, partly, tmp_path / "b", lenient)
    assert not list((tmp_path / "b").iterdir())


def test_a_wrong_class_is_named_with_its_set(archive, three_sets, tmp_path):
    wrong = three_sets.copy(deep=True)
    wrong["third"][0, 0, 0] = 3
    with pytest.raises(InputError, match=r"variable third, time .*must be 0 to 2, or -1"):
        prepare_samples(archive, wrong, tmp_path, SETS)


def test_what_cannot_be_prepared_is_one_line(archive, three_sets, tmp_path):
    with pytest.raises(InputError, match="labels must hold third, got strict, lenient"):
        prepare_samples(archive, three_sets.drop_vars("third"), tmp_path / "a", SETS)
    flat = three_sets.assign(third=three_sets["third"][0])
    with pytest.raises(InputError, match="variable third: must have dimensions"):
        prepare_samples(archive, flat, tmp_path / "a", SETS)
    soft = PrepareSettings(**{**vars(SETS), "soft_labels": True})
    with pytest.raises(InputError, match="soft labels go with one label set, got strict, len"):
        prepare_samples(archive, three_sets, tmp_path / "a", soft)
    assert not (tmp_path / "a").exists()
    for wrong in ((), ("a", "a")):
        with pytest.raises(ValueError, match="label must be different variables, at least one"):
            PrepareSettings(label=wrong)


def test_a_fixed_set_is_the_one_that_is_read(samples, three_sets):
    for number in range(3):
        dataset = train(samples, label_set=number)
        time = dataset.store.time(int(dataset.samples[4]))
        _, label, weight = dataset[4]
        expected = maps_at(three_sets, time)[number]
        assert np.array_equal(label.numpy(), expected)
        assert np.array_equal(weight.numpy(), np.float32(WEIGHTS)[expected])
    assert torch.equal(train(samples)[4][1], train(samples, label_set=0)[4][1])


def drawn(dataset, three_sets, epoch):
    """Number of the set that each sample was read with."""
    dataset.set_epoch(epoch)
    numbers = []
    for n in range(len(dataset)):
        maps = maps_at(three_sets, dataset.store.time(int(dataset.samples[n])))
        label = dataset[n][1].numpy()
        (number,) = np.flatnonzero((maps == label).all(axis=(1, 2)))
        numbers.append(int(number))
    return numbers


def test_a_random_set_is_drawn_at_each_read_and_can_be_drawn_again(samples, three_sets):
    dataset = train(samples, label_set="random", seed=5)
    first, second = drawn(dataset, three_sets, 0), drawn(dataset, three_sets, 1)
    assert first != second
    assert first == drawn(train(samples, label_set="random", seed=5), three_sets, 0)
    assert first != drawn(train(samples, label_set="random", seed=6), three_sets, 0)
    # Each of the three comes up once in three draws: of n, n/3 with a standard deviation of
    # sqrt(n x 2/9); five of them.
    counts = np.bincount(first + second, minlength=3)
    num_draws = counts.sum()
    assert np.abs(counts - num_draws / 3).max() < 5 * np.sqrt(num_draws * 2 / 9)


def test_draws_do_not_depend_on_threads_rolls_or_a_restart(samples):
    dataset = train(samples, label_set="random", seed=5)
    plan = SamplePlan(num_samples=len(dataset), batch_size=4, seed=2)
    whole = [batch.label for batch in kept(make_loader(dataset, plan, epoch=3))]
    rest = [batch.label for batch in kept(make_loader(dataset, plan, epoch=3, start_step=5))]
    assert len(rest) == plan.num_steps - 5
    assert all(torch.equal(a, b) for a, b in zip(whole[5:], rest, strict=True))
    rolled = train(samples, label_set="random", seed=5, roll=True)
    sample = int(rolled.samples[2])
    shift = rolled.turn_of(sample, 0).roll
    assert shift
    assert torch.equal(torch.roll(dataset[2][1], shift, dims=-1), rolled[2][1])


def test_a_vote_weighs_each_class_by_the_sets_that_give_it(samples, three_sets):
    dataset = train(samples, label_set="soft")
    for n in (0, 7):
        maps = maps_at(three_sets, dataset.store.time(int(dataset.samples[n])))
        _, label, weight = dataset[n]
        expected = np.stack([w * (maps == k).mean(axis=0) for k, w in enumerate(WEIGHTS)])
        assert weight.numpy() == pytest.approx(expected, rel=1e-6)
        assert np.array_equal(label.numpy(), maps[0])
    plan = SamplePlan(num_samples=len(dataset), batch_size=4)
    assert next(make_loader(dataset, plan, epoch=0)).is_soft
    rolled = train(samples, label_set="soft", roll=True, seed=3)
    shift = rolled.turn_of(int(rolled.samples[0]), 0).roll
    assert shift
    assert torch.equal(torch.roll(dataset[0][2], shift, dims=-1), rolled[0][2])


def test_votes_of_unlabeled_pixels_do_not_count():
    # Three pixels: all three sets vote; one of them; none.
    labels = np.array([[[0, -1, -1]], [[1, -1, -1]], [[1, 2, -1]]], dtype=np.int8)
    out = np.empty((3, 1, 3), np.float32)
    fill_vote_weights(labels, np.float32([1, 10, 100]), out)
    expected = np.array([[1 / 3, 20 / 3, 0], [0, 0, 100], [0, 0, 0]])
    weights = out[:, 0].T
    assert weights == pytest.approx(expected)
    label = chosen_label(labels, "soft", seed=0, epoch=0, sample=0)
    assert label.tolist() == [[0, 2, -1]]


def test_area_weighting_takes_the_poles_for_less(samples):
    for label_set in (1, "soft"):
        plain = train(samples, label_set=label_set)
        by_area = train(samples, label_set=label_set, area_weighting=True)
        rows = area_weights(plain.store.index.lat)
        assert rows.mean() == pytest.approx(1)
        expected = plain[3][2].numpy() * rows[:, None]
        assert by_area[3][2].numpy() == pytest.approx(expected, rel=1e-6)
        assert not np.allclose(expected, plain[3][2].numpy())
        assert torch.equal(by_area[3][1], plain[3][1])


def test_sets_that_are_not_there_are_refused(samples, prepared):
    with pytest.raises(InputError, match=r"below the number of label sets, 3 \(strict, lenient"):
        train(samples, label_set=3)
    with pytest.raises(InputError, match="below the number of label sets, 1, got 1"):
        train(prepared, label_set=1)
    for word in ("random", "soft"):
        with pytest.raises(InputError, match=f"label_set {word} needs samples prepared with sev"):
            train(prepared, label_set=word)
        with pytest.raises(ValueError, match=f"label_set of test must be a number, got '{word}'"):
            SegmentationDataset(SampleStore(samples), "test", class_weights=WEIGHTS, label_set=word)
    with pytest.raises(InputError, match="soft targets need samples prepared with"):
        train(samples, soft=True)


@pytest.mark.parametrize("wrong", [-1, True, "both", 1.5, None])
def test_what_is_no_choice_of_a_set_is_refused(wrong):
    with pytest.raises(ValueError, match="label_set must be a number from 0, random or soft, got"):
        check_label_set(wrong)


def test_validation_has_the_set_trained_on_or_the_first():
    assert [fixed_set(choice) for choice in (2, "random", "soft")] == [2, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["layout"].update(label_sets=["a"]), "label_sets must be none, or several"),
        (
            lambda c: c["layout"].update(shares=["cyclone_share", "river_share"]),
            "label_sets must be none, or several without",
        ),
        (lambda c: c.update(label_set_shares=[]), "label_set_shares must have 3 entries, got 0"),
        (lambda c: c["whole_statistics"].update(max=[1.0]), "whole_statistics.max must have 3"),
        (lambda c: c["whole_statistics"].update(min=[1.0]), "whole_statistics.min must have 3"),
    ],
)
def test_index_that_contradicts_itself_is_refused(samples, tmp_path, change, message):
    content = json.loads((samples / "index.json").read_text())
    change(content)
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        SampleStore(tmp_path)
