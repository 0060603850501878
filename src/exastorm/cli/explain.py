"""`exastorm explain`: why something is labeled or not, criterion by criterion."""

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import exastorm
from exastorm.cli.command import Command, Outcome, Paths
from exastorm.cli.explain_table import explanation_text
from exastorm.cli.outputs import out_file
from exastorm.errors import InputError
from exastorm.labels.explain import WITHIN_DEG, explain_snapshot
from exastorm.labels.presets import find_preset
from exastorm.labels.settings import LabelSettings
from exastorm.readers.options import ReadOptions

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
PLACE = re.compile(rf"\s*({NUMBER})\s*,\s*({NUMBER})\s*")


def parse_place(text: str) -> tuple[float, float]:
    """Latitude and longitude, degrees, from text such as 17.5,-105.

    Raises:
        InputError: If it is something else, or no place on the globe.
    """
    found = PLACE.fullmatch(text)
    if found is None:
        raise InputError(f"--at must be LAT,LON in degrees, such as 17.5,-105; got {text!r}")
    lat, lon = float(found[1]), float(found[2])
    if not -90 <= lat <= 90:
        swapped = f"; is it {lon:g},{lat:g}?" if -90 <= lon <= 90 and abs(lat) <= 360 else ""
        raise InputError(f"--at must begin with a latitude in [-90, 90], got {text!r}{swapped}")
    if not -180 <= lon <= 360:
        raise InputError(f"--at must end with a longitude in [-180, 360], got {text!r}")
    return lat, lon


@dataclass(frozen=True, kw_only=True)
class Explain(Command):
    """Tell why something is labeled or not: each candidate near a place, criterion by criterion.

    --tc and --ar name the rule sets (short for --label.cyclones and --label.rivers), as in
    `exastorm label`. How the work of a whole archive is cut and stored (num_workers, scheduler,
    block_size, tracks, soft) has no meaning here.
    """

    example: ClassVar[str] = (
        "exastorm explain climate/archive --time 2000-09-01T06:00 --at 17.5,-105 --map why.png"
    )

    paths: Paths
    """Files, globs or stores of one archive."""

    time: str
    """One of its times, such as 2000-09-01T06:00, in its calendar."""

    at: str
    """The place: LAT,LON in degrees; west and south are negative."""

    within: float = WITHIN_DEG
    """How far candidates may be, degrees of a great circle."""

    map: str | None = None
    """Also draw the candidates over pressure, wind and moisture into this .png file."""

    preset: str | None = None
    """Rule sets and thresholds for a data set, as in `exastorm label`."""

    read: ReadOptions = ReadOptions()
    label: LabelSettings = LabelSettings()

    @classmethod
    def preset_sections(cls, name: str | None) -> dict[str, Any]:
        """Settings that a preset stands for."""
        return {} if name is None else {"label": find_preset(name).settings}

    def run(self) -> Outcome:
        """Explain it."""
        lat, lon = parse_place(self.at)
        out = None if self.map is None else _picture(self.map, self.paths)
        dataset = exastorm.open(list(self.paths), **asdict(self.read))
        told = explain_snapshot(dataset, self.time, lat, lon, self.label, self.within)
        if self.preset is not None:
            grid = dataset["lat"].values, dataset["lon"].values
            warnings = find_preset(self.preset).warnings(self.label, *grid)
            if warnings:
                told = replace(told, notes=told.notes | {"preset": "; ".join(warnings)})
        figures = told.to_dict() | {"map": None if out is None else str(out)}
        if out is not None:
            from exastorm.report.explain_figure import explain_figure
            from exastorm.report.style import save_png

            save_png(explain_figure(told, dataset.sel(time=told.time)), out)
        line = "" if out is None else f"map: {out}"
        return Outcome(line, figures, explanation_text(told))


def _picture(out: str, inputs: tuple[str, ...]) -> Path:
    """Where the picture goes.

    Raises:
        InputError: If it is no .png file, or lies where nothing can be written.
    """
    if not out.endswith(".png"):
        raise InputError(f"--map must be a .png file, got {out!r}")
    path = out_file(out, inputs)
    if path.is_dir():
        raise InputError("--map must be a file, got a folder", file=path)
    return path
