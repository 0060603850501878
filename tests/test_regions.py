"""Regions on a round globe: the seam is no border, and shape does not depend on position."""

import numpy as np
import pytest

from exastorm.constants import EARTH_RADIUS_KM
from exastorm.grid import cell_areas_km2, regular_grid
from exastorm.regions import (
    RegionBox,
    keep_larger,
    keep_regions,
    label_regions,
    largest_region,
    num_cells,
    region_areas_km2,
    region_boxes,
    region_centers,
    region_span_km,
)

SEAM = np.array(
    [[1, 0, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 1], [1, 0, 0, 0, 0, 0]], dtype=bool
)


@pytest.mark.parametrize(
    ("wrap", "connectivity", "expected"),
    [
        # Without wrapping and corners every cell is alone; corners join the two in the middle;
        # wrapping joins the ends of row 0; both also join (2, 5) with (3, 0) over the seam.
        (False, 4, 6),
        (False, 8, 5),
        (True, 4, 5),
        (True, 8, 3),
    ],
)
def test_number_of_regions(wrap, connectivity, expected):
    labels, num = label_regions(SEAM, wrap=wrap, connectivity=connectivity)
    assert num == expected
    assert set(np.unique(labels)) == set(range(num + 1))
    assert np.array_equal(labels > 0, SEAM)


def test_rolled_mask_gives_rolled_regions():
    mask = np.random.default_rng(1).uniform(size=(20, 30)) < 0.45
    labels, num = label_regions(mask, connectivity=4)
    rolled, num_rolled = label_regions(np.roll(mask, 11, axis=1), connectivity=4)
    back = np.roll(rolled, -11, axis=1)
    assert num == num_rolled
    # The same partition, whatever the numbers: each label meets exactly one of the other.
    assert len(set(zip(labels[mask], back[mask], strict=True))) == num


def test_three_pieces_that_join_over_the_seam_are_one_region():
    # Rows 0 and 2 touch at the east edge only through the column at the west edge.
    mask = np.array([[1, 0, 0, 1], [1, 0, 0, 0], [1, 0, 0, 1]], dtype=bool)
    labels, num = label_regions(mask, connectivity=4)
    assert num == 1
    assert label_regions(mask, wrap=False, connectivity=4)[1] == 3
    assert num_cells(labels, num).tolist() == [5]


def test_no_region():
    labels, num = label_regions(np.zeros((4, 5), bool))
    assert num == 0
    assert not labels.any()
    assert region_boxes(labels, num) == []
    assert not keep_regions(labels, []).any()
    assert not largest_region(labels > 0).any()


def test_wrong_arguments():
    with pytest.raises(ValueError, match="mask must have 2 dimensions, got 3"):
        label_regions(np.zeros((1, 2, 2), bool))
    with pytest.raises(ValueError, match="connectivity must be 4 or 8, got 6"):
        label_regions(np.zeros((2, 2), bool), connectivity=6)


def test_area_of_a_hemisphere_and_of_what_is_left():
    # 90 rows from -89 to 89 with edges at even degrees: half the rows are a hemisphere, 2 pi R^2.
    lat, lon = np.arange(-89.0, 90.0, 2.0), np.arange(0.0, 360.0, 4.0)
    labels, num = label_regions(np.broadcast_to((lat > 0)[:, None], (90, 90)))
    areas = region_areas_km2(labels, num, cell_areas_km2(lat, lon))
    np.testing.assert_allclose(areas, [2 * np.pi * EARTH_RADIUS_KM**2], rtol=1e-12)


def test_center_of_a_region_over_the_seam_and_over_the_pole():
    lat, lon = np.arange(-89.0, 90.0, 2.0), np.arange(0.0, 360.0, 4.0)
    mask = np.zeros((90, 90), bool)
    mask[60:63, [88, 89, 0, 1, 2]] = True  # lon 352 .. 8 around 0, lat 31 33 35
    mask[88:, :] = True  # cap round the north pole
    labels, num = label_regions(mask)
    center_lat, center_lon = region_centers(labels, num, lat, lon, cell_areas_km2(lat, lon))
    # The center of a band lies poleward of its middle latitude of 33, by less than half a cell.
    assert 33.0 < center_lat[0] < 33.5
    assert min(center_lon[0], 360 - center_lon[0]) < 1e-6
    assert center_lat[1] == pytest.approx(90.0, abs=1e-6)


