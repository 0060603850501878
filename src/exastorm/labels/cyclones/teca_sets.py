"""What TECA's detector reads, and its four published sets of thresholds."""

from typing import NamedTuple

NEEDED = ("PSL", "U850", "V850", "T200", "T500")
"""Fields without which no candidate is looked for."""
THICKNESS = ("Z1000", "Z200")
"""Fields of the thickness test, which is left out without them."""


class PublishedSet(NamedTuple):
    """The thresholds in which the sets differ.

    Attributes:
        min_vorticity_per_s: Least cyclonic 850 hPa vorticity.
        min_pressure_rise_pa: Least rise of sea-level pressure.
        min_warm_core_k: Least fall of the mean of T200 and T500.
    """

    min_vorticity_per_s: float
    min_pressure_rise_pa: float
    min_warm_core_k: float


PUBLISHED_SETS: dict[str, PublishedSet] = {
    "super_relaxed": PublishedSet(0.1e-4, 100.0, 0.1),
    "relaxed": PublishedSet(1.4e-4, 300.0, 0.6),
    "medium": PublishedSet(1.5e-4, 350.0, 0.7),
    "default": PublishedSet(1.6e-4, 400.0, 0.8),
}
"""The sets of the SC18 label scripts, the loosest first (azrael417/ClimDeepLearn, teca_shell)."""

EXPLAINED_VORTICITY_PER_S = PUBLISHED_SETS["super_relaxed"].min_vorticity_per_s
"""Maxima of vorticity from here on are explained: the loosest published threshold, s-1."""
