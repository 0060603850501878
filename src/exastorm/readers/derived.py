"""Makes a field from others where an archive lacks it, and says so in its attributes.

Only what is a definition or a published formula: rain from its two parts, specific humidity from
dew point and pressure. Wind at 10 m stands in for the lowest model level's, with a note.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import add, pos
from typing import Any

import numpy as np
import xarray as xr

from exastorm.constants import VAPOR_MASS_RATIO
from exastorm.readers.fields import AUXILIARY, Field
from exastorm.readers.schema import field_attrs

Fields = dict[str, Field]

BOLTON = (611.2, 17.67, 243.5)
"""Saturation vapor pressure over water, e = 611.2 Pa exp(17.67 t / (t + 243.5 C)), to 0.3 %
between -35 and 35 C (Bolton 1980, Monthly Weather Review 108, eq. 10)."""

MELTING_POINT = 273.15
"""0 degrees Celsius, K."""

LOWEST_VAPOR_PRESSURE = 1e-3
"""Floor for the inverse of Bolton's formula, Pa: a dew point near -95 C, drier than any air."""

TEN_METER_NOTE = (
    "wind at 10 m stands in for the lowest model level, which lies higher (about 60 m in CAM):"
    " speeds are about 15 to 20 % lower"
)
"""Share: 10 m over lowest-level wind is 0.80 to 0.85 (Zarzycki et al. 2021, CyMeP)."""


def vapor_pressure_pa(dew_point: Any) -> Any:
    """Vapor pressure, Pa, of air with a dew point in K (Bolton 1980, eq. 10)."""
    celsius = dew_point - MELTING_POINT
    return BOLTON[0] * np.exp(BOLTON[1] * celsius / (celsius + BOLTON[2]))


def specific_humidity(dew_point: Any, pressure: Any) -> Any:
    """Specific humidity, kg kg-1: q = 0.622 e / (p - 0.378 e) (WMO-No. 8, annex 4.A).

    Args:
        dew_point: Dew point, K.
        pressure: Air pressure, Pa.
    """
    vapor = vapor_pressure_pa(dew_point)
    return VAPOR_MASS_RATIO * vapor / (pressure - (1.0 - VAPOR_MASS_RATIO) * vapor)


def dew_point(humidity: Any, pressure: Any) -> Any:
    """Dew point, K, of air with a specific humidity in kg kg-1 and a pressure in Pa.

    The inverse of `specific_humidity`; air drier than any is given a dew point near -95 C.
    """
    vapor = humidity * pressure / (VAPOR_MASS_RATIO + (1.0 - VAPOR_MASS_RATIO) * humidity)
    logarithm = np.log(np.maximum(vapor, LOWEST_VAPOR_PRESSURE) / BOLTON[0])
    return MELTING_POINT + BOLTON[2] * logarithm / (BOLTON[1] - logarithm)


@dataclass(frozen=True, kw_only=True)
class Derivation:
    """How a field is made from others.

    Attributes:
        name: The field.
        parts: What it is made from.
        make: Function of the parts' values, in their order.
        note: What a reader should know.
    """

    name: str
    parts: tuple[str, ...]
    make: Callable[..., Any]
    note: str


DERIVATIONS: tuple[Derivation, ...] = (
    Derivation(
        name="PRECT",
        parts=("PRECC", "PRECL"),
        make=add,
        note="convective plus large-scale precipitation",
    ),
    Derivation(
        name="QREFHT",
        parts=("DEWPOINT", "PS"),
        make=specific_humidity,
        note="from dew point at 2 m and surface pressure (Bolton 1980)",
    ),
    Derivation(name="UBOT", parts=("U10",), make=pos, note=TEN_METER_NOTE),
    Derivation(name="VBOT", parts=("V10",), make=pos, note=TEN_METER_NOTE),
)
"""What is made where an archive lacks it."""


def ingredients(name: str) -> set[str]:
    """Fields from which a field can be made; empty where it can't."""
    return {part for d in DERIVATIONS if d.name == name for part in d.parts}


def _add(fields: Fields, derivation: Derivation) -> None:
    """Make a field from others where it is missing and they are there."""
    name, parts = derivation.name, derivation.parts
    if name in fields or any(part not in fields for part in parts):
        return
    arrays = [fields[part].array.astype(np.float64) for part in parts]
    made: xr.DataArray = derivation.make(*arrays).astype(np.float32).rename(name)
    names = [str(fields[p].array.attrs.get("source_name", p)) for p in parts]
    units = [str(fields[p].array.attrs.get("source_units", "")) for p in parts]
    inherited = [str(fields[p].array.attrs.get("note", "")) for p in parts]
    made.attrs = {
        **field_attrs(name),
        "source_name": ", ".join(names),
        "source_units": ", ".join(units),
        "note": "; ".join(dict.fromkeys(n for n in (derivation.note, *inherited) if n)),
    }
    fields[name] = replace(fields[parts[0]], array=made, mask=None)


def add_derived(fields: Fields) -> Fields:
    """The fields with those that can be made from them; auxiliary ones are dropped.

    Args:
        fields: Fields by name, on one time axis.
    """
    out = dict(fields)
    for derivation in DERIVATIONS:
        _add(out, derivation)
    return {name: field for name, field in out.items() if name not in AUXILIARY}
