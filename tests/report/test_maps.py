"""Maps: the right cell at the right place across any seam, coasts where the coasts are."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from exastorm.grid import regular_grid
from exastorm.report import maps
from exastorm.report.maps import (
    Extent,
    coast_segments,
    draw_classes,
    draw_field,
    draw_frame,
    draw_wind,
    extent_around,
    extent_of,
    height_over_width,
    unrolled,
)
from exastorm.report.style import new_figure

LAT, LON = regular_grid(19, 36)


@pytest.fixture
def axes():
    return new_figure(400).subplots()


def test_a_global_map_begins_anywhere():
    extent = extent_of(LAT, LON, west=20.0)
    assert (extent.west, extent.east, extent.south, extent.north) == (20.0, 380.0, -90.0, 90.0)
    lon, columns = unrolled(LON, extent)
    # One step beyond either edge is kept; 380 E is column 2 (20 E) once more.
    assert lon[0] == 20.0
    assert lon[-1] == 380.0
    assert columns[-1] == 2
    np.testing.assert_allclose(lon % 360, LON[columns])


def test_a_window_across_greenwich_is_whole():
    lon, columns = unrolled(LON, Extent(west=-25.0, east=25.0))
    assert lon.tolist() == [-30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0]
    assert columns.tolist() == [33, 34, 35, 0, 1, 2, 3]


def test_a_regional_grid_is_shown_where_it_is():
    region = np.arange(200.0, 260.0, 10.0)
    extent = extent_of(LAT[5:9], region)
    assert (extent.west, extent.east, extent.south, extent.north) == (195.0, 255.0, -45.0, -5.0)
    lon, columns = unrolled(region, extent)
    np.testing.assert_array_equal(lon, region)
    np.testing.assert_array_equal(columns, np.arange(6))
    # A window at 160 to 100 W, said in negative degrees, moves the grid there.
    lon, _ = unrolled(region, Extent(west=-160.0, east=-100.0))
    np.testing.assert_array_equal(lon, region - 360.0)


def test_windows_stay_on_the_globe_and_look_alike():
    window = extent_around(85.0, 10.0, 20.0, 1.25)
    assert (window.south, window.north) == (70.0, 90.0)
    # At 60 N a degree of longitude is half as long: the window is twice as wide in degrees.
    window = extent_around(60.0, 10.0, 20.0, 1.25)
    assert window.east - window.west == pytest.approx(50.0)
    assert height_over_width(window) == pytest.approx(0.8)
    assert height_over_width(extent_of(LAT, LON)) == 0.5


def test_coasts_are_where_they_are():
    # Land's End, the south-western tip of Cornwall: 50.07 N, 5.72 W.
    points = np.concatenate(coast_segments(-10.0, 0.0, 48.0, 54.0))
    assert np.hypot(points[:, 0] + 5.72, points[:, 1] - 50.07).min() < 0.15
    # Nothing in the open Pacific south of the equator around 120 W.
    assert coast_segments(-130.0, -110.0, -20.0, -5.0) == ()


def test_coasts_do_not_depend_on_how_longitudes_are_counted():
    east = np.concatenate(coast_segments(350.0, 370.0, 45.0, 55.0))
    west = np.concatenate(coast_segments(-10.0, 10.0, 45.0, 55.0))
    np.testing.assert_allclose(east - [360.0, 0.0], west, atol=1e-6)


def test_global_coasts_are_thinned():
    fine = sum(len(line) for line in coast_segments(0.0, 60.0, 0.0, 60.0))
    globe = sum(len(line) for line in coast_segments(20.0, 380.0, -90.0, 90.0))
    assert globe < 8 * fine, "a map of the globe has no more detail than it can show"


def test_cells_of_a_field_are_drawn_at_their_longitudes(axes):
    field = np.broadcast_to(LON, (LAT.size, LON.size))
    mesh = draw_field(axes, field, LAT, LON, extent_of(LAT, LON, west=-180.0))
    row = np.asarray(mesh.get_array())[0]
    edges_lon = mesh.get_coordinates()[0, :, 0]
    middle = (edges_lon[1:] + edges_lon[:-1]) / 2
    np.testing.assert_allclose(row, middle % 360)


def test_storms_are_outlined_in_their_colors_across_the_seam(axes):
    class_map = np.zeros((LAT.size, LON.size), np.int8)
    class_map[9, [35, 0, 1]] = 1
    draw_classes(axes, class_map, LAT, LON, Extent(west=-60.0, east=60.0))
    _fills, lines = axes.collections
    assert to_hex(lines.get_edgecolor()[0]) == "#d55e00"
    (path,) = [p for p in lines.get_paths() if len(p.vertices)]
    # Cells centered at 10 W to 10 E: the outline runs half way to their neighbors, once.
    assert path.vertices[:, 0].min() == pytest.approx(-15.0)
    assert path.vertices[:, 0].max() == pytest.approx(15.0)


def test_no_storm_draws_nothing(axes):
    draw_classes(axes, np.zeros((LAT.size, LON.size), np.int8), LAT, LON, extent_of(LAT, LON))
    assert not axes.collections


def test_frame_has_degree_ticks(axes):
    draw_frame(axes, Extent(west=20.0, east=380.0), "Title")
    assert [t.get_text() for t in axes.get_xticklabels()] == [
        "60°E", "120°E", "180°", "120°W", "60°W", "0°",
    ]  # fmt: skip
    assert "30°S" in [t.get_text() for t in axes.get_yticklabels()]
    assert axes.get_title(loc="left") == "Title"


def test_arrows_are_few_and_inside(axes):
    lat, lon = regular_grid(181, 360)
    wind = np.ones((181, 360))
    window = Extent(west=-20.0, east=60.0, south=0.0, north=60.0)
    draw_wind(axes, wind, wind, lat, lon, window)
    (arrows,) = axes.collections
    assert 100 < arrows.N < 2 * maps.ARROWS**2
    assert arrows.X.min() >= -20.0
    assert arrows.X.max() <= 60.0
