"""`exastorm operations`: what a network costs, stage by stage, before anything is computed."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args

import tyro

from exastorm.cli.command import Command, Outcome
from exastorm.config import suggestion
from exastorm.errors import InputError
from exastorm.networks.build import NetworkName, NetworkSettings
from exastorm.networks.operations import Layer, OperationTable, count_network
from exastorm.networks.record import load_model
from exastorm.variables import NUM_CLASSES

GRID = (768, 1152)
"""Latitudes and longitudes of the paper's samples."""

NUM_CHANNELS = 16
"""Fields in one of the paper's samples."""

MAX_POINTS = 1e10
"""Far beyond any grid; sizes of tensors must fit 63 bits."""


@dataclass(frozen=True, kw_only=True)
class Operations(Command):
    """Count operations, parameters and memory of a network, layer by layer, for one sample.

    Nothing is computed: any size takes about a second. Operations are given in the dense
    convention, what a convolution kernel computes, and in that of Kurth et al. 2018, which counts
    the padding of atrous and strided convolutions as work; training is three times forward.
    """

    example: ClassVar[str] = "exastorm operations deeplabv3plus --variant paper --preset full"

    network: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NETWORK")]
    """deeplabv3plus or tiramisu; or a run folder or model file, which says all that follows."""

    variant: Literal["modern", "paper"] | None = None
    """modern (default), or paper: as trained on Summit."""

    preset: Literal["compact", "half", "full"] | None = None
    """Size; full by default."""

    channels: int | None = None
    """Input fields; 16 by default."""

    classes: int | None = None
    """Classes; 3 by default."""

    filters: int | None = None
    """Channels of Tiramisu's first convolution; the preset's by default."""

    height: int | None = None
    """Latitudes; by default 768, or those of the run."""

    width: int | None = None
    """Longitudes round the globe; by default 1152, or those of the run."""

    layers: bool = False
    """Print a row for each layer rather than for each stage."""

    @classmethod
    def preset_sections(cls, name: str | None) -> dict[str, Any]:
        """A preset here is one of the network alone."""
        return {}

    def run(self) -> Outcome:
        """Count."""
        for name in ("channels", "classes", "height", "width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name} must be at least 1, got {value}")
        settings, num_channels, num_classes, height, width = self.what()
        if height * width > MAX_POINTS:
            raise InputError(
                f"height x width must be at most {MAX_POINTS:.0e} points, got {height} x {width}"
            )
        table = count_network(settings, num_channels, num_classes, height, width)
        sample = f"{num_channels} x {height} x {width}"
        figures = {
            "network": settings.name,
            "variant": settings.variant,
            "preset": settings.preset,
            "num_channels": num_channels,
            "num_classes": num_classes,
            "grid": [height, width],
            **table.to_dict(),
        }
        rows = list(table.layers) if self.layers else stages(table.layers)
        text = f"{rows_text(rows, table)}\n\n{totals_text(table.totals(), sample)}"
        return Outcome("", figures, text)

    def what(self) -> tuple[NetworkSettings, int, int, int, int]:
        """Settings, channels, classes, latitudes and longitudes of the network that is meant.

        Raises:
            InputError: If there is no such network, or options don't go together.
        """
        if self.network not in get_args(NetworkName):
            return self.what_was_trained()
        try:
            settings = NetworkSettings(
                name=self.network,  # type: ignore[arg-type]
                variant=self.variant or "modern",
                preset=self.preset or "full",
                filters=self.filters,
            )
        except ValueError as error:
            raise InputError(f"--{error}") from None
        channels, classes = self.channels or NUM_CHANNELS, self.classes or NUM_CLASSES
        return settings, channels, classes, self.height or GRID[0], self.width or GRID[1]

    def what_was_trained(self) -> tuple[NetworkSettings, int, int, int, int]:
        """The same of a run."""
        given = [n for n in ("variant", "preset", "channels", "classes", "filters")
                 if getattr(self, n) is not None]  # fmt: skip
        try:
            _, record = load_model(self.network)
        except InputError as error:
            names = get_args(NetworkName)
            raise InputError(
                f"NETWORK must be {', '.join(names)}, or a run{suggestion(self.network, names)}:"
                f" {error}"
            ) from None
        if given:
            raise InputError(f"--{given[0]} can't be given with a run, whose record says it")
        height, width = self.height or len(record.lat), self.width or len(record.lon)
        return record.network, len(record.channels), len(record.classes), height, width


