"""Rivers by local percentiles: strong for place and season, long, narrow, coherent, poleward."""

from dataclasses import replace

import numpy as np
import pytest
from tests.labels.conftest import LAT, LON, river

from exastorm.errors import InputError
from exastorm.labels.rivers.guan_waliser import GuanWaliserRules
from exastorm.physics.surroundings import Surroundings

GRID = Surroundings.of(LAT, LON)
RULES = GuanWaliserRules()
SHAPE = (LAT.size, LON.size)


def along(lat0, lon0, tilt_deg):
    """Eastward and northward part (H, W) of a flow along the great circles beside one through a
    point: it turns about that circle's pole, its speed is that of a rotation, divided out."""
    phi, lam = np.deg2rad(LAT)[:, None], np.deg2rad(LON)[None, :]
    phi0, lam0, tilt = np.deg2rad([lat0, lon0, tilt_deg])
    up = np.array([np.cos(phi0) * np.cos(lam0), np.cos(phi0) * np.sin(lam0), np.sin(phi0)])
    east = np.array([-np.sin(lam0), np.cos(lam0), 0.0])
    ahead = np.cos(tilt) * east + np.sin(tilt) * np.cross(up, east)
    place = np.stack(
        np.broadcast_arrays(np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi))
    )
    flow = np.cross(np.cross(up, ahead), place, axisa=0, axisb=0, axisc=0)
    to_east = np.stack(np.broadcast_arrays(-np.sin(lam), np.cos(lam), 0.0 * phi))
    to_north = np.cross(place, to_east, axisa=0, axisb=0, axisc=0)
    u, v = (flow * to_east).sum(axis=0), (flow * to_north).sum(axis=0)
    speed = np.maximum(np.hypot(u, v), 1e-9)
    return u / speed, v / speed


def transport(mask, flow, inside=600.0, percentile=300.0):
    """Vapor transport along a flow in a mask, weak outside, and the local percentile."""
    size = np.where(mask, inside, 20.0)
    return {
        "IVTX": (size * flow[0]).astype(np.float32),
        "IVTY": (size * flow[1]).astype(np.float32),
        "IVT_P85": np.full(SHAPE, percentile, np.float32),
    }


def tilted(tilt=30.0, lat0=45.0, lon0=180.0, turn=0.0, **extent):
    """A river whose transport is turned against its axis."""
    return transport(river(lat0, lon0, tilt, **extent), along(lat0, lon0, tilt + turn))


@pytest.mark.parametrize("tilt", range(10, 91, 10))
@pytest.mark.parametrize("lon0", [180.0, 0.0])
def test_a_river_keeps_its_verdict_however_it_is_tilted(tilt, lon0):
    # Toward the pole go 600 sin(tilt), at 10 degrees 104 > 50 kg/m/s.
    found = RULES.find(tilted(tilt, lon0=lon0), GRID)
    assert found.length_km == pytest.approx([3560.0], rel=0.06)
    assert found.area_km2 == pytest.approx([3560.0 * 490.0], rel=0.06)
    assert np.array_equal(found.mask, river(45.0, lon0, tilt))


def test_a_river_that_runs_due_east_lacks_only_poleward_transport():
    fields = tilted(0.0)
    (verdict,) = RULES.explain(fields, GRID, 45.0, 180.0, 2.0)
    assert [check.passed for check in verdict.checks] == [True, True, False, True, True, True]
    # The great circle through 45 N turns equatorward on either side alike.
    assert verdict.checks[2].value == pytest.approx(0.0, abs=5.0)
    assert not RULES.find(fields, GRID).mask.any()
    assert replace(RULES, min_poleward_kg_m_s=-20.0).find(fields, GRID).mask.any()


@pytest.mark.parametrize("tilt", [0, 45, 90])
@pytest.mark.parametrize(
    ("length_km", "width_km"), [(1500.0, 300.0), (3000.0, 1800.0), (1800.0, 1000.0)]
)
def test_what_is_short_or_wide_is_none_however_it_is_tilted(tilt, length_km, width_km):
    fields = tilted(tilt, length_km=length_km, width_km=width_km)
    assert not replace(RULES, min_poleward_kg_m_s=-100.0).find(fields, GRID).mask.any()


