"""Vapor transport and its proxies.

Vapor transport (IVT) is the pressure integral of humidity times wind. Archives with the 16
channels of the SC18 data set do not hold it; two proxies stand in, each with its own name and
unit so that no threshold in kg m-1 s-1 meets them unnoticed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from exastorm.errors import InputError
from exastorm.physics.wind import wind_speed
from exastorm.variables import VARIABLES

Field = NDArray[np.floating[Any]]


def vapor_transport(ivt_x: Any, ivt_y: Any) -> Field:
    """Magnitude of vapor transport from its components, kg m-1 s-1, any shape."""
    return np.asarray(np.hypot(ivt_x, ivt_y))


def humid_wind(u850: Any, v850: Any, q_2m: Any) -> Field:
    """Proxy QV850 = |V850| QREFHT, m s-1: the transport proxy of the first SC18 label maker."""
    return np.asarray(wind_speed(u850, v850) * q_2m)


def column_vapor_wind(tmq: Any, u850: Any, v850: Any) -> Field:
    """Proxy TMQV850 = TMQ |V850|, kg m-1 s-1: all vapor moved with the 850 hPa wind.

    Vapor sits mostly below 700 hPa, where the wind is near that of 850 hPa; where the wind grows
    with height, as in a warm conveyor belt, the proxy is some tens of percent too low.
    """
    return np.asarray(np.asarray(tmq) * wind_speed(u850, v850))


DERIVATIONS: dict[str, tuple[tuple[str, ...], Callable[..., Field]]] = {
    "IVT": (("IVTX", "IVTY"), vapor_transport),
    "QV850": (("U850", "V850", "QREFHT"), humid_wind),
    "TMQV850": (("TMQ", "U850", "V850"), column_vapor_wind),
}
"""Name of each moisture diagnostic, the fields it needs, and how it comes from them."""


def derive_moisture(dataset: xr.Dataset, name: str) -> xr.DataArray:
    """A moisture diagnostic of a dataset in the package schema, lazy where its fields are.

    Args:
        dataset: Holds the needed fields, dims (time, lat, lon).
        name: "IVT", "QV850" or "TMQV850".

    Returns:
        The field with the dims of its inputs and `units`, `long_name` and, where CF has one,
        `standard_name`; `derived_from` lists the inputs.

    Raises:
        InputError: For another name, or where a needed field is missing.
    """
    if name not in DERIVATIONS:
        raise InputError(f"moisture diagnostic must be one of {', '.join(DERIVATIONS)}, got {name}")
    needed, function = DERIVATIONS[name]
    missing = [n for n in needed if n not in dataset.data_vars]
    if missing:
        raise InputError(
            f"{name} needs {', '.join(needed)}; missing {', '.join(missing)}",
            file=dataset.attrs.get("source"),
        )
    result: xr.DataArray = xr.apply_ufunc(
        function, *(dataset[n] for n in needed), dask="parallelized", output_dtypes=[np.float32]
    )
    variable = VARIABLES[name]
    attrs = {"units": variable.units, "long_name": variable.long_name}
    if variable.standard_name:
        attrs["standard_name"] = variable.standard_name
    attrs["derived_from"] = " ".join(needed)
    result = result.rename(name)
    result.attrs = attrs
    return result
