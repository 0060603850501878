"""Rounding to a stated quantum, so that another processor writes the same bytes.

Sine and exponential differ in their last bit between processors. Values are computed in double
precision and rounded to a multiple of the quantum of their field, far coarser than that bit and
finer than what the model output it stands in for resolves, then stored in single precision.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTA: dict[str, float] = {
    "TMQ": 1 / 256,
    "U850": 1 / 256,
    "V850": 1 / 256,
    "UBOT": 1 / 256,
    "VBOT": 1 / 256,
    "QREFHT": 1 / 2**20,
    "PS": 1 / 4,
    "PSL": 1 / 4,
    "T200": 1 / 256,
    "T500": 1 / 256,
    "PRECT": 1 / 2**35,
    "TS": 1 / 256,
    "TREFHT": 1 / 256,
    "Z1000": 1 / 64,
    "Z200": 1 / 64,
    "ZBOT": 1 / 256,
    "IVTX": 1 / 16,
    "IVTY": 1 / 16,
    "Z300": 1 / 64,
    "Z500": 1 / 64,
    "T400": 1 / 256,
    "U10": 1 / 256,
    "V10": 1 / 256,
    "LANDFRAC": 1 / 1024,
    "PHIS": 1.0,
}
"""Quantum of every field, in its unit.

Powers of two, so that every multiple is exact in single precision. Each is below the last digit
that the variable is usually told with (0.01 K, 1 Pa, 0.1 m, 0.01 m s-1, 0.001 g kg-1); that of
rain is 2.9e-11 m s-1, or 0.0025 mm a day.
"""


def quantize(name: str, values: Any) -> NDArray[np.float32]:
    """Values rounded to the quantum of their field, ties to even, in single precision.

    Args:
        name: A key of `QUANTA`.
        values: Double-precision values in the unit of the field.
    """
    quantum = QUANTA[name]
    return np.asarray(np.rint(np.asarray(values) * (1.0 / quantum)) * quantum, dtype=np.float32)
