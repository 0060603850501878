"""Channel statistics of a DeepCAM archive: its `stats.h5`, of both kinds.

SC18's kind is `climate/stats` (16, 4) with columns mean, maximum, minimum and standard deviation;
MLPerf's is `climate/count`, `mean`, `sqmean`, `minval` and `maxval`, (16,) each, where `sqmean` is
the mean of the squares and the count is that of files. The data set's own SC18 file has a flawed
last column (its maker averaged variances without merging them); what is written here is right.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.formats.deepcam_layouts import NUM_CHANNELS, open_hdf5
from exastorm.variables import CHANNEL_NAMES

MLPERF_NAMES = ("mean", "sqmean", "minval", "maxval")


def read_statistics(path: str | Path) -> xr.Dataset:
    """Statistics of the 16 channels, in CAM's units.

    Args:
        path: A `stats.h5` of either kind; where it holds both, MLPerf's is read.

    Returns:
        `mean`, `std`, `min`, `max` over `channel` (16,), float64.

    Raises:
        InputError: If the file is of neither kind.
    """
    path = str(path)
    with open_hdf5(path) as file:
        if all(f"climate/{name}" in file for name in MLPERF_NAMES):
            mean, square, low, high = (_values(file, n, (NUM_CHANNELS,)) for n in MLPERF_NAMES)
            # Rounding can leave the variance of a constant channel just below zero.
            std = np.sqrt(np.maximum(square - mean**2, 0.0))
        elif "climate/stats" in file:
            mean, high, low, std = _values(file, "stats", (NUM_CHANNELS, 4)).T
        else:
            raise InputError(
                f"must hold climate/stats or climate/{', '.join(MLPERF_NAMES)}", file=path
            )
    columns = {"mean": mean, "std": std, "min": low, "max": high}
    return xr.Dataset(
        {name: ("channel", values) for name, values in columns.items()},
        coords={"channel": list(CHANNEL_NAMES)},
        attrs={"source": path},
    )


def _values(file: h5py.File, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    values = np.asarray(file[f"climate/{name}"][()], dtype=np.float64)
    if values.shape != shape:
        raise InputError(
            f"must have shape {shape}, got {values.shape}",
            file=file.filename,
            variable=f"climate/{name}",
        )
    return values


def map_statistics(cube: Any) -> NDArray[np.float64]:
    """Mean, maximum, minimum and standard deviation (4, C) of fields (C, H, W), in that order."""
    flat = np.asarray(cube, dtype=np.float64).reshape(len(cube), -1)
    return np.stack([flat.mean(1), flat.max(1), flat.min(1), flat.std(1)])


@dataclass
class RunningStatistics:
    """Statistics of many snapshots of equal size, one after the other.

    Attributes:
        num_files: Snapshots seen.
        mean: Mean of each channel (C,).
        variance: Variance (C,), merged by the rule of Chan, Golub and LeVeque (1983).
        low: Minimum (C,).
        high: Maximum (C,).
    """

    num_channels: int
    num_files: int = 0
    mean: NDArray[np.float64] = field(init=False)
    variance: NDArray[np.float64] = field(init=False)
    low: NDArray[np.float64] = field(init=False)
    high: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.mean, self.variance = np.zeros(self.num_channels), np.zeros(self.num_channels)
        self.low = np.full(self.num_channels, np.inf)
        self.high = np.full(self.num_channels, -np.inf)

    def add(self, statistics: NDArray[np.float64]) -> None:
        """Take in one snapshot's `map_statistics` (4, C)."""
        mean, high, low, std = statistics
        share = 1.0 / (self.num_files + 1)
        step = mean - self.mean
        self.variance = (1 - share) * self.variance + share * std**2 + share * (1 - share) * step**2
        self.mean = self.mean + share * step
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.num_files += 1

    def write(self, path: Path) -> None:
        """Write both kinds of `stats.h5` into one file."""
        with h5py.File(path, "w") as file:
            group = file.create_group("climate")
            group["count"] = self.num_files
            group["mean"] = self.mean
            group["sqmean"] = self.variance + self.mean**2
            group["minval"], group["maxval"] = self.low, self.high
            columns = [self.mean, self.high, self.low, np.sqrt(self.variance)]
            group["stats"] = np.stack(columns, axis=1).astype(np.float32)
