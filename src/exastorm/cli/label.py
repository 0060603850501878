"""`exastorm label`: mark tropical cyclones and atmospheric rivers by heuristics."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import exastorm
from exastorm.cli.command import Command, Outcome, Paths
from exastorm.cli.outputs import out_file
from exastorm.labels.archive import label_archive
from exastorm.labels.presets import find_preset
from exastorm.labels.settings import LabelSettings
from exastorm.readers.options import ReadOptions


@dataclass(frozen=True, kw_only=True)
class Label(Command):
    """Mark tropical cyclones and atmospheric rivers in an archive by heuristics.

    --tc and --ar name the rule sets (short for --label.cyclones and --label.rivers); --soft and
    --scheduler are short for --label.soft and --label.scheduler.
    """

    example: ClassVar[str] = (
        "exastorm label climate/archive --tc tempest-cam --ar sc18 --out labels.nc"
    )

    paths: Paths
    """Files, globs or stores of one archive."""

    out: str
    """Where the class maps go: a .nc file or a .zarr store. One that exists is replaced once
    the new one is whole. Tracks go beside it."""

    preset: str | None = None
    """Rule sets and thresholds for a data set: cam-0.25, cmip6-1deg, era5-0.25, labels-0, labels-1,
    labels-0-exact, labels-1-exact (docs/labels.md); settings files and options win over it."""

    read: ReadOptions = ReadOptions()
    label: LabelSettings = LabelSettings()

    @classmethod
    def preset_sections(cls, name: str | None) -> dict[str, Any]:
        """Settings that a preset stands for."""
        return {} if name is None else {"label": find_preset(name).settings}

    def run(self) -> Outcome:
        """Label it."""
        out = out_file(self.out, self.paths)
        dataset = exastorm.open(list(self.paths), **asdict(self.read))
        warnings: list[str] = []
        if self.preset is not None:
            lat, lon = dataset["lat"].values, dataset["lon"].values
            warnings = find_preset(self.preset).warnings(self.label, lat, lon)
            dataset = dataset.assign_attrs(
                preset=self.preset, preset_warnings="; ".join(warnings) or "none"
            )
        summary = label_archive(dataset, out, self.label)
        figures = summary.to_dict()
        if self.preset is not None:
            figures |= {"preset": self.preset, "warnings": warnings}
        return Outcome(summary.to_line() + "".join(f"; warning: {w}" for w in warnings), figures)
