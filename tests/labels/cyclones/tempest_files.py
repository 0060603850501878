"""Inputs and outputs of TempestExtremes in tests/data/tempest, as tests read them."""

from pathlib import Path

import netCDF4
import numpy as np

from exastorm.constants import STANDARD_GRAVITY
from exastorm.labels.cyclones.centers import center_table
from exastorm.physics.surroundings import Surroundings

FOLDER = Path(__file__).parents[2] / "data" / "tempest"


def snapshots(name):
    """Grid, and the fields of each time of a file."""
    with netCDF4.Dataset(FOLDER / f"{name}.nc") as file:
        file.set_auto_mask(False)
        grid = Surroundings.of(file["lat"][:], file["lon"][:])
        names = [n for n in file.variables if file[n].ndim == 3]
        times = [{n: file[n][step] for n in names} for step in range(file["time"].size)]
    for fields in times:
        fields["PHIS"] = fields.pop("ZS") * np.float32(STANDARD_GRAVITY)
    return grid, times


def nodes(name):
    """What DetectNodes wrote: hours since the first time, and each time's rows of numbers.

    A row: column, row, longitude, latitude, pressure, wind, height.
    """
    hours, rows = [], []
    for line in (FOLDER / f"{name}_nodes.txt").read_text().splitlines():
        if line.startswith("\t"):
            rows[-1].append(tuple(float(word) for word in line.split()))
        else:
            _, _, day, _, hour = (int(word) for word in line.split())
            hours.append(24.0 * (day - 1) + hour)
            rows.append([])
    return hours, rows


def node_table(name):
    """What DetectNodes wrote, as `CycloneRules.select` takes it; every contour is closed."""
    hours, rows = nodes(name)
    flat = [(step, row) for step, rows_then in enumerate(rows) for row in rows_then]
    table = center_table(np.full((len(flat), 17), np.inf), [step for step, _ in flat], hours)
    columns = ("column", "row", "lon", "lat", "central_pressure_pa", "max_wind_ms")
    for n, column in enumerate((*columns, "surface_height_m")):
        table[column] = [row[n] for _, row in flat]
    return table


def tracks(name):
    """What StitchNodes wrote: each track's hour, column and row."""
    found = {}
    for line in (FOLDER / f"{name}_tracks.csv").read_text().splitlines():
        track, _, _, day, hour, column, row = (int(word) for word in line.split(",")[:7])
        found.setdefault(track, []).append((24.0 * (day - 1) + hour, column, row))
    return list(found.values())
