import numpy as np
import pytest
import torch
from tests.samples.conftest import SETTINGS, random_labels

from exastorm.errors import InputError
from exastorm.readers.schema import DIMS, mock_dataset
from exastorm.samples.augmentation import Turn, drawn_turn, signs_of_mirrored, turned
from exastorm.samples.checking import BadSampleError
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore
from exastorm.variables import CHANNEL_NAMES, VARIABLES

WEIGHTS = (1.0, 37.5, 7.7)
WINDS = ("TMQ", "U850", "V850", "VBOT")
NUM_LAT, NUM_LON, NUM_TIMES = 6, 12, 60


def windy_archive(sign=1.0, rows=slice(None)):
    """Winds whose mean is not zero, so that a sign in the wrong place shows."""
    rng = np.random.default_rng(3)
    shape = (NUM_TIMES, NUM_LAT, NUM_LON)
    fields = {name: 5.0 + 8.0 * rng.standard_normal(shape) for name in WINDS}
    fields["TMQ"] = np.abs(fields["TMQ"])
    for name in ("V850", "VBOT"):
        fields[name] = sign * fields[name]
    fields = {name: values[:, rows] for name, values in fields.items()}
    return mock_dataset(fields, NUM_LAT, NUM_LON, NUM_TIMES, step_hours=24)


@pytest.fixture(scope="module", params=["float32", "float16"])
def windy(request, tmp_path_factory):
    """Samples with northward winds, in each form on disk, and a mirror image of each."""
    settings = {**vars(SETTINGS), "channels": WINDS, "dtype": request.param}
    folders = []
    for name, sign, rows in (("here", 1.0, slice(None)), ("mirrored", -1.0, slice(None, None, -1))):
        folder = tmp_path_factory.mktemp(name) / "samples"
        archive = windy_archive(sign, rows)
        labels = random_labels(archive)
        labels["class_map"] = (DIMS, labels["class_map"].values[:, rows], labels["class_map"].attrs)
        prepare_samples(archive, labels, folder, PrepareSettings(**settings))
        folders.append(folder)
    return folders


def dataset_of(folder, **options):
    return SegmentationDataset(
        SampleStore(folder), "train", class_weights=WEIGHTS, seed=5, **options
    )


def test_northward_components_and_vorticity_change_sign_and_nothing_else_does():
    flips = {v.name for v in VARIABLES.values() if v.flips_with_hemisphere}
    assert flips == {"V850", "VBOT", "V10", "IVTY", "VORT850"}
    # By their standard names, in which the direction stands.
    north = {v.name for v in VARIABLES.values() if "northward" in v.standard_name}
    assert flips == north | {"VORT850"}
    signs = signs_of_mirrored(CHANNEL_NAMES)
    assert [CHANNEL_NAMES[c] for c in np.flatnonzero(signs < 0)] == ["V850", "VBOT"]


def test_half_of_the_samples_are_mirrored_anew_in_each_epoch(windy):
    dataset = dataset_of(windy[0], mirror=True)
    drawn = [[dataset.turn_of(i, epoch).is_mirrored for i in range(400)] for epoch in range(2)]
    assert drawn[0] == [dataset.turn_of(i, 0).is_mirrored for i in range(400)]
    # 200 of 400, with a standard deviation of 10.
    assert 150 < sum(drawn[0]) < 250
    # Of two epochs 200 agree by chance; so do mirrors and whether the roll is odd.
    assert 150 < sum(a == b for a, b in zip(*drawn, strict=True)) < 250
    odd = [drawn_turn(5, 0, i, num_lon=12, roll=True, mirror=True) for i in range(400)]
    assert 150 < sum(t.is_mirrored == bool(t.roll % 2) for t in odd) < 250
    assert [t.is_mirrored for t in odd] == drawn[0]
    assert dataset_of(windy[0]).turn_of(3, 0) == Turn(0, False)