def test_rolled_globe_and_mirrored_hemispheres():
    fields = transport(river(40.0, 200.0, 30.0), along(40.0, 200.0, 30.0))
    south = transport(river(-42.0, 2.0, -40.0), along(-42.0, 2.0, -40.0))
    for name in ("IVTX", "IVTY"):
        fields[name][:90] = south[name][:90]
    here = RULES.find(fields, GRID)
    assert here.length_km.size == 2
    rolled = RULES.find({k: np.roll(v, 123, axis=1) for k, v in fields.items()}, GRID)
    np.testing.assert_array_equal(rolled.mask, np.roll(here.mask, 123, axis=1))
    np.testing.assert_array_equal(np.sort(rolled.length_km), np.sort(here.length_km))
    mirrored = {k: v[::-1] * (-1 if k == "IVTY" else 1) for k, v in fields.items()}
    found = RULES.find(mirrored, GRID)
    np.testing.assert_array_equal(found.mask, here.mask[::-1])
    np.testing.assert_array_equal(np.sort(found.length_km), np.sort(here.length_km))


def test_transport_toward_the_equator_is_none():
    assert RULES.find(tilted(30.0, turn=0.0), GRID).mask.any()
    assert not RULES.find(tilted(30.0, turn=180.0), GRID).mask.any()
    # South of the equator the same direction is poleward.
    assert RULES.find(tilted(30.0, lat0=-45.0, turn=180.0), GRID).mask.any()


def test_transport_across_the_axis_is_none():
    # The transport is along a great circle turned by 40 or 50 degrees against the axis.
    assert RULES.find(tilted(20.0, turn=40.0), GRID).mask.any()
    assert not RULES.find(tilted(20.0, turn=50.0), GRID).mask.any()
    (verdict,) = RULES.explain(tilted(20.0, turn=50.0), GRID, 45.0, 180.0, 2.0)
    assert verdict.checks[3].value == pytest.approx(50.0, abs=2.0)


def test_half_of_the_transport_must_go_one_way():
    # Stripes of 4, 3 and 3 columns go north-east, and 60 degrees to the left and right of it: the
    # mean goes north-east with 4 of 10 stripes within 45 degrees of it; the ends cut some.
    fields = tilted(40.0)
    for turn, columns in ((60.0, (4, 5, 6)), (-60.0, (7, 8, 9))):
        other = tilted(40.0, turn=turn)
        chosen = np.isin(np.arange(LON.size) % 10, columns)
        for name in ("IVTX", "IVTY"):
            fields[name][:, chosen] = other[name][:, chosen]
    (verdict,) = RULES.explain(fields, GRID, 45.0, 180.0, 2.0)
    assert verdict.checks[1].value == pytest.approx(0.4, abs=0.05)
    assert not RULES.find(fields, GRID).mask.any()
    assert replace(RULES, min_coherent_share=0.3).find(fields, GRID).mask.any()
    assert replace(RULES, max_spread_deg=65.0).find(fields, GRID).mask.any()


def test_a_straight_flow_near_the_pole_is_coherent():
    # Over 6000 km at 65 N the local direction of a great circle turns by more than 90 degrees.
    mask = river(65.0, 100.0, 20.0, length_km=6000.0)
    east, north = along(65.0, 100.0, 20.0)
    local = np.degrees(np.arctan2(north[mask], east[mask]))
    assert np.ptp(local) > 90
    (verdict,) = RULES.explain(transport(mask, (east, north)), GRID, 65.0, 100.0, 2.0)
    assert verdict.checks[1].value == pytest.approx(1.0)
    assert verdict.checks[3].value == pytest.approx(0.0, abs=3.0)


def test_the_local_percentile_decides_cell_by_cell():
    fields = tilted()
    fields["IVT_P85"][:, :180] = 700.0
    # West of the center nothing is above the percentile; what is left is too short.
    assert not RULES.find(fields, GRID).mask.any()
    fields["IVT_P85"][:, :180] = 600.0 * (1 - 1e-6)
    assert RULES.find(fields, GRID).mask.any()


@pytest.mark.parametrize(("inside", "found"), [(99.0, False), (101.0, True)])
def test_floor_of_transport(inside, found):
    flow = along(45.0, 180.0, 60.0)
    fields = transport(river(45.0, 180.0, 60.0), flow, inside=inside, percentile=50.0)
    assert RULES.find(fields, GRID).mask.any() == found


def test_where_no_climatology_is_there_is_no_river():
    fields = tilted()
    fields["IVT_P85"][:] = np.nan
    assert not RULES.find(fields, GRID).mask.any()


