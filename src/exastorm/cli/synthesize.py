"""`exastorm synthesize`: write a made-up climate with known storms, in any format we read."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from exastorm.cli.command import Command, OnePath, Outcome
from exastorm.cli.outputs import out_folder
from exastorm.errors import InputError, writing
from exastorm.readers.archives import write_archive
from exastorm.readers.synthetic.climate import synthetic_dataset
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.readers.synthetic.truth import true_tracks

ArchiveFormat = Literal["cam", "deepcam", "climatenet", "cmip6", "era5", "era5-zarr"]


def synthesize(settings: SyntheticSettings, out: Path, archive_format: str) -> dict[str, object]:
    """Write the archive, and beside it the truth: `truth.nc` (class map) and `tracks.csv`.

    Args:
        settings: The climate.
        out: Folder to make.
        archive_format: How to write the fields.

    Returns:
        Figures: number of snapshots, files, storms, and the paths.

    Raises:
        InputError: If the folder holds an archive.
    """
    archive, partial = out / "archive", out / "archive-partial"
    if archive.exists():
        raise InputError("holds a climate already; give another folder, or remove it", file=out)
    out.mkdir(parents=True, exist_ok=True)
    dataset = synthetic_dataset(settings)
    shutil.rmtree(partial, ignore_errors=True)
    with writing(partial):
        files = write_archive(dataset, partial, archive_format)
    truth = dataset[["truth"]].rename(truth="class_map")
    truth.attrs["title"] = "true storms of the made-up climate"
    with writing(out / "truth.nc"):
        truth.to_netcdf(out / "truth.nc", encoding={"class_map": {"zlib": True, "complevel": 1}})
    tracks = true_tracks(settings)
    tracks.to_csv(out / "tracks.csv", index=False)
    # Last, so that a climate with an archive is whole.
    partial.replace(archive)
    return {
        "archive": str(archive),
        "truth": str(out / "truth.nc"),
        "tracks": str(out / "tracks.csv"),
        "format": archive_format,
        "num_files": len(files),
        "num_snapshots": int(dataset.sizes["time"]),
        "num_lat": int(dataset.sizes["lat"]),
        "num_lon": int(dataset.sizes["lon"]),
        "num_true_storms": int(tracks.loc[tracks["in_truth"], "storm_id"].nunique()),
    }


@dataclass(frozen=True, kw_only=True)
class Synthesize(Command):
    """Write a made-up climate with known storms: all 16 channels, the true masks and tracks."""

    example: ClassVar[str] = (
        "exastorm synthesize climate --synthesize.num-snapshots 80 --synthesize.seed 1"
    )

    out: OnePath
    """Folder to make; the fields go to `archive` in it. One that holds a climate is refused."""

    format: Annotated[ArchiveFormat, tyro.conf.arg(name="format")] = "cam"
    """How to write the fields."""

    synthesize: SyntheticSettings = SyntheticSettings()

    def run(self) -> Outcome:
        """Write it."""
        figures = synthesize(self.synthesize, out_folder(self.out), self.format)
        return Outcome(
            f"wrote {figures['num_snapshots']} snapshots of {figures['num_lat']} x"
            f" {figures['num_lon']}, {figures['num_true_storms']} storms, to {figures['archive']}",
            figures,
        )
