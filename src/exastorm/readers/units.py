"""Converts an archive's units into ours, by dimension and never by guess.

Unit strings are read by pint with the UDUNITS grammar that cf_xarray registers. Beside plain
conversions, five changes of quantity are known, each tied to one constant: geopotential and
height (standard gravity), water mass and water depth (density of water), and accumulations over
a stated time. The result is always affine, ours = scale * theirs + offset.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pint
import xarray as xr
from cf_xarray.units import units as registry

from exastorm.constants import STANDARD_GRAVITY, WATER_DENSITY
from exastorm.errors import InputError
from exastorm.variables import Variable

SPELLINGS = {
    "(0 - 1)": "1",
    "0-1": "1",
    "fraction": "1",
    "proportion": "1",
    "dimensionless": "1",
    "kelvin": "K",
    "deg k": "K",
    "deg c": "degC",
    "celsius": "degC",
    "millibar": "hPa",
    "millibars": "hPa",
    "mb": "hPa",
    "mbar": "hPa",
    "m of water": "m",
    "m of water equivalent": "m",
}
"""Spellings in archives (GRIB tables, ECMWF, older models) that the UDUNITS grammar lacks."""

QUANTITY_CHANGES: tuple[tuple[str, str, str, str], ...] = (
    ("m2 s-2", "m", "per_gravity", "divided by 9.80665 m s-2"),
    ("m", "m2 s-2", "gravity", "times 9.80665 m s-2"),
    ("m", "kg m-2", "water_density", "times 1000 kg m-3"),
    ("kg m-2 s-1", "m s-1", "per_water_density", "divided by 1000 kg m-3"),
    ("kg m-2", "m", "per_water_density", "divided by 1000 kg m-3"),
)
"""Their quantity, ours, the constant between them and what the note says of it."""

FACTORS = {
    "per_gravity": 1.0 / STANDARD_GRAVITY,
    "gravity": STANDARD_GRAVITY,
    "water_density": WATER_DENSITY,
    "per_water_density": 1.0 / WATER_DENSITY,
}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """ours = scale * theirs + offset.

    Attributes:
        scale: Factor, in our unit per their unit.
        offset: Offset, in our unit.
        note: What a reader should know of it; empty for a plain change of unit.
    """

    scale: float = 1.0
    offset: float = 0.0
    note: str = ""

    @property
    def is_identity(self) -> bool:
        """True where values stay as they are."""
        return abs(self.scale - 1.0) < 1e-12 and abs(self.offset) < 1e-12


def parse_unit(text: str) -> Any:
    """The pint unit of a unit string.

    Raises:
        ValueError: If the string is not a unit.
    """
    cleaned = " ".join(str(text).split())
    try:
        return registry.parse_units(SPELLINGS.get(cleaned.lower(), cleaned))
    except (pint.errors.PintError, AssertionError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{text!r} is not a unit") from error


@lru_cache(maxsize=1024)
def _affine(theirs: str, ours: str) -> tuple[float, float]:
    """Scale and offset between two unit strings of one dimension.

    Raises:
        ValueError: If they have different dimensions or one is not a unit.
    """
    source, target = parse_unit(theirs), parse_unit(ours)
    if source.dimensionality != target.dimensionality:
        raise ValueError(f"{theirs!r} does not convert to {ours!r}")
    zero = float(registry.Quantity(0.0, source).to(target).magnitude)
    one = float(registry.Quantity(1.0, source).to(target).magnitude)
    return one - zero, zero


def _changed_quantity(theirs: str, ours: str) -> Conversion:
    """A conversion by one of QUANTITY_CHANGES.

    Raises:
        ValueError: If none applies.
    """
    for before, after, factor, note in QUANTITY_CHANGES:
        try:
            inner, _ = _affine(theirs, before)
            outer, _ = _affine(after, ours)
        except ValueError:
            continue
        return Conversion(scale=inner * FACTORS[factor] * outer, note=note)
    raise ValueError(f"units {theirs!r} do not convert to {ours!r}")


@lru_cache(maxsize=1024)
def conversion(theirs: str, ours: str, accumulated_s: float | None = None) -> Conversion:
    """How values in their unit become values in ours.

    Args:
        theirs: Unit string of the archive.
        ours: Unit string of the vocabulary.
        accumulated_s: For a rate of ours that the archive holds as an amount: the time over which
            the amount was gathered, s.

    Raises:
        ValueError: If the units do not convert, or theirs is not a unit.
    """
    parse_unit(theirs)
    if accumulated_s is not None:
        try:
            return conversion(theirs, ours)
        except ValueError:
            amount = conversion(theirs, f"{ours} s")
            hours = f"{accumulated_s / 3600:g} h"
            note = "; ".join(filter(None, [amount.note, f"amount over {hours} made a rate"]))
            return Conversion(scale=amount.scale / accumulated_s, note=note)
    try:
        scale, offset = _affine(theirs, ours)
        return Conversion(scale=scale, offset=offset)
    except ValueError:
        return _changed_quantity(theirs, ours)


def find_conversion(
    theirs: str, variable: Variable, *, accumulated_s: float | None, file: str, source_name: str
) -> Conversion:
    """As `conversion`, with an error that names file and variable.

    Raises:
        InputError: If the units do not convert.
    """
    try:
        return conversion(theirs, variable.units, accumulated_s)
    except ValueError as error:
        raise InputError(
            f"units must convert to {variable.units} ({variable.long_name}), got {theirs!r}",
            file=file,
            variable=source_name,
        ) from error


def convert(array: xr.DataArray, change: Conversion) -> xr.DataArray:
    """The array in our unit, float32, computed in float64 where there is anything to compute."""
    if change.is_identity:
        return array.astype(np.float32)
    return (array.astype(np.float64) * change.scale + change.offset).astype(np.float32)
