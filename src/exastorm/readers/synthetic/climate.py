"""The door to the made-up climate: a lazy dataset in the package's schema, and its true tracks.

A snapshot is a function of the settings and of its own hour, nothing else. Background weather comes
first, then lows, rivers and decoys, then tropical cyclones, then the channels are computed and
rounded. One dask task makes all fields of eight snapshots; variables pick theirs from it.
"""

from typing import Any

import cftime
import dask.array
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from numpy.typing import NDArray

from exastorm.constants import STANDARD_GRAVITY
from exastorm.readers.schema import CLASS_ATTRS, DIMS, check_dataset, coordinate_attrs, field_attrs
from exastorm.readers.synthetic.background import blank_canvas
from exastorm.readers.synthetic.channels import channels
from exastorm.readers.synthetic.cyclones import paint_cyclones
from exastorm.readers.synthetic.earth import make_earth
from exastorm.readers.synthetic.lows import paint_systems
from exastorm.readers.synthetic.quantize import quantize
from exastorm.readers.synthetic.settings import EPOCH, SyntheticSettings
from exastorm.readers.synthetic.truth import true_tracks
from exastorm.variables import ATMOSPHERIC_RIVER, CHANNEL_NAMES, OPTIONAL, TROPICAL_CYCLONE

__all__ = ["SyntheticSettings", "synthetic_dataset", "true_tracks"]

BLOCK_LENGTH = 8
"""Snapshots a task makes: a day of three-hourly output, as a CAM h2 file holds."""

STATIC = ("LANDFRAC", "PHIS")
"""Fields that do not change in time; they have no time dimension."""

Block = dict[str, NDArray[Any]]


def snapshot(settings: SyntheticSettings, hour: float) -> Block:
    """All fields of one absolute hour, (H, W): rounded float32, and `truth` int8."""
    canvas = blank_canvas(settings, hour)
    paint_systems(canvas, settings)
    paint_cyclones(canvas, settings)
    fields = channels(canvas, settings.optional_fields)
    made: Block = {name: quantize(name, values) for name, values in fields.items()}
    truth = np.zeros(canvas.earth.shape, dtype=np.int8)
    truth[canvas.river] = ATMOSPHERIC_RIVER
    truth[canvas.cyclone] = TROPICAL_CYCLONE
    made["truth"] = truth
    return made


def field_names(settings: SyntheticSettings) -> tuple[str, ...]:
    """Fields that the climate makes and that change in time, in the vocabulary's order."""
    optional = (v.name for v in OPTIONAL if v.name not in STATIC)
    return (*CHANNEL_NAMES, *(optional if settings.optional_fields else ()))


def synthetic_dataset(settings: SyntheticSettings) -> xr.Dataset:
    """The made-up climate as a lazy dataset in the schema, with `truth` as its class map.

    Args:
        settings: What climate.

    Returns:
        All channels, the optional fields if asked for, and `truth` int8 (0 background, 1 tropical
        cyclone, 2 atmospheric river). Chunks of eight times; the fields of a chunk are made
        together, so compute them together.
    """
    earth = make_earth(settings.height, settings.width)
    names = (*field_names(settings), "truth")
    arrays = _lazy_arrays(settings, names)
    data: dict[str, Any] = {
        name: (DIMS, arrays[name], field_attrs(name)) for name in names if name != "truth"
    }
    if settings.optional_fields:
        static = {"LANDFRAC": earth.land, "PHIS": earth.terrain * STANDARD_GRAVITY}
        for name, values in static.items():
            data[name] = (DIMS[1:], quantize(name, values), field_attrs(name))
    data["truth"] = (
        DIMS,
        arrays["truth"],
        {"long_name": "true class of each point", **CLASS_ATTRS},
    )
    times = cftime.num2date(settings.hours(), EPOCH, calendar=settings.calendar)
    dataset = xr.Dataset(
        data,
        coords={
            "time": np.atleast_1d(times),
            "lat": ("lat", earth.lat, coordinate_attrs("lat")),
            "lon": ("lon", earth.lon, coordinate_attrs("lon")),
        },
        attrs={
            "source": f"made-up climate of exastorm, seed {settings.seed}",
            "source_format": "synthetic",
            "history": repr(settings),
        },
    )
    dataset["time"].encoding = {"units": EPOCH, "calendar": settings.calendar}
    return check_dataset(dataset)


def _lazy_arrays(settings: SyntheticSettings, names: tuple[str, ...]) -> dict[str, Any]:
    """One dask array a field; the arrays share the tasks that make whole blocks."""
    hours = settings.hours()
    starts = range(0, hours.size, BLOCK_LENGTH)
    chunks = tuple(min(BLOCK_LENGTH, hours.size - start) for start in starts)
    token = tokenize(settings, names)
    made = f"made-up-climate-{token}"
    blocks = {
        (made, number): (make_block, settings, tuple(int(h) for h in hours[s : s + BLOCK_LENGTH]))
        for number, s in enumerate(starts)
    }
    shape = (chunks, (settings.height,), (settings.width,))
    new_array: Any = dask.array.Array
    arrays = {}
    for name in names:
        key = f"{name}-{token}"
        picks = {
            (key, number, 0, 0): (_pick, (made, number), name) for number in range(len(chunks))
        }
        layers: dict[str, Any] = {made: blocks, key: picks}
        graph = HighLevelGraph(layers, {made: set(), key: {made}})
        dtype = np.int8 if name == "truth" else np.float32
        arrays[name] = new_array(graph, key, shape, dtype=dtype)
    return arrays


def make_block(settings: SyntheticSettings, hours: tuple[int, ...]) -> Block:
    """All fields of some absolute hours, (T, H, W)."""
    made = [snapshot(settings, hour) for hour in hours]
    return {name: np.stack([fields[name] for fields in made]) for name in made[0]}


def _pick(block: Block, name: str) -> NDArray[Any]:
    """One field of a block."""
    return block[name]