def test_missing_transport_is_no_river():
    fields = tilted(20.0)
    for name in ("IVTX", "IVTY"):
        fields[name][:, 170:190] = np.nan
    # 20 columns at 45 N are 1570 km of 3560: neither end is long enough.
    assert not RULES.find(fields, GRID).mask.any()


def test_a_part_of_the_globe_does_not_join_its_edges():
    fields = {k: v[:, :359] for k, v in tilted(lon0=0.0).items()}
    assert not RULES.find(fields, Surroundings.of(LAT, LON[:359])).mask.any()


@pytest.mark.parametrize(
    "change",
    [
        {"percentile": 90.0},
        {"min_transport_kg_m_s": 700.0},
        {"max_spread_deg": 1e-3},
        {"min_poleward_kg_m_s": 310.0},  # 600 sin 30
        {"max_axis_angle_deg": 1e-3},
        {"min_length_km": 3800.0},
        {"min_length_over_width": 8.0},  # 3560 / 490 = 7.3
    ],
)
def test_every_threshold_decides(change):
    fields = tilted(turn=2.0) | {"IVT_P90": np.full(SHAPE, 700.0, np.float32)}
    # A little disorder, so that no cell goes exactly with the mean.
    fields["IVTY"][:, ::2] *= 1.01
    assert RULES.find(fields, GRID).mask.any()
    assert not replace(RULES, **change).find(fields, GRID).mask.any()


def test_proxies_are_taken_only_when_asked():
    available = {"TMQ", "U850", "V850", "QREFHT"}
    refused = RULES.plan(available)
    assert refused.fields == ()
    assert "lacks IVTX, IVTY; TMQV850 or QV850 can stand in" in refused.lacking
    plan = replace(RULES, moisture="TMQV850").plan(available)
    assert (plan.fields, plan.lacking) == (("TMQ", "U850", "V850"), "")
    assert "floors of 100 and 50 kg m-1 s-1, untuned" in plan.notes["guan_waliser_moisture"]
    plan = replace(RULES, moisture="QV850").plan(available)
    assert plan.fields == ("U850", "V850", "QREFHT")
    assert "divided by 2465 kg m-2" in plan.notes["guan_waliser_moisture"]


@pytest.mark.parametrize(
    ("moisture", "amount", "content", "floor"),
    [
        # 20 m/s with 30 kg/m2; the floor of 100 kg/m/s is 5 kg/m2.
        ("TMQV850", "TMQ", 30.0, 5.0),
        # With 0.01 kg/kg; the floor is 100 / 2465 / 20 m/s = 0.00203 kg/kg.
        ("QV850", "QREFHT", 0.01, 0.00203),
    ],
)
def test_a_proxy_finds_the_river_of_moist_wind(moisture, amount, content, floor):
    rules = replace(RULES, moisture=moisture)
    east, north = along(45.0, 180.0, 45.0)
    mask = river(45.0, 180.0, 45.0)

    def find(inside):
        fields = {
            "U850": (20.0 * east).astype(np.float32),
            "V850": (20.0 * north).astype(np.float32),
            amount: np.where(mask, inside, 0.0).astype(np.float32),
            f"{moisture}_P85": np.zeros(SHAPE, np.float32),
        }
        return rules.find(fields, GRID).mask

    assert np.array_equal(find(content), mask)
    assert find(1.02 * floor).any()
    assert not find(0.98 * floor).any()


def test_a_stored_magnitude_takes_its_direction_from_the_wind_or_none():
    full = tilted(turn=60.0)
    size = np.hypot(full["IVTX"], full["IVTY"])
    fields = {"IVT": size, "IVT_P85": full["IVT_P85"]}
    plan = RULES.plan({"IVT"})
    assert plan.fields == ("IVT",)
    assert "not tested" in plan.notes["guan_waliser_direction"]
    # Without directions only the shape is asked about; with them it flows across its axis.
    assert RULES.find(fields, GRID).mask.any()
    wind = {"U850": full["IVTX"] / 25, "V850": full["IVTY"] / 25}
    plan = RULES.plan({"IVT", *wind})
    assert plan.fields == ("IVT", "U850", "V850")
    assert "850 hPa wind" in plan.notes["guan_waliser_direction"]
    assert not RULES.find(fields | wind, GRID).mask.any()
    assert RULES.plan({"IVTX", "IVTY", "U850"}).fields == ("IVTX", "IVTY")
    assert RULES.plan({"IVTX", "IVTY"}).notes == {}


