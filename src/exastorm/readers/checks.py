"""Checks of values: wholly blank fields, and values that show that a unit is not what it says."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.readers.fields import first_step, variable_of
from exastorm.readers.schema import field_names

MAX_IMPLAUSIBLE_SHARE = 0.01
"""Plausible ranges reach a tenth beyond the observed extremes, so a field of which more than
one value in a hundred lies outside has another unit, or a fill value that was not declared."""


ADVICE = "; if you know the unit, state"
"""How the advice begins that follows what is wrong."""


def implausible_share(name: str, values: NDArray[Any]) -> float:
    """Share of the finite values of a field that lie outside its plausible range.

    Args:
        name: Field, ours or auxiliary.
        values: Its values in our unit, any shape.
    """
    variable = variable_of(name)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0
    return float(np.mean((finite < variable.low) | (finite > variable.high)))


def check_values(
    name: str, values: NDArray[Any], attrs: dict[str, Any], *, file: str | None, time: Any = None
) -> None:
    """Refuse a step of a field that is blank or can't be in the unit it says.

    Args:
        name: Field.
        values: One time step in our unit (H, W).
        attrs: The field's attributes, for its name and units in the archive.
        file: The file it is from.
        time: The time of the step.

    Raises:
        InputError: As said.
    """
    source_name = str(attrs.get("source_name", name))
    label = name if source_name == name else f"{name} ({source_name})"
    if not np.isfinite(values).any():
        raise InputError("holds no number at all", file=file, variable=label, time=time)
    share = implausible_share(name, values)
    if share > MAX_IMPLAUSIBLE_SHARE:
        variable = variable_of(name)
        units = attrs.get("source_units", variable.units)
        raise InputError(
            f"units {units!r} can't be right: as {variable.units} the values"
            f" {np.nanmin(values):.6g} to {np.nanmax(values):.6g} must lie within"
            f" {variable.low:g} to {variable.high:g}, {share:.0%} don't{ADVICE}"
            f" it by the option units ({source_name}=...), or keep the field out by the option"
            " fields",
            file=file,
            variable=label,
            time=time,
        )


def check_first_step(dataset: xr.Dataset, files: dict[str, str], default: str) -> None:
    """Check the first time step of every field, which is cheap and catches most wrong units.

    Args:
        dataset: A dataset in the schema.
        files: The file of each field's first time, where known.
        default: The file to name where it is not.

    Raises:
        InputError: As `check_values`.
    """
    for name in field_names(dataset):
        array = dataset[name]
        time = array["time"].values[0] if "time" in array.dims else None
        check_values(name, first_step(array), array.attrs, file=files.get(name, default), time=time)
