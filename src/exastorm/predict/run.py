"""Apply a trained network to an archive, block by block, and write class maps.

The network gets its channels in the order and scaling of its record. Where the archive's grid is
far from the training grid, it works on the latter (`exastorm.predict.grids`). A cell where any
channel has no value gets no class (-1).
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import exastorm
from exastorm.errors import InputError
from exastorm.grid import cell_areas_km2, is_global_in_longitude
from exastorm.networks.record import MODEL_NAME, ModelRecord, load_model
from exastorm.predict.classify import blocks, classify
from exastorm.predict.grids import Detour, plan_detour
from exastorm.predict.output import ClassMapFile, check_out
from exastorm.predict.settings import SegmentSettings
from exastorm.progress import ProgressBar
from exastorm.readers.regrid import regrid
from exastorm.readers.schema import NO_LABEL, require_fields
from exastorm.train.device import choose_device
from exastorm.variables import CLASSES

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SegmentSummary:
    """What a run of segmentation wrote.

    Attributes:
        out: The file.
        num_snapshots: How many class maps.
        worked_on: Grid the network worked on, in words.
        area_share_percent: Share of the archive's area by short class name, over all times.
        unknown_percent: Share without a class.
    """

    out: str
    num_snapshots: int
    worked_on: str
    area_share_percent: dict[str, float]
    unknown_percent: float

    def to_line(self) -> str:
        """One line: what was written where."""
        shares = ", ".join(
            f"{name} {share:.2f} %"
            for name, share in self.area_share_percent.items()
            if name != "BG"
        )
        return f"segmented {self.num_snapshots} snapshots ({shares} of the area) into {self.out}"

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return asdict(self)


def segment_archive(
    dataset: xr.Dataset, model: str | Path, out: str | Path, settings: SegmentSettings | None = None
) -> SegmentSummary:
    """Write class maps and probabilities for every time of an archive.

    Args:
        dataset: In the schema, with the network's channels.
        model: Weights with their record (.safetensors), or a run folder that holds them.
        out: A .nc file or a .zarr store, replaced if it exists.
        settings: How.

    Returns:
        What was written. The file holds `class_map` int8 (time, lat, lon) with CF flags and
        `probability` (time, storm_class, lat, lon) of the classes other than background, on the
        archive's grid, times and calendar.

    Raises:
        InputError: For missing channels, other units, or a place that cannot be written.
    """
    settings = settings or SegmentSettings()
    out, model = Path(out), Path(model)
    check_out(out)
    network, record = load_model(model)
    check_channels(dataset, record, model)
    lat, lon = dataset["lat"].values, dataset["lon"].values
    detour = plan_detour(lat, lon, record.lat, record.lon, settings)
    fields = dataset[list(record.channels)]
    if detour is not None:
        fields = regrid(fields, detour.lat, detour.lon)
    network = network.to(choose_device(settings.device))
    attrs = _provenance(dataset, model, record, detour, settings)
    areas = _ClassAreas(cell_areas_km2(lat, lon))
    with (
        ClassMapFile(out, dataset.coords, attrs, settings.probability) as file,
        ProgressBar("segmenting", dataset.sizes["time"]) as bar,
    ):
        for steps in blocks(dataset.sizes["time"], settings.times_per_block):
            block = _load_channels(fields, steps)
            class_map, probability = classify(network, record, block, settings.batch_size)
            if detour is not None:
                class_map, probability = detour.back(class_map), detour.back(probability)
            file.write(steps, class_map, probability)
            areas.record_batch(class_map)
            bar.advance(len(class_map))
    shares = areas.percent()
    return SegmentSummary(
        out=str(out),
        num_snapshots=dataset.sizes["time"],
        worked_on=attrs["grid_of_network"],
        area_share_percent={c.short_name: shares[c.flag] for c in CLASSES},
        unknown_percent=shares[NO_LABEL],
    )


def check_channels(dataset: xr.Dataset, record: ModelRecord, model: Path) -> None:
    """Refuse an archive that lacks a channel of the network or has one in another unit.

    Raises:
        InputError: Naming the channels.
    """
    require_fields(dataset, record.channels, f"the network {model}")
    for name, units in zip(record.channels, record.units, strict=True):
        if dataset[name].attrs.get("units") != units:
            raise InputError(
                f"the network was trained in {units}, got {dataset[name].attrs.get('units')!r}",
                file=dataset.attrs.get("source"),
                variable=name,
            )


class _ClassAreas:
    """Area in each class and in none, summed over snapshots."""

    def __init__(self, areas_km2: NDArray[np.float64]) -> None:
        self._areas_km2 = areas_km2
        self._sums = dict.fromkeys([NO_LABEL, *(c.flag for c in CLASSES)], 0.0)

    def record_batch(self, class_map: NDArray[np.int8]) -> None:
        """Add class maps (T, H, W)."""
        for flag in self._sums:
            self._sums[flag] += float(((class_map == flag).sum(axis=0) * self._areas_km2).sum())

    def percent(self) -> dict[int, float]:
        """Percent of the area by class flag."""
        total = sum(self._sums.values())
        return {flag: 100.0 * area / total for flag, area in self._sums.items()}


def _load_channels(fields: xr.Dataset, steps: slice) -> dict[str, Float32Array]:
    """The fields of some times by name, each (T, H, W)."""
    # One compute for all channels: fields of one file share its chunks.
    block = fields.isel(time=steps).compute()
    shape = tuple(block.sizes[name] for name in ("time", "lat", "lon"))
    return {
        str(name): np.broadcast_to(field.values, shape).astype(np.float32, copy=False)
        for name, field in block.data_vars.items()
    }


def _provenance(
    dataset: xr.Dataset,
    model: Path,
    record: ModelRecord,
    detour: Detour | None,
    settings: SegmentSettings,
) -> dict[str, Any]:
    """Global attributes that say how the class maps came about."""
    weights = model / MODEL_NAME if model.is_dir() else model
    lat, lon = (detour.lat, detour.lon) if detour else (dataset["lat"], dataset["lon"])
    way = "the archive regridded to the training grid and back" if detour else "the archive's own"
    attrs = {
        "Conventions": "CF-1.11",
        "title": "Storm class maps by a segmentation network",
        "source": str(dataset.attrs.get("source", "")),
        "model": str(weights),
        "model_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "model_exastorm_version": record.version,
        "network": f"{record.network.name} {record.network.preset}",
        "channels": " ".join(record.channels),
        "grid_of_network": f"{lat.size} x {lon.size}, {way}",
        "settings": json.dumps(asdict(settings)),
        "exastorm_version": exastorm.__version__,
        "history": str(dataset.attrs.get("history", "")),
    }
    if not is_global_in_longitude(dataset["lon"].values):
        attrs["comment"] = (
            "The archive does not go round the globe, but the network takes its eastern edge as "
            "the neighbor of its western one: distrust storms at these edges."
        )
    return attrs
