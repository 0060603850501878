"""Files for measuring labels: a made-up climate as CAM history files, without compression.

Uncompressed, as CAM writes them, so that reading the bytes alone is the least that any program has
to do; decompression would hide what programs differ in.
"""

from pathlib import Path
from typing import Any

from exastorm.errors import InputError
from exastorm.progress import track
from exastorm.readers.archives import expand_paths
from exastorm.readers.formats.cam import CAM_NAMES
from exastorm.readers.schema import field_names
from exastorm.readers.synthetic.climate import BLOCK_LENGTH, synthetic_dataset
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.readers.writing import TIME_UNITS, output_dataset


def write_files(climate: SyntheticSettings, names: tuple[str, ...], folder: Path) -> list[Path]:
    """Write some fields of a made-up climate, eight snapshots a file.

    Args:
        climate: What climate.
        names: Fields.
        folder: Where the files go.

    Returns:
        The files, in the order of time.
    """
    dataset = synthetic_dataset(climate)[list(names)]
    paths = []
    for start in track(range(0, climate.num_snapshots, BLOCK_LENGTH), "made-up climate"):
        part = dataset.isel(time=slice(start, start + BLOCK_LENGTH)).load()
        path = folder / f"exastorm.cam.h2.{start:05d}.nc"
        arrays = {CAM_NAMES.get(name, name): part[name] for name in field_names(part)}
        whole = output_dataset(arrays, {"source": "CAM"}, path, "CAM").drop_encoding()
        encoding: dict[str, Any] = {str(name): {"_FillValue": None} for name in whole.variables}
        encoding["time"] |= {"units": TIME_UNITS, "calendar": climate.calendar, "dtype": "f8"}
        whole.to_netcdf(path, engine="netcdf4", encoding=encoding)
        paths.append(path)
    return paths


def files_of(archive: str) -> list[Path]:
    """All files of an archive: those of a store too.

    Raises:
        InputError: If there are none, or they are not on this machine.
    """
    found = [Path(path) for path in expand_paths(archive)]
    files = [f for path in found for f in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    files = [path for path in files if path.is_file()]
    if not files:
        raise InputError("must be on this machine, to read its bytes alone", file=archive)
    return files
