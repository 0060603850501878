"""Whether labels fit an archive: same grid, same calendar, every labeled time in the archive."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.schema import DIMS, check_dataset, check_times, require_fields
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.targets import SHARE_CLASSES

IntArray = NDArray[np.int64]


def match_labels(dataset: xr.Dataset, labels: xr.Dataset, settings: PrepareSettings) -> IntArray:
    """Place in the archive of each time of the labels, once both are known to fit each other.

    Args:
        dataset: Fields in the schema.
        labels: Class maps; every one of their times must be in `dataset`.
        settings: Which channels and which label are wanted.

    Returns:
        Indices into the archive's times, one a time of the labels.

    Raises:
        InputError: If fields or shares are missing, or grids, calendars or times do not fit.
    """
    source = labels.attrs.get("source")
    check_dataset(dataset, dataset.attrs.get("source"))
    require_fields(dataset, settings.channels, "preparing samples")
    missing = [name for name in settings.label_names if name not in labels.data_vars]
    if missing:
        names = ", ".join(str(n) for n in labels.data_vars)
        raise InputError(f"labels must hold {', '.join(missing)}, got {names}", file=source)
    for name in (*settings.label_names, *share_names(labels, settings)):
        if labels[name].dims != DIMS:
            raise InputError(
                f"must have dimensions {DIMS}, got {labels[name].dims}", file=source, variable=name
            )
    for name in ("lat", "lon"):
        ours, theirs = dataset[name].values, labels[name].values
        # 1e-4 degrees is the rounding of single precision near 360.
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=1e-4):
            raise InputError(
                f"grid of the labels must be the archive's ({ours.size} points from {ours[0]:g} to"
                f" {ours[-1]:g}), got {theirs.size} from {theirs[0]:g} to {theirs[-1]:g}",
                file=source,
                variable=name,
            )
    return _time_positions(dataset["time"].values, labels["time"].values, source)


def share_names(labels: xr.Dataset, settings: PrepareSettings) -> tuple[str, ...]:
    """Maps of shares that samples are made of; none unless soft labels are wanted.

    Raises:
        InputError: If soft labels are wanted and there is no such map, or several label sets.
    """
    if not settings.soft_labels:
        return ()
    if len(settings.label_names) > 1:
        raise InputError(
            "soft labels go with one label set, got"
            f" {', '.join(settings.label_names)}; several sets are soft targets without shares",
            file=labels.attrs.get("source"),
        )
    names = tuple(name for name in SHARE_CLASSES if name in labels.data_vars)
    if not names:
        held = ", ".join(str(n) for n in labels.data_vars)
        raise InputError(
            f"soft labels need {' or '.join(SHARE_CLASSES)}, which `exastorm label --soft` makes;"
            f" the labels hold {held}",
            file=labels.attrs.get("source"),
        )
    return names


def _time_positions(times: Any, wanted: Any, source: str | None) -> IntArray:
    """Place in `times` of each wanted time.

    Raises:
        InputError: If calendars differ or a time is not there, naming the first.
    """
    if len(wanted) == 0 or len(times) == 0:
        raise InputError("must hold at least one time", file=source, variable="time")
    if not all(hasattr(t[0], "calendar") for t in (times, wanted)):
        raise InputError(
            "times must be cftime datetimes (open with use_cftime), got"
            f" {type(times[0]).__name__} and {type(wanted[0]).__name__}",
            file=source,
            variable="time",
        )
    check_times(wanted, source)
    if times[0].calendar != wanted[0].calendar:
        raise InputError(
            f"calendar of the labels must be the archive's ({times[0].calendar}),"
            f" got {wanted[0].calendar}",
            file=source,
            variable="time",
        )
    places = {time: place for place, time in enumerate(times)}
    missing = [time for time in wanted if time not in places]
    if missing:
        raise InputError(
            f"labels are of times that the archive lacks ({len(missing)} of {len(wanted)};"
            f" this one first); it has {times[0]} to {times[-1]}",
            file=source,
            time=missing[0],
        )
    return np.array([places[time] for time in wanted], dtype=np.int64)
