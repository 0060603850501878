"""The fields that systems are painted on, before they become the 16 channels.

Background, lows, rivers, decoys and cyclones each add their part to few fields of few kinds; the
channels are computed from these afterwards, once, so that they hang together: heights follow from
pressure and warmth, surface winds from those at 850 hPa, vapor transport from vapor and wind.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exastorm.readers.synthetic.climatology import MeanState
from exastorm.readers.synthetic.earth import Earth

FloatArray = NDArray[np.float64]


@dataclass(kw_only=True)
class Canvas:
    """Fields at one time, (H, W), changed in place by every system.

    Attributes:
        earth: The grid and the ground.
        hour: Absolute hour.
        phase: Phase of the year.
        mean: The mean state that the weather varies around.
        noise: Unit-variance noise by layer.
        psl: Sea-level pressure, Pa.
        u850: Zonal wind at 850 hPa, m s-1.
        v850: Meridional wind at 850 hPa, m s-1.
        warmth: Mean warmth of 1000-200 hPa of warm-core systems, K, strongest near 300 hPa.
        airmass: Warmth of air masses and cold cores, K, the same up to 500 hPa, reversed at 200.
        stratosphere: Further warmth at 200 hPa, where the tropopause sinks, K.
        vapor: Precipitable water above sea level, kg m-2.
        rain: Rain, m s-1.
        cyclone: True inside tropical cyclones.
        river: True inside atmospheric rivers.
    """

    earth: Earth
    hour: float
    phase: float
    mean: MeanState
    noise: dict[str, FloatArray]
    psl: FloatArray
    u850: FloatArray
    v850: FloatArray
    warmth: FloatArray
    airmass: FloatArray
    stratosphere: FloatArray
    vapor: FloatArray
    rain: FloatArray
    cyclone: NDArray[np.bool_]
    river: NDArray[np.bool_]
