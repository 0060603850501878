"""One module a format, each with the same verbs: recognize, read, write.

Modules are loaded by name when a path is looked at, so that `import exastorm` stays light.
"""

import importlib
from pathlib import Path
from typing import Protocol, cast

import xarray as xr

from exastorm.readers.options import ReadOptions

FORMATS: tuple[str, ...] = (
    "deepcam",
    "climatenet",
    "unstructured",
    "cam",
    "cmip6",
    "era5",
    "grib",
    "cf",
)
"""Names of the formats in the order in which a file is tried, the most particular first."""


class Format(Protocol):
    """The verbs of a format's module.

    `recognize` is a cheap look at one file or store, False (not an exception) where it is not of
    this format. `read` returns a lazy dataset in the schema, raises InputError, and with
    `options.skip_bad` leaves bad files out and lists them in `attrs["bad_files"]`, one a line.
    `write` writes a schema dataset in time blocks and returns the paths it made.
    """

    NAME: str

    def recognize(self, path: str) -> bool: ...  # noqa: D102

    def read(self, paths: list[str], options: ReadOptions) -> xr.Dataset: ...  # noqa: D102

    def write(self, dataset: xr.Dataset, out: Path) -> list[Path]: ...  # noqa: D102


def load_format(name: str) -> Format:
    """The module of one format.

    Raises:
        KeyError: If the name is not in FORMATS (callers check what the user gave).
    """
    if name not in FORMATS:
        raise KeyError(name)
    return cast(Format, importlib.import_module(f"exastorm.readers.formats.{name}"))
