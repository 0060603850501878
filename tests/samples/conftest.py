import numpy as np
import pytest
import xarray as xr

from exastorm.readers.schema import CLASS_ATTRS, DIMS, mock_dataset
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings
from exastorm.variables import VARIABLES

NUM_LAT, NUM_LON, NUM_TIMES = 6, 12, 120
CHANNELS = ("TMQ", "PSL", "PRECT")
SETTINGS = PrepareSettings(
    channels=CHANNELS, block_days=4.0, gap_hours=24.0, split_fractions=(0.6, 0.2, 0.2)
)
# Typical values and their spread; rain is made of squares, so that it is skewed and not negative.
MEAN_SPREAD = {"TMQ": (25.0, 10.0), "PSL": (101325.0, 1200.0), "PRECT": (0.0, 1e-7)}


def random_archive(num_times=NUM_TIMES, seed=0, step_hours=12, num_lat=NUM_LAT, num_lon=NUM_LON):
    rng = np.random.default_rng(seed)
    shape = (num_times, num_lat, num_lon)
    fields = {}
    for name, (mean, spread) in MEAN_SPREAD.items():
        noise = rng.standard_normal(shape)
        fields[name] = mean + spread * (noise**2 if VARIABLES[name].is_rate else noise)
    return mock_dataset(fields, num_lat, num_lon, num_times, step_hours=step_hours)


def random_labels(archive, seed=1):
    rng = np.random.default_rng(seed)
    shape = tuple(archive.sizes[d] for d in DIMS)
    values = rng.choice(3, size=shape, p=[0.9, 0.02, 0.08]).astype(np.int8)
    labels = xr.Dataset({"class_map": (DIMS, values, CLASS_ATTRS)}, coords=dict(archive.coords))
    labels.attrs["rule_set"] = "made up"
    return labels


@pytest.fixture(scope="session")
def archive():
    return random_archive()


@pytest.fixture(scope="session")
def labels(archive):
    return random_labels(archive)


@pytest.fixture(scope="session")
def prepared(archive, labels, tmp_path_factory):
    """A folder of samples that no test may change."""
    out = tmp_path_factory.mktemp("samples") / "prepared"
    prepare_samples(archive.chunk({"time": 7}), labels, out, SETTINGS)
    return out
