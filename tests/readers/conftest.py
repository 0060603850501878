"""Real files, and foreign ones made by hand, for the readers' tests."""

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

REAL = Path(os.environ.get("EXASTORM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def real_file():
    """Gives the path of a real file, or skips where there is none."""

    def find(name):
        path = REAL / name
        if not path.exists():
            pytest.skip(f"no real file {path}; set EXASTORM_REAL_DATA")
        return str(path)

    return find


@pytest.fixture
def foreign():
    """Makes a dataset as a foreign archive would hold it.

    `fields` is name -> (dims, values that broadcast to them, attributes).
    """

    def make(fields, *, lat=(-60.0, 0.0, 60.0), lon=(0.0, 90.0, 180.0, 270.0), **extra):
        num_times = extra.get("num_times", 2)
        names = extra.get("names", ("time", "lat", "lon"))
        coords = {
            names[1]: (names[1], np.asarray(lat, float), {"units": "degrees_north"}),
            names[2]: (names[2], np.asarray(lon, float), {"units": "degrees_east"}),
            **extra.get("coords", {}),
        }
        if num_times:
            coords[names[0]] = xr.date_range(
                extra.get("start", "2000-01-01"),
                periods=num_times,
                freq=extra.get("freq", "6h"),
                calendar=extra.get("calendar", "noleap"),
                use_cftime=True,
            )
        sizes = {k: np.shape(v[1] if isinstance(v, tuple) else v)[0] for k, v in coords.items()}
        variables = {}
        for name, (dims, values, attrs) in fields.items():
            shape = tuple(sizes[d] for d in dims)
            data = np.broadcast_to(np.asarray(values, np.float32), shape).copy()
            variables[name] = (dims, data, attrs)
        return xr.Dataset(variables, coords, extra.get("attrs", {}))

    return make
