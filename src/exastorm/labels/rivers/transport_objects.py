"""The connected areas where moisture transport reaches a threshold, and their measures."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exastorm.grid import cell_areas_km2
from exastorm.labels.rivers.directions import Directions, measure_directions
from exastorm.labels.rivers.object_cells import ObjectCells, box_of, cells_of, may_reach
from exastorm.labels.rivers.shape import Shape, measure_object
from exastorm.labels.rule_sets import Fields
from exastorm.labels.transport import WINDS, Moisture, direction_fields, moisture_values
from exastorm.physics.surroundings import Surroundings
from exastorm.regions import RegionBox, label_regions, region_boxes


class TransportObjects:
    """Areas of strong transport of one snapshot, connected over edges and corners.

    Attributes:
        labels: Number of the object of each cell, from 1, int32 (H, W).
        num: Number of objects.
        transport: Transport (H, W).
        threshold: What it was compared with, (H, W).
    """

    def __init__(
        self, fields: Fields, grid: Surroundings, moisture: Moisture, threshold: NDArray[Any]
    ) -> None:
        """Find the objects.

        Args:
            fields: Fields of the snapshot (H, W).
            grid: The grid they are on.
            moisture: What is looked at.
            threshold: Least transport of each cell, (H, W); where it is missing, nothing is found.
        """
        self.transport = moisture_values(fields, moisture)
        self.threshold = threshold
        self.labels, self.num = label_regions(self.transport >= threshold, wrap=grid.wraps)
        self._grid = grid
        self._areas = cell_areas_km2(grid.lat, grid.lon)
        names = direction_fields(set(fields), moisture)
        self._components = tuple(fields[name] for name in names)
        self._by_wind = names == WINDS

    @property
    def knows_directions(self) -> bool:
        """Whether the fields tell where the transport goes."""
        return bool(self._components)

    @cached_property
    def _boxes(self) -> list[RegionBox]:
        return region_boxes(self.labels, self.num, wrap=self._grid.wraps)

    def long_enough(self, min_length_km: float) -> list[int]:
        """Labels of the objects that have enough cells to reach a length."""
        enough = may_reach(self.labels, self.num, self._grid, min_length_km)
        return [int(n) + 1 for n in np.flatnonzero(enough)]

    def shape(self, index: int) -> Shape:
        """Length, width and axis of the object with a label."""
        box = self._boxes[index - 1]
        return measure_object(self.labels, index, box, self._grid, self._areas, self.transport)

    def directions(self, index: int, max_spread_deg: float) -> Directions | None:
        """How the transport of the object with a label runs; None where the fields don't tell.

        Args:
            index: The label.
            max_spread_deg: Greatest angle to the mean transport that counts as along it, degrees.
        """
        if not self.knows_directions:
            return None
        around = box_of(self.labels, index, self._boxes[index - 1], self._grid)
        cells = cells_of(around, self._areas)
        east, north = (part[cells.row, cells.column] for part in self._components)
        if self._by_wind:
            east, north = self._along_wind(cells, east, north)
        return measure_directions(cells, east, north, max_spread_deg)

    def _along_wind(self, cells: ObjectCells, u: Any, v: Any) -> tuple[Any, Any]:
        """Components (N,) of a transport of known size that goes with the wind."""
        scale = self.transport[cells.row, cells.column] / np.maximum(np.hypot(u, v), 1e-6)
        return u * scale, v * scale
