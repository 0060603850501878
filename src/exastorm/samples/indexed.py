"""What every source of samples answers from its index alone, and what it gives."""

from pathlib import Path
from typing import Any, NamedTuple

import cftime
import numpy as np
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.samples.index import SampleIndex, SampleLayout, parse_time
from exastorm.samples.label_sets import LabelSet, check_label_set
from exastorm.samples.splits import SPLITS


class RawSample(NamedTuple):
    """A sample as its bytes lie on disk.

    Attributes:
        field: (C, H, W), packed as the layout says.
        labels: Class map of each label set (N, H, W).
        shares: Stored shares (S, H, W); S is 0 without soft labels.
    """

    field: NDArray[Any]
    labels: NDArray[np.int8]
    shares: NDArray[np.uint8]


def raw_views(layout: SampleLayout, buffer: NDArray[np.uint8]) -> RawSample:
    """The parts of a sample, as views of a buffer of at least `layout.used_bytes`."""
    field, labels, shares = np.split(
        buffer[: layout.used_bytes], np.cumsum([layout.field_bytes, layout.label_bytes])
    )
    return RawSample(
        field.view(layout.disk_dtype).reshape(layout.shape),
        labels.view(np.int8).reshape(layout.num_label_sets, *layout.shape[1:]),
        shares.reshape(len(layout.shares), *layout.shape[1:]),
    )


class IndexedSamples:
    """Samples with an index, all of which are there.

    Attributes:
        path: Where they are.
        index: What they are.
    """

    path: Path | str
    index: SampleIndex

    def __len__(self) -> int:
        return self.index.num_samples

    def indices(self, split: str) -> NDArray[np.int64]:
        """Numbers of the samples of a split, in order of time.

        Raises:
            InputError: If there is no such split, or nothing in it.
        """
        if split not in SPLITS:
            raise InputError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        found = np.flatnonzero(np.array(self.index.splits) == split)
        if not len(found):
            raise InputError(f"the {split} split has no samples", file=self.path)
        return found.astype(np.int64, copy=False)

    def number(self, i: int) -> int:
        """The number of a sample from 0, where it may be counted from the end.

        Raises:
            IndexError: If there is no such sample.
        """
        if not -len(self) <= i < len(self):
            raise IndexError(f"sample must be below {len(self)}, got {i}")
        return i % len(self)

    def time(self, i: int) -> cftime.datetime:
        """Time of sample `i`, in the index's calendar."""
        return parse_time(self.index.times[i], self.index.calendar)

    def place_of(self, i: int) -> dict[str, Any]:
        """File and time of sample `i`, as `InputError` takes them."""
        return {"file": self.path, "time": self.time(i)}

    def require_soft_labels(self) -> None:
        """Refuse samples that have hard labels alone.

        Raises:
            InputError: If so.
        """
        if not self.index.layout.shares:
            raise InputError(
                "soft targets need samples prepared with --prepare.soft-labels, got hard labels"
                " alone",
                file=self.path,
            )

    def require_label_set(self, label_set: LabelSet) -> None:
        """Refuse a choice of label set that these samples don't offer.

        Raises:
            ValueError: If it is no number from 0, "random" or "soft".
            InputError: If there is no such set, or only one to draw from or to vote.
        """
        check_label_set(label_set)
        num_sets, names = self.index.layout.num_label_sets, self.index.layout.label_sets
        if isinstance(label_set, int):
            if label_set >= num_sets:
                held = f" ({', '.join(names)})" if names else ""
                raise InputError(
                    f"label_set must be below the number of label sets, {num_sets}{held}, got"
                    f" {label_set}",
                    file=self.path,
                )
        elif num_sets == 1:
            raise InputError(
                f"label_set {label_set} needs samples prepared with several --labels, got one"
                " label set",
                file=self.path,
            )
