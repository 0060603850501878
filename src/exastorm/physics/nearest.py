"""Nearest grid point to a place on the sphere, as TempestExtremes' kd-tree finds it.

Nearest is measured by the chord in double precision. Where several grid points are nearest to
the last bit (rows of which a place lies half way, the many points of a row at a pole), the one
that a search of the tree visits first counts; the tree is the plain one of kdtree.c: grid points
inserted row by row, x, y and z compared in turn, never balanced. Only the branches that hold
such points are followed, so no tree is built.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Index = NDArray[np.intp]
Vectors = tuple[Any, Any, Any]

CLOSE = 1e-10
"""Two squared distances that differ by less, as a share, are compared point by point: rounding
(1e-13 of a squared distance within a cell of 0.1 degrees) may choose differently in each column."""

POLE_COSINE = 1e-10
"""A row whose cos(lat) is smaller lies on a pole: its points differ by rounding alone."""


LOOK_UP = 16384
"""Grid points looked up at once when a branch of the tree is followed."""


class GridPoints(NamedTuple):
    """The points of a grid as unit vectors, by the sines of the C library.

    Attributes:
        lat: Latitudes (H,), radians.
        lon: Longitudes (W,), radians.
        sines: sin(lat), cos(lat), sin(lon), cos(lon).
        is_uniform: Whether the longitudes go evenly round the globe, to the last digits.
    """

    lat: FloatArray
    lon: FloatArray
    sines: tuple[FloatArray, FloatArray, FloatArray, FloatArray]
    is_uniform: bool

    @classmethod
    def of(cls, lat_deg: FloatArray, lon_deg: FloatArray) -> "GridPoints":
        """The points of ascending latitudes (H,) and longitudes (W,), degrees."""
        even = lon_deg[0] + np.arange(lon_deg.size) * (360.0 / lon_deg.size)
        lat, lon = lat_deg * (math.pi / 180.0), lon_deg * (math.pi / 180.0)
        # numpy's own sines may differ from the C library's in the last bit.
        sines = [
            np.array([function(value) for value in angles.tolist()])
            for angles in (lat, lon)
            for function in (math.sin, math.cos)
        ]
        is_uniform = bool(np.abs(lon_deg - even).max() < 1e-9)
        return cls(lat, lon, (sines[0], sines[1], sines[2], sines[3]), is_uniform)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return self.lat.size, self.lon.size

    def at(self, rows: Any, columns: Any) -> Vectors:
        """Unit vectors of grid points, broadcasting."""
        sin_lat, cos_lat, sin_lon, cos_lon = self.sines
        cosine = cos_lat[rows]
        z = sin_lat[rows] + np.zeros(np.shape(columns))
        return cos_lon[columns] * cosine, sin_lon[columns] * cosine, z

    def shifted(self, found: Index, columns: Index) -> Index:
        """Grid points (R, 1, n) for column 0 as those (R, W, n) for all columns."""
        num_lon = self.lon.size
        row, column = np.divmod(found, num_lon)
        return np.asarray(row * num_lon + (column + columns[:, None]) % num_lon)

    def nearest(self, places: Vectors) -> tuple[Index, NDArray[np.bool_]]:
        """Grid points nearest to places (..., n), as row * W + column.

        Returns:
            The grid points (..., n), and whether (...) all are so beyond doubt.
        """
        around, squares = self._around(places)
        order = np.argsort(squares, axis=0)[:2]
        best, second = np.take_along_axis(squares, order, axis=0)
        found = np.take_along_axis(around, order[:1], axis=0)[0]
        clear = (second - best > CLOSE * best) & ~self._needs_circle(found, places)
        return found, np.asarray(clear.all(axis=-1))

    def nearest_of_all(self, places: Vectors) -> Index:
        """Grid points nearest to places (..., n) to the last bit; of equals, the tree's choice."""
        around, squares = self._around(places)
        best = squares.min(axis=0)
        found: Index = np.take_along_axis(around, squares.argmin(axis=0)[None], axis=0)[0]
        tied: dict[tuple[int, ...], Index] = {}
        circle = self._needs_circle(around, places).any(axis=0)
        for place in zip(*np.nonzero(circle), strict=True):
            equals = self._on_circle(around[(slice(None), *place)], tuple(v[place] for v in places))
            tied[place], found[place] = equals, equals[0]
        doubtful = ((squares == best).sum(axis=0) > 1) & ~circle
        for place in zip(*np.nonzero(doubtful), strict=True):
            here = (slice(None), *place)
            tied[place] = np.unique(around[here][squares[here] == best[place]])
        tied = {place: equals for place, equals in tied.items() if equals.size > 1}
        if tied:
            at = [tuple(float(v[place]) for v in places) for place in tied]
            for place, first in zip(tied, self._first_met(at, list(tied.values())), strict=True):
                found[place] = first
        return found

    def _around(self, places: Vectors) -> tuple[Index, FloatArray]:
        """The four grid points (4, ...) around places and their squared chords; no point twice."""
        x, y, z = places
        num_lat, num_lon = self.shape
        lon = self.lon[0] + np.mod(np.arctan2(y, x) - self.lon[0], 2 * np.pi)
        # Off a regional grid the nearer of its two sides is nearest.
        lons = np.concatenate([self.lon[-1:] - 2 * np.pi, self.lon, self.lon[:1] + 2 * np.pi])
        east = np.clip(np.searchsorted(lons, lon), 1, num_lon + 1)
        gap = np.minimum(lon - lons[east - 1], lons[east] - lon)
        # At that gap in longitude, the nearest point of a meridian, were it a full circle.
        lat = np.arctan2(z, np.hypot(x, y) * np.cos(gap))
        north = np.clip(np.searchsorted(self.lat, lat), 1, num_lat - 1)
        over_pole = np.cos(gap) < 0
        south = np.where(over_pole, 0, north - 1)
        north = np.where(over_pole, num_lat - 1, north)
        west, east = (east - 2) % num_lon, (east - 1) % num_lon
        around = np.stack([r * num_lon + c for r in (south, north) for c in (west, east)])
        squares = self._squares(around, places)
        squares[1::2] = np.where(west == east, np.inf, squares[1::2])
        return around, squares

    def _squares(self, grid_points: Index, places: Vectors) -> FloatArray:
        """Squared chords between grid points and places, summed in the order of x, y, z."""
        dx, dy, dz = (
            a - b
            for a, b in zip(self.at(*np.divmod(grid_points, self.lon.size)), places, strict=True)
        )
        return np.asarray(dx * dx + dy * dy + dz * dz)

    def _needs_circle(self, grid_points: Index, places: Vectors) -> NDArray[np.bool_]:
        """Whether rounding alone tells points of a row apart: the row or the place is polar."""
        polar = self.sines[1][grid_points // self.lon.size] < POLE_COSINE
        return np.asarray(polar | (np.hypot(places[0], places[1]) < POLE_COSINE))

    def _on_circle(self, around: Index, place: Any) -> Index:
        """All grid points of the rows around that are nearest to a place, to the last bit."""
        num_lon = self.lon.size
        rows = np.unique(around // num_lon)
        candidates = (rows[:, None] * num_lon + np.arange(num_lon)).ravel()
        squares = self._squares(candidates, place)
        return np.asarray(candidates[squares == squares.min()])

    def _first_met(self, places: list[Any], equals: list[Index]) -> Index:
        """Of equally near grid points, the one that a search of the tree meets first.

        Args:
            places: Places sought, unit vectors.
            equals: The grid points nearest to each.
        """
        at = np.array(places)
        first = np.full(len(equals), -1, dtype=np.intp)
        query = np.repeat(np.arange(len(equals)), [some.size for some in equals])
        point = np.concatenate(equals)
        # The search begins with the root, grid point 0, as the best so far.
        first[query[point == 0]] = 0
        query, point = query[first[query] < 0], point[first[query] < 0]
        whole = _Branch(np.empty(0, dtype=np.intp), 0, np.array([[-np.inf, np.inf]] * 3), 0)
        todo = [(whole, query, point)]
        while todo:
            branch, query, point = todo.pop()
            branch = self._looked_up(branch)
            pivot = int(branch.known[0])
            level = float(self._coordinate(pivot, branch.axis))
            below = self._coordinate(point, branch.axis) < level
            # The side of the place is searched first, then the pivot, then the other side.
            near = (below == (at[query, branch.axis] <= level)) & (point != pivot)
            met_near = np.isin(query, query[near])
            at_pivot = (point == pivot) & ~met_near
            first[query[at_pivot]] = pivot
            keep = np.where(met_near, near, first[query] < 0)
            query, point, below = query[keep], point[keep], below[keep]
            alone = np.bincount(query, minlength=first.size)[query] == 1
            first[query[alone]] = point[alone]
            for side in (True, False):
                part = (below == side) & ~alone
                if part.any():
                    known = branch.known[1:]
                    known = known[(self._coordinate(known, branch.axis) < level) == side]
                    todo.append((branch.part(known, level, side), query[part], point[part]))
        return first

    def _coordinate(self, grid_points: Any, axis: int) -> Any:
        """The coordinate x, y or z of grid points."""
        return self.at(*np.divmod(grid_points, self.lon.size))[axis]

    def _looked_up(self, branch: "_Branch") -> "_Branch":
        """The branch with at least one known grid point; it must have one."""
        known, start, bounds = branch.known, branch.start, branch.bounds
        # No row farther from the axis of the Earth than the bounds reach has a point in them.
        reach = math.hypot(np.abs(bounds[0]).max(), np.abs(bounds[1]).max())
        rows = np.flatnonzero(self.sines[1] <= 1.001 * reach)
        while known.size == 0:
            row = rows[np.searchsorted(rows, start // self.lon.size)]
            start = max(start, int(row) * self.lon.size)
            some = np.arange(start, min(start + LOOK_UP, self.lat.size * self.lon.size))
            inside = np.ones(some.size, dtype=bool)
            for values, (low, high) in zip(
                self.at(*np.divmod(some, self.lon.size)), bounds, strict=True
            ):
                inside &= (values >= low) & (values < high)
            known, start = some[inside], start + LOOK_UP
            assert some.size, "a branch must hold a grid point"
        return branch._replace(known=known, start=start)


class _Branch(NamedTuple):
    """A branch of the tree: the grid points within bounds, the first of them its root.

    Attributes:
        known: Grid points known to be in it, those inserted first.
        start: Grid points from here on have not been looked up.
        bounds: Least coordinate and the one not reached, (3, 2).
        axis: The axis along which its root divides it.
    """

    known: Index
    start: int
    bounds: FloatArray
    axis: int

    def part(self, known: Index, level: float, below: bool) -> "_Branch":
        """The part below a level along the axis, or the part from it on."""
        bounds = self.bounds.copy()
        bounds[self.axis, int(below)] = level
        return _Branch(known, self.start, bounds, (self.axis + 1) % 3)