def stage_of(name: str) -> str:
    """The stage a layer belongs to: two names deep, or a numbered block and its number."""
    parts = name.split(".")
    if len(parts) > 2 and parts[1].isdigit():
        return ".".join(parts[:2])
    is_block = len(parts) > 3 and parts[2].isdigit()
    return ".".join(
        part for part in parts[: 3 if is_block else 2] if is_block or not part.isdigit()
    )


def stages(layers: tuple[Layer, ...]) -> list[Layer]:
    """Layers joined to stages, in the order in which each is first called."""
    joined: dict[str, Layer] = {}
    for layer in layers:
        name = stage_of(layer.name)
        stage = joined.setdefault(name, Layer(name=name, kind="", in_shape=layer.in_shape))
        stage.out_shape = layer.out_shape
        for field in ("forward_operations", "forward_operations_paper", "parameters",
                      "activation_bytes", "moved_bytes"):  # fmt: skip
            setattr(stage, field, getattr(stage, field) + getattr(layer, field))
    return list(joined.values())


def rows_text(rows: list[Layer], table: OperationTable) -> str:
    """The rows as a table that ends with their total."""
    names = [_title(row) for row in rows]
    wide = max(map(len, [*names, "total"]))
    total = Layer(
        name="total",
        kind="",
        forward_operations=table.total("forward_operations"),
        forward_operations_paper=table.total("forward_operations_paper"),
        parameters=table.total("parameters"),
        activation_bytes=table.total("activation_bytes") + table.input_bytes,
        moved_bytes=table.total("moved_bytes"),
    )
    head = (
        f"{'':<{wide}}{'output':>17}{'parameters':>12}{'GFLOP':>10}{'%':>7}{'paper/dense':>13}"
        f"{'kept MB':>10}{'moved MB':>10}"
    )
    lines = [head]
    for name, row in [*zip(names, rows, strict=True), ("total", total)]:
        lines.append(f"{name:<{wide}}{_row_text(row, total.forward_operations)}")
    return "\n".join(lines)


def _title(row: Layer) -> str:
    """Name and kind of a row; an operation between layers bears its kind in its name."""
    return row.name if row.name.endswith(row.kind) else f"{row.name} {row.kind}"


def _row_text(row: Layer, total_operations: int) -> str:
    """One row of the table, without its name."""
    dense, paper = row.forward_operations, row.forward_operations_paper
    counted = (
        f"{dense / 1e9:>10.3f}{100 * dense / total_operations:>7.2f}{paper / dense:>13.3f}"
        if dense
        else f"{'-':>10}{'-':>7}{'-':>13}"
    )
    shape = " x ".join(str(n) for n in row.out_shape[1:])
    return (
        f"{shape:>17}{row.parameters or '-':>12}{counted}"
        f"{row.activation_bytes / 1e6:>10.1f}{row.moved_bytes / 1e6:>10.1f}"
    )


def totals_text(totals: dict[str, Any], sample: str) -> str:
    """The sums, each with its convention."""
    lines = [
        f"One sample of {sample}; a multiply-add is two operations; bytes in single precision.",
        f"forward   {totals['forward_tflop']:10.4f} TFLOP dense: each weight at each place",
        f"training  {totals['training_tflop_dense']:10.4f} TFLOP dense: 3 x forward",
        f"          {totals['training_tflop_needed']:10.4f} TFLOP of them needed: no gradient with"
        " respect to the fields",
        f"          {totals['training_tflop_paper']:10.4f} TFLOP as Kurth et al. 2018 count:"
        " padding of atrous and strided convolutions too",
        f"parameters {totals['parameters']:,}; backward keeps"
        f" {totals['activation_bytes'] / 1e9:.2f} GB, forward moves at least"
        f" {totals['moved_bytes'] / 1e9:.2f} GB",
    ]
    return "\n".join(lines)
