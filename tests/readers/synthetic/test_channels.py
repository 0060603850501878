"""Channels hang together: statistics, balance, heights, poles and seam."""

import numpy as np
import pytest

from exastorm.readers.synthetic.climate import snapshot
from exastorm.readers.synthetic.earth import make_earth
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.variables import CHANNEL_NAMES

SMALL = SyntheticSettings(height=48, width=72, num_snapshots=12, start="2000-08-20")


REFERENCE = {
    "TMQ": (19.2185, 15.8173),
    "U850": (1.5530, 8.2976),
    "V850": (0.2541, 6.2316),
    "UBOT": (0.1249, 6.6533),
    "VBOT": (0.3154, 5.7842),
    "QREFHT": (7.7878e-3, 6.2153e-3),
    "PS": (96571.6, 9700.1),
    "PSL": (100814.1, 1461.1),
    "T200": (213.209, 7.890),
    "T500": (253.038, 12.825),
    "PRECT": (2.9458e-8, 1.5564e-7),
    "TS": (278.711, 23.682),
    "TREFHT": (278.421, 22.512),
    "Z1000": (474.17, 832.8),
    "Z200": (11736.1, 633.3),
    "ZBOT": (61.311, 4.910),
}
"""Mean and standard deviation over ClimateNet's training set (its public training script)."""


def test_means_and_deviations_are_those_of_climatenet():
    # Every 15 days of a year. Means within a seventh of a deviation, deviations within a sixth;
    # rain, whose deviation hangs on cells that a coarse grid lacks, within half.
    settings = SyntheticSettings(height=96, width=144, step_hours=360, num_snapshots=24)
    sums = {name: np.zeros(2) for name in CHANNEL_NAMES}
    for hour in settings.hours():
        fields = snapshot(settings, float(hour))
        for name, total in sums.items():
            values = fields[name].astype(np.float64)
            total += (values.mean() / 24, (values**2).mean() / 24)
    for name, (mean, square) in sums.items():
        deviation = np.sqrt(square - mean**2)
        expected_mean, expected = REFERENCE[name]
        assert abs(mean - expected_mean) < expected / 7, name
        assert deviation == pytest.approx(expected, rel=0.5 if name == "PRECT" else 1 / 6), name


def test_seam_is_like_any_other_meridian():
    settings = SyntheticSettings(height=48, width=72, step_hours=240, num_snapshots=36)
    for name in ("PSL", "Z200", "T500"):
        jumps = []
        for hour in settings.hours():
            field = snapshot(settings, float(hour))[name].astype(np.float64)
            jumps.append(np.abs(np.diff(field, axis=1, append=field[:, :1])).mean(axis=0))
        mean = np.mean(jumps, axis=0)
        assert 0.6 < mean[-1] / np.median(mean) < 1.5, name


def test_poles_are_one_value_for_scalars():
    fields = snapshot(SMALL, float(SMALL.hours()[0]))
    for name in ("PSL", "T500", "Z200", "TMQ", "PS", "QREFHT"):
        assert np.ptp(fields[name][0]) == 0.0, name
        assert np.ptp(fields[name][-1]) == 0.0, name


def test_heights_are_hydrostatic():
    # Z200 - Z1000 over the sea against 47.11 m per K times a mean temperature between those of
    # 500 and 200 hPa: within 2 % (the layer's mean lies near that of 500 hPa less 6 K).
    fields = snapshot(SMALL, float(SMALL.hours()[0]))
    earth = make_earth(SMALL.height, SMALL.width)
    sea = earth.terrain == 0.0
    layer = (fields["Z200"] - fields["Z1000"])[sea].astype(np.float64) / 47.11
    np.testing.assert_allclose(layer, fields["T500"][sea] - 6.0, rtol=0.025)
    assert np.all(fields["Z1000"] < fields["Z500"])
    assert np.all(fields["Z500"] < fields["Z300"])
    assert np.all(fields["Z300"] < fields["Z200"])


def test_mountains_lower_the_pressure_as_the_barometric_formula_says():
    fields = snapshot(SMALL, float(SMALL.hours()[0]))
    earth = make_earth(SMALL.height, SMALL.width)
    high = np.unravel_index(np.argmax(earth.terrain), earth.shape)
    column = fields["TREFHT"][high] + 0.00325 * earth.terrain[high]
    expected = fields["PSL"][high] * np.exp(-9.80665 * earth.terrain[high] / (287.05 * column))
    assert fields["PS"][high] == pytest.approx(expected, rel=2e-3)
    sea = earth.terrain == 0.0
    assert np.array_equal(fields["PS"][sea], fields["PSL"][sea])