def test_the_climatology_asked_for():
    request = RULES.climatology_request()
    assert (request.moisture, request.percentiles, request.file) == ("IVT", (85.0,), None)
    assert request.field_name(85.0) == "IVT_P85"
    rules = replace(RULES, moisture="QV850", percentile=87.5, climatology="far.nc")
    request = rules.climatology_request(ensemble=True)
    assert request.percentiles == (85.0, 87.5, 90.0, 92.5, 95.0)
    assert (request.file, request.field_name(87.5)) == ("far.nc", "QV850_P87.5")
    with pytest.raises(InputError, match="variable IVT_P85: must have the local percentiles"):
        RULES.find({"IVTX": np.ones(SHAPE), "IVTY": np.ones(SHAPE)}, GRID)


def test_members_are_the_percentiles_of_the_refined_rule():
    members = RULES.members()
    assert [m.percentile for m in members] == [85.0, 87.5, 90.0, 92.5, 95.0]
    # A river of 600 kg/m/s is one up to the percentile that it does not reach.
    fields = tilted() | {
        f"IVT_P{m.percentile:g}": np.full(SHAPE, 400.0 + 60 * n, np.float32)
        for n, m in enumerate(members)
    }
    flagged = [m.find(fields, GRID).mask.any() for m in members]
    assert flagged == [True, True, True, True, False]


def test_explained_verdicts_agree_with_the_mask():
    mask = river(45.0, 180.0, 30.0) | river(45.0, 60.0, 30.0, length_km=1500.0)
    fields = transport(mask, along(45.0, 180.0, 30.0))
    found = RULES.find(fields, GRID)
    (verdict,) = RULES.explain(fields, GRID, 45.0, 180.0, 5.0)
    assert verdict.passed
    assert found.mask[135, 180]
    assert verdict.checks[0].value == pytest.approx(600.0)
    assert verdict.checks[0].threshold == 300.0
    (short,) = RULES.explain(fields, GRID, 45.0, 60.0, 5.0)
    assert not short.passed
    assert not found.mask[135, 60]


@pytest.mark.parametrize("is_directed", [True, False])
def test_explain_where_no_transport_is_strong_gives_the_strongest_cell(is_directed):
    fields = tilted()
    size = np.hypot(fields["IVTX"], fields["IVTY"])
    # 95 of 100 (the floor: a percentile of 50 is less) beat 270 of 300, and what is missing.
    size[60, 100], size[61, 101], size[60, 102] = 95.0, 270.0, np.nan
    fields["IVT_P85"][60, 100] = 50.0
    fields = {"IVT": size, "IVT_P85": fields["IVT_P85"]}
    if is_directed:
        fields |= {"U850": np.ones(SHAPE, np.float32), "V850": np.ones(SHAPE, np.float32)}
    (verdict,) = RULES.explain(fields, GRID, LAT[60], LON[100], 5.0)
    assert verdict.candidate == "strongest cell"
    assert (verdict.lat, verdict.lon) == (LAT[60], LON[100])
    strongest, *later = verdict.checks
    assert (strongest.value, strongest.threshold, strongest.passed) == (95.0, 100.0, False)
    # Length and shape, and where directions are known three criteria more: of no object.
    assert len(later) == (5 if is_directed else 2)
    assert np.isnan([check.value for check in later]).all()
    assert not any(check.passed for check in later)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moisture": "IWV"}, "moisture must be one of IVT, TMQV850, QV850, got 'IWV'"),
        ({"percentile": 100.0}, "percentile must be between 1 and 100, got 100"),
        ({"percentile": 0.85}, "percentile must be between 1 and 100, got 0.85"),
        ({"min_poleward_kg_m_s": float("nan")}, "min_poleward_kg_m_s must be a number, got nan"),
        ({"min_coherent_share": 1.2}, r"min_coherent_share must be in \[0, 1\], got 1.2"),
        ({"max_spread_deg": 0.0}, r"max_spread_deg must be in \(0, 180\], got 0"),
        ({"max_axis_angle_deg": 190.0}, r"max_axis_angle_deg must be in \(0, 180\], got 190"),
        ({"min_transport_kg_m_s": 0.0}, "min_transport_kg_m_s must be positive, got 0"),
        ({"min_length_km": -1.0}, "min_length_km must be positive, got -1"),
        ({"min_length_over_width": 0.0}, "min_length_over_width must be positive, got 0"),
    ],
)
def test_wrong_rules(change, message):
    with pytest.raises(ValueError, match=message):
        GuanWaliserRules(**change)
