"""Warmth of the upper troposphere, by which a tropical cyclone differs from an extratropical one.

Two measures that the 16 channels allow (TECA, teca_tc_candidates): the mean of the temperatures
at 200 and 500 hPa, and the thickness of the layer between 1000 and 200 hPa, which grows with the
mean temperature of nearly the whole troposphere.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]


def core_temperature(t200: Any, t500: Any) -> Field:
    """Mean of the temperatures at 200 and 500 hPa, K, any shape."""
    return np.asarray(0.5 * (np.asarray(t200) + np.asarray(t500)))


def thickness(z200: Any, z1000: Any) -> Field:
    """Thickness of the layer between 1000 and 200 hPa, m, any shape."""
    return np.asarray(np.asarray(z200) - np.asarray(z1000))