@pytest.mark.parametrize("roll", [False, True])
def test_mirrored_sample_has_rows_reversed_and_northward_winds_of_other_sign(windy, roll):
    dataset, plain = dataset_of(windy[0], roll=roll, mirror=True), dataset_of(windy[0])
    scaling = dataset.store.index.scaling
    num_mirrored = 0
    for position, sample in enumerate(dataset.samples.tolist()):
        columns, is_mirrored = dataset.turn_of(sample, 0)
        field, label, weight = (np.roll(t.numpy(), -columns, -1) for t in dataset[position])
        expected = [t.numpy() for t in plain[position]]
        if is_mirrored:
            num_mirrored += 1
            expected = [e[..., ::-1, :] for e in expected]
        assert np.array_equal(label, expected[1])
        assert np.array_equal(weight, expected[2])
        for c, name in enumerate(WINDS):
            values = expected[0][c]
            if is_mirrored and name.startswith("V"):
                # In m/s the sign changes, (x - shift) / scale does not: the mean is not 0.
                values = (-(values * scaling.scale[c] + scaling.shift[c])) - scaling.shift[c]
                values = values / scaling.scale[c]
            assert np.allclose(field[c], values, atol=1e-5)
    assert 0 < num_mirrored < len(dataset.samples)


def test_mirror_image_of_a_mirror_image_is_the_sample_bit_for_bit(windy):
    # The same climate, mirrored before it was prepared; scaled as the first one is.
    here, mirrored = SampleStore(windy[0]), SampleStore(windy[1])
    scaler = dataset_of(windy[0])._scaler
    buffers = [np.empty(here.index.layout.stride, np.uint8) for _ in range(2)]
    for columns in (0, 5):
        for i in range(10):
            once = here.read_raw(i, buffers[0]).field
            other = mirrored.read_raw(i, buffers[1]).field
            fields = [np.empty(once.shape, np.float32) for _ in range(2)]
            scaler.fill(once, Turn(columns, False), fields[0])
            scaler.fill(other, Turn(columns, True), fields[1])
            assert np.array_equal(*fields)
    maps = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(turned(turned(maps, Turn(1, True)), Turn(3, True)), maps)


@pytest.mark.parametrize("options", [{"soft": True}, {"label_set": "soft"}])
def test_shares_and_votes_go_along(archive, labels, tmp_path, options):
    settings = dict(vars(SETTINGS))
    if "soft" in options:
        settings["soft_labels"] = True
        labels = labels.copy()
        rng = np.random.default_rng(0)
        shape = labels["class_map"].shape
        for name in ("cyclone_share", "river_share"):
            labels[name] = (DIMS, rng.random(shape).astype(np.float32))
    else:
        labels = labels.assign(second=labels["class_map"][:, :, ::-1].copy())
        settings["label"] = ("class_map", "second")
    prepare_samples(archive, labels, tmp_path, PrepareSettings(**settings))
    options = {**options, "area_weighting": True}
    dataset, plain = dataset_of(tmp_path, mirror=True, **options), dataset_of(tmp_path, **options)
    position = next(
        p for p, i in enumerate(dataset.samples.tolist()) if dataset.turn_of(i, 0).is_mirrored
    )
    for got, expected in zip(dataset[position], plain[position], strict=True):
        assert torch.allclose(got, expected.flip(-2), atol=1e-6)


def test_values_that_the_mirrored_channel_never_had_are_still_found(windy):
    dataset = dataset_of(windy[0], mirror=True)
    layout = dataset.store.index.layout
    raw = dataset.store.read_raw(0, np.empty(layout.stride, np.uint8)).field
    out = np.empty(raw.shape, np.float32)
    for value, turn in ((np.nan, Turn(0, True)), (np.inf, Turn(2, True))):
        bad = raw.copy()
        bad[2, 0, 0] = value
        with pytest.raises(BadSampleError, match="must be finite, got 1 values"):
            dataset._scaler.fill(bad, turn, out)
    limits = dataset._scaler._limit
    assert limits[0, 0] == limits[1, 0], "the limit of what does not flip is the same"
    assert limits[0, 2] != limits[1, 2], "winds whose mean is 5 reach farther from it mirrored"


def test_mirror_needs_latitudes_symmetric_about_the_equator(archive, labels, tmp_path):
    north = {"lat": slice(0, 90)}
    prepare_samples(archive.sel(north), labels.sel(north), tmp_path, SETTINGS)
    dataset_of(tmp_path)
    with pytest.raises(InputError, match="mirror needs latitudes that are symmetric about the eq"):
        dataset_of(tmp_path, mirror=True)
