"""What samples can be read from, whatever they lie in, and how it is recognized.

`SegmentationDataset` takes any source: shards, a DeepCAM folder as it came, or a Zarr store, local
or in an object store. All speak of the same index, give the same raw samples, and so make the same
tensors of the same data.
"""

from pathlib import Path
from typing import Any, Protocol

import cftime
import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.samples.deepcam_source import DeepcamSamples, is_deepcam_folder
from exastorm.samples.index import INDEX_NAME, SampleIndex
from exastorm.samples.indexed import RawSample
from exastorm.samples.label_sets import LabelSet
from exastorm.samples.sample_cache import CACHE_GB
from exastorm.samples.shards import SampleStore
from exastorm.samples.zarr_source import ZarrSamples, is_address, is_zarr_store


class SampleSource(Protocol):
    """Samples, open for reading; any number of threads may share it, processes get a copy each.

    Attributes:
        holds_lock: Whether the library that reads lets one thread do so at a time.
    """

    holds_lock: bool

    @property
    def path(self) -> Path | str:
        """Where the samples are."""

    @property
    def index(self) -> SampleIndex:
        """What they are."""

    def indices(self, split: str) -> NDArray[np.int64]:
        """Numbers of the samples of a split, in order of time."""

    def time(self, i: int) -> cftime.datetime:
        """Time of sample `i`."""

    def place_of(self, i: int) -> dict[str, Any]:
        """File and time of sample `i`, as `InputError` takes them."""

    def read_raw(self, i: int, buffer: NDArray[np.uint8]) -> RawSample:
        """Read sample `i` into a buffer of `index.layout.stride` bytes; gives views of it."""

    def require_soft_labels(self) -> None:
        """Refuse samples that have hard labels alone."""

    def require_label_set(self, label_set: LabelSet) -> None:
        """Refuse a choice of label set that these samples don't offer."""


def open_samples(
    path: str | Path,
    cache: str | Path | None = None,
    cache_gb: float = CACHE_GB,
    *,
    exact: bool = False,
) -> SampleSource:
    """Open samples of any kind, told apart by what is there.

    Args:
        path: A folder that `exastorm prepare` made, a DeepCAM folder (with train, validation or
            test folders of data-*.h5 or data-*.npy), or a Zarr store of samples, also at an address
            such as s3://bucket/samples.zarr.
        cache: Folder in which samples of a Zarr store are kept once read; None keeps none of a
            local store, and of others in a folder of the user's cache.
        cache_gb: Most bytes of that, GB; 0 keeps none.
        exact: Look at every file of a DeepCAM folder that says nothing of its samples, not at some.

    Raises:
        InputError: If it is none of these, or can't be read.
    """
    if not is_address(path):
        folder = Path(path)
        if (folder / INDEX_NAME).is_file():
            return SampleStore(folder)
        if is_deepcam_folder(folder):
            return DeepcamSamples(folder, exact=exact)
    if is_zarr_store(str(path)):
        return ZarrSamples(path, cache=cache, cache_gb=cache_gb)
    raise InputError(
        "must be samples: a folder that `exastorm prepare` made (with index.json), a DeepCAM folder"
        " (with train/data-*.h5 or .npy), or a Zarr store of samples, got none of these",
        file=str(path),
    )
