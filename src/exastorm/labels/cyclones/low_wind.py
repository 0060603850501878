"""Which low-level wind a rule set looks at, and how a wind of another height stands in for it.

Published wind thresholds hold at one height: TECA's for the lowest model level, TempestExtremes'
for 10 m. An archive that lacks that wind has another, which is converted by the ratios measured in
tropical cyclones, and the labels say so.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Height = Literal["lowest", "10m"]

PAIRS: dict[str, tuple[str, str]] = {
    "lowest": ("UBOT", "VBOT"),
    "10m": ("U10", "V10"),
    "850hPa": ("U850", "V850"),
}
"""Components of the wind at each height."""

OVER_10M: dict[str, float] = {"10m": 1.0, "lowest": 1.0 / 0.85, "850hPa": 1.0 / 0.80}
"""Wind at each height over the wind at 10 m in a tropical cyclone: the lowest level by CyMeP's
factor 0.85 (Zarzycki et al. 2021, MERRA-2), 850 hPa by the eyewall mean 0.80 of dropsondes
(Franklin et al. 2003, Weather and Forecasting 18, 32)."""


class LowWind(NamedTuple):
    """A low-level wind to read.

    Attributes:
        names: Its components.
        factor: What its speed is multiplied by to stand for the wanted height.
        note: What was replaced and converted; empty where nothing was.
    """

    names: tuple[str, str]
    factor: float
    note: str


def choose_wind(available: Any, wanted: Height, *, convert: bool = True) -> LowWind | None:
    """The wind nearest to a wanted height that is available; None where there is none at all.

    Args:
        available: Names of the fields there are.
        wanted: Height that the thresholds were published for.
        convert: Whether a wind of another height is converted.
    """
    order = [wanted, *(h for h in ("lowest", "10m", "850hPa") if h != wanted)]
    height = next((h for h in order if set(PAIRS[h]) <= set(available)), None)
    if height is None:
        return None
    if height == wanted:
        return LowWind(PAIRS[height], 1.0, "")
    factor = OVER_10M[wanted] / OVER_10M[height] if convert else 1.0
    how = f"times {factor:.3g}" if convert else "not converted"
    names = ", ".join(PAIRS[height])
    return LowWind(PAIRS[height], factor, f"{names} instead of {', '.join(PAIRS[wanted])}, {how}")


class WindSpeed:
    """Low-level wind speed of one snapshot (H, W), m s-1, worked out only where it is asked for.

    Indexed like an array.
    """

    def __init__(self, u: Any, v: Any, factor: float) -> None:
        self._u, self._v, self._factor = u, v, factor

    def __getitem__(self, index: Any) -> NDArray[np.floating[Any]]:
        """Speed of some points."""
        u, v = self._u[index], self._v[index]
        # As TempestExtremes' _VECMAG rounds it, and several times faster than a hypotenuse.
        speed = np.sqrt(u * u + v * v)
        return np.asarray(speed if self._factor == 1.0 else speed * speed.dtype.type(self._factor))


def wind_speeds(fields: Any, wanted: Height, *, convert: bool = True) -> WindSpeed:
    """Low-level wind speed of one snapshot, at or for the wanted height, where it is asked for.

    Args:
        fields: Name to field (H, W); at least one of `PAIRS`.
        wanted: Height that the thresholds were published for.
        convert: Whether a wind of another height is converted.
    """
    choice = choose_wind(fields, wanted, convert=convert)
    assert choice is not None, "a plan reads at least one wind"
    u, v = choice.names
    return WindSpeed(fields[u], fields[v], choice.factor)


def low_wind(fields: Any, wanted: Height, *, convert: bool = True) -> NDArray[np.floating[Any]]:
    """`wind_speeds` of all points (H, W), m s-1."""
    return wind_speeds(fields, wanted, convert=convert)[:]
