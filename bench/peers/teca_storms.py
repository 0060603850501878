"""Storms that are hard for TECA's detector, in a made-up climate or alone, in its files."""

import netCDF4
import numpy as np

from exastorm.grid import longitude_difference, regular_grid
from exastorm.readers.synthetic.climate import synthetic_dataset
from exastorm.readers.synthetic.settings import SyntheticSettings

FIELDS = ("U850", "V850", "UBOT", "VBOT", "PSL", "T200", "T500", "Z200", "Z1000")
CALM = {"PSL": 101300.0, "T200": 220.0, "T500": 266.0, "Z200": 12300.0, "Z1000": 100.0}


def hard_storms(hours):
    """Latitude, longitude, wind m/s, depth Pa, warmth K and its offset in latitude at an hour."""
    age = hours % 240.0  # each lives ten days, then the next begins
    shift = age * 0.25  # a quarter of a degree an hour, along the parallel
    return [
        (14.0, 330.0 + shift, 40.0, 3000.0, 4.0, 0.0),  # crosses 0/360 eastward
        (-17.0, 30.0 - shift, 35.0, 2500.0, 3.0, 0.3),  # and westward
        (20.0 + 0.02 * age, 0.1, 30.0, 2000.0, 3.0, 0.0),  # along it
        (60.0 + 0.1 * age, 100.0, 40.0, 2500.0, 3.0, 0.0),  # to the search latitude, and beyond
        (-78.0, 3.0 * shift, 40.0, 2500.0, 3.0, 0.0),
        (10.0, 120.0 + shift, 30.0, 2500.0, 2.0, 0.0),  # a pair: 3 to 8 degrees apart
        (10.0, 123.0 + shift + 5.0 * age / 240.0, 32.0, 2400.0, 2.0, 0.0),
        (-12.0, 240.0 - shift, 0.1 * age - 2.0, 300.0, 0.7 + 0.005 * age, 0.0),  # grows
        (25.0, 240.0 - shift, 25.0, 30.0 - 0.125 * age, 1.5, 0.0),  # all but open
        (-25.0, 160.0 + shift, 30.0, 1500.0, 3.0, 0.01 * age),  # its warm core goes away
        (4.0, 60.0 + shift, 25.0, 1000.0, 1.0, 0.0),  # on both sides of the equator
        (-4.0, 60.0 + shift, 25.0, 1000.0, 1.0, 0.0),
    ]


def draw(fields, lat, lon, hours):
    """Add the hard cases: Gaussians of 2 degrees with a turning wind."""
    for lat0, lon0, wind, depth, warm, off in hard_storms(hours):
        north = (lat - lat0)[:, None]
        east = longitude_difference(lon, lon0)[None, :] * np.cos(np.radians(lat0))
        away = np.hypot(north, east)
        bell = np.exp(-0.5 * (away / 2.0) ** 2)
        core = np.exp(-0.5 * (np.hypot(north - off, east) / 2.5) ** 2)
        x = away / 1.5
        speed = np.sign(lat0) * wind * 2 * x / (1 + x**2) * np.exp(-0.5 * (away / 4.0) ** 2)
        away = np.maximum(away, 1e-9)
        for u, v, share in (("U850", "V850", 1.0), ("UBOT", "VBOT", 0.9)):
            fields[u] -= share * speed * north / away
            fields[v] += share * speed * east / away
        fields["PSL"] -= depth * bell
        for name in ("T200", "T500"):
            fields[name] += warm * core
        fields["Z200"] += 30.0 * warm * core


def write(path, lat, lon, days, snapshots):
    """Snapshots (each a dict of fields) as TECA reads them."""
    with netCDF4.Dataset(path, "w") as file:
        for name, values, units in (
            ("time", days, "days since 2000-01-01 00:00:00"),
            ("lat", lat, "degrees_north"),
            ("lon", lon, "degrees_east"),
        ):
            file.createDimension(name, None if name == "time" else len(values))
            file.createVariable(name, "f8", (name,))[:] = values
            file[name].units = units
        file["time"].calendar = "noleap"
        chunks = (1, lat.size, lon.size)
        for name in FIELDS:
            file.createVariable(name, "f4", ("time", "lat", "lon"), zlib=True, chunksizes=chunks)
        for step, fields in enumerate(snapshots):
            for name in FIELDS:
                file[name][step] = fields[name].astype(np.float32)


def climate(height, width, num, seed):
    """Grid, days and snapshots of the made-up climate with the hard cases drawn in."""
    dataset = synthetic_dataset(
        SyntheticSettings(
            height=height,
            width=width,
            num_snapshots=num,
            step_hours=6,
            cyclone_rate=3.0,
            decoy_rate=2.0,
            start="2000-08-15",
            seed=seed,
        )
    )
    lat, lon = dataset["lat"].values, dataset["lon"].values

    def snapshots():
        for step in range(num):
            part = dataset[list(FIELDS)].isel(time=step).compute()
            fields = {name: part[name].values.astype(np.float64) for name in FIELDS}
            draw(fields, lat, lon, 6.0 * step)
            yield fields

    return lat, lon, np.arange(num) / 4.0, snapshots()


def drawn(num, height=121, width=240):
    """Grid, days and snapshots of the hard cases alone in calm air, rounded to pack well."""
    lat, lon = regular_grid(height, width)

    def snapshots():
        for step in range(num):
            fields = {n: np.full((height, width), CALM.get(n, 0.0)) for n in FIELDS}
            draw(fields, lat, lon, 84.0 + 6.0 * step)
            for name in FIELDS:
                fields[name] = np.round(fields[name] * 32.0) / 32.0
            yield fields

    return lat, lon, np.arange(num) / 4.0, snapshots()
