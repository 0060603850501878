"""CAM and E3SM atmosphere history files (`h2` and the like) on latitude-longitude grids."""

from pathlib import Path

import xarray as xr

from exastorm.readers.assembly import Recipe, assemble
from exastorm.readers.lexicon import CAM
from exastorm.readers.opening import peek
from exastorm.readers.options import ReadOptions
from exastorm.readers.schema import field_names
from exastorm.readers.writing import output_dataset, save_blocks

NAME = "cam"

MODELS = ("CAM", "EAM", "E3SM")
"""How the global attribute `source` of the models' history files begins."""

STEPS_PER_FILE = 8
"""Three-hourly steps of a day, as the h2 files behind the SC18 data set have."""

CAM_NAMES = {"IVTX": "TUQ", "IVTY": "TVQ"}
"""Names that differ from ours."""

RECIPE = Recipe(name=NAME, entries=CAM)


def recognize(path: str) -> bool:
    """True for a file that CAM or E3SM wrote on a latitude-longitude grid."""
    header = peek(path)
    if header is None or not (header.has_axis("lat") and header.has_axis("lon")):
        return False
    is_model = str(header.attrs.get("source", "")).startswith(MODELS)
    is_named = ".cam.h" in path or ".eam.h" in path
    known = {name for entry in CAM for name in entry.names}
    return (is_model or is_named) and any(name in known for name in header.dims)


def read(paths: list[str], options: ReadOptions) -> xr.Dataset:
    """Read history files as one archive; see `readers.assembly.assemble`."""
    return assemble(paths, options, RECIPE)


def write(dataset: xr.Dataset, out: Path) -> list[Path]:
    """Write history files of eight steps each, named as CAM names them.

    Args:
        dataset: A dataset in the schema.
        out: A directory, or a path that ends in `.nc` for one file with all steps.

    Returns:
        The files written.

    Raises:
        InputError: If the dataset holds no field.
    """
    arrays = {CAM_NAMES.get(name, name): dataset[name] for name in field_names(dataset)}
    for name, array in arrays.items():
        arrays[name] = array.assign_attrs(cell_methods="time: point")
    attrs = {"source": "CAM", "title": "written by exastorm in the layout of CAM history files"}
    whole = output_dataset(arrays, attrs, out, "CAM")
    if out.suffix == ".nc":
        return save_blocks({out: whole})
    paths: list[Path] = []
    for first in range(0, whole.sizes["time"], STEPS_PER_FILE):
        part = whole.isel(time=slice(first, first + STEPS_PER_FILE))
        start = part["time"].values[0]
        seconds = start.hour * 3600 + start.minute * 60 + start.second
        name = f"exastorm.cam.h2.{start.strftime('%Y-%m-%d')}-{seconds:05d}.nc"
        paths += save_blocks({out / name: part})
    return paths
