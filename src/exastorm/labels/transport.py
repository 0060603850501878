"""Which measure of moving moisture a percentile rule looks at: vapor transport, or a proxy.

A percentile has no unit, so rules by percentiles may take a proxy, but only where the user names
it: an archive without vapor transport is refused, not served something else unasked.
"""

from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.physics.moisture import DERIVATIONS, derive_moisture

Moisture = Literal["IVT", "TMQV850", "QV850"]
"""Vapor transport, or one of the proxies of `exastorm.physics.moisture`."""

MOISTURES: tuple[Moisture, ...] = ("IVT", "TMQV850", "QV850")

WINDS = ("U850", "V850")
"""Wind that tells the direction of a proxy, and of a stored magnitude."""

Field = NDArray[np.floating[Any]]


def check_moisture(moisture: str) -> None:
    """Refuse what is no measure of moving moisture.

    Raises:
        ValueError: As said.
    """
    if moisture not in MOISTURES:
        raise ValueError(f"moisture must be one of {', '.join(MOISTURES)}, got {moisture!r}")


def moisture_fields(available: set[str], moisture: Moisture) -> tuple[str, ...]:
    """Fields that a measure is made from; empty where the archive lacks them.

    Components come before a stored magnitude, which may be a mean over time of another kind.
    """
    parts = DERIVATIONS[moisture][0]
    if set(parts) <= available:
        return parts
    return (moisture,) if moisture in available else ()


def direction_fields(available: set[str], moisture: Moisture) -> tuple[str, ...]:
    """Eastward and northward field that tell its direction; empty where the archive lacks them."""
    names = ("IVTX", "IVTY")
    if moisture == "IVT" and set(names) <= available:
        return names
    return WINDS if set(WINDS) <= available else ()


def lacking_moisture(available: set[str], moisture: Moisture) -> str:
    """Why a measure can't be had, and which proxy the user could ask for; empty where it can."""
    if moisture_fields(available, moisture):
        return ""
    missing = [name for name in DERIVATIONS[moisture][0] if name not in available]
    told = f"the archive lacks {', '.join(missing)}"
    proxies = [p for p in MOISTURES if p != moisture and moisture_fields(available, p)]
    return f"{told}; {' or '.join(proxies)} can stand in, as `moisture`" if proxies else told


def moisture_values(fields: dict[str, Field], moisture: Moisture) -> Field:
    """A measure of one snapshot, (H, W), in the unit of `exastorm.variables`.

    Raises:
        InputError: If the fields to make it from are not there.
    """
    names = moisture_fields(set(fields), moisture)
    if not names:
        raise InputError(lacking_moisture(set(fields), moisture))
    parts = [fields[name] for name in names]
    return parts[0] if names == (moisture,) else DERIVATIONS[moisture][1](*parts)


def moisture_array(dataset: xr.Dataset, moisture: Moisture) -> xr.DataArray:
    """A measure of a whole archive, lazy where its fields are.

    Raises:
        InputError: If the fields to make it from are not there.
    """
    available = {str(name) for name in dataset.data_vars}
    names = moisture_fields(available, moisture)
    if not names:
        source = dataset.attrs.get("source")
        raise InputError(lacking_moisture(available, moisture), file=source)
    return dataset[moisture] if names == (moisture,) else derive_moisture(dataset, moisture)