def test_boxes_take_the_short_way_round():
    mask = np.zeros((5, 10), bool)
    mask[1, [8, 9, 0, 1]] = True
    mask[3:5, 4:6] = True
    labels, num = label_regions(mask)
    boxes = region_boxes(labels, num)
    assert sorted(boxes) == [RegionBox(1, 1, 8, 4), RegionBox(3, 2, 4, 2)]
    rows, columns = RegionBox(1, 1, 8, 4).indices(10)
    assert rows.tolist() == [[1]]
    assert columns.tolist() == [[8, 9, 0, 1]]
    ring, _ = label_regions(np.ones((2, 6), bool))
    assert region_boxes(ring, 1) == [RegionBox(0, 2, 0, 6)]


def test_box_without_wrap_spans_the_grid():
    labels = np.array([[1, 0, 0, 1]], dtype=np.int32)
    assert region_boxes(labels, 1, wrap=False) == [RegionBox(0, 1, 0, 4)]
    assert region_boxes(labels, 1) == [RegionBox(0, 1, 3, 2)]


def test_span_is_the_great_circle_between_the_ends():
    lat, lon = regular_grid(181, 360)
    mask = np.zeros((181, 360), bool)
    mask[90, 350:] = True  # equator, 350 E to 9 E over the seam: 19 degrees
    mask[90, :10] = True
    mask[120:151, 100] = True  # meridian, 30 N to 60 N: 30 degrees
    labels, num = label_regions(mask)
    boxes = region_boxes(labels, num)
    spans = [region_span_km(labels, n + 1, boxes[n], lat, lon) for n in range(num)]
    degree_km = EARTH_RADIUS_KM * np.pi / 180
    np.testing.assert_allclose(sorted(spans), [19 * degree_km, 30 * degree_km], rtol=1e-9)


def test_span_of_an_arbitrary_region_is_that_of_all_pairs():
    lat, lon = regular_grid(37, 72)
    mask = np.zeros((37, 72), bool)
    mask[10:25, 60:72] = np.random.default_rng(3).uniform(size=(15, 12)) < 0.8
    mask[10:25, :6] = np.random.default_rng(4).uniform(size=(15, 6)) < 0.8
    labels, num = label_regions(mask)
    index = int(np.argmax(num_cells(labels, num))) + 1
    rows, columns = np.nonzero(labels == index)
    phi, lam = np.deg2rad(lat[rows]), np.deg2rad(lon[columns])
    cosine = np.sin(phi[:, None]) * np.sin(phi) + np.cos(phi[:, None]) * np.cos(phi) * np.cos(
        lam[:, None] - lam
    )
    expected = EARTH_RADIUS_KM * np.arccos(np.clip(cosine, -1, 1)).max()
    box = region_boxes(labels, num)[index - 1]
    assert region_span_km(labels, index, box, lat, lon) == pytest.approx(expected, rel=1e-9)


def test_keep_larger_judges_by_area_not_by_cells():
    # Two cells at 60 N have the area of one at the equator (cos 60 = 1/2), three have more.
    lat, lon = np.arange(-89.0, 90.0, 2.0), np.arange(0.0, 360.0, 4.0)
    areas = cell_areas_km2(lat, lon)
    mask = np.zeros((90, 90), bool)
    mask[45, 10] = True
    mask[75, 20:22] = True  # 61 N: 2 cos 61 = 0.97
    kept = keep_larger(mask, areas, float(areas[45, 10]) * 0.99)
    assert kept.sum() == 1
    assert kept[45, 10]


def test_largest_region_and_its_ties():
    mask = np.array([[1, 1, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]], dtype=bool)
    assert largest_region(mask, wrap=True).sum() == 4
    distance = np.broadcast_to(np.arange(6)[::-1], mask.shape)
    nearest = largest_region(mask, wrap=False, near=distance)
    assert nearest.tolist()[0] == [False, False, False, False, True, True]
    first = largest_region(mask, wrap=False)
    assert first.tolist()[0] == [True, True, False, False, False, False]
