"""`exastorm export`: a trained network as one file that runs without exastorm."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from exastorm.cli.command import Command, OnePath, Outcome
from exastorm.cli.outputs import out_file
from exastorm.errors import InputError
from exastorm.networks.export import export_network


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write a trained network as a torch.export program or as ONNX, and check that file.

    It takes float32 fields (batch, channel, latitude, longitude) in the units and order of channels
    that the answer names, NaN in gaps, and gives logits, one for each class. The file is run on
    random fields before it gets its name: its logits must be the network's own.
    """

    example: ClassVar[str] = "exastorm export run --out model.onnx"

    model: OnePath
    """A run folder or its weights (model.safetensors)."""

    out: str
    """A .pt2 file (torch.export) or a .onnx file; replaced if it exists."""

    height: int | None = None
    """Rows of the fields; those of the training grid by default."""

    width: int | None = None
    """Columns of the fields, round the whole globe; those of the training grid by default."""

    def run(self) -> Outcome:
        """Export it."""
        for name in ("height", "width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name} must be at least 1, got {value}")
        out = out_file(self.out, [])
        if not out.parent.is_dir() or out.is_dir():
            raise InputError("--out must be a file in a folder that exists", file=out)
        done = export_network(Path(self.model), out, self.height, self.width)
        channels = ", ".join(
            f"{name} ({units})" for name, units in zip(done.channels, done.units, strict=True)
        )
        rows, columns = done.grid
        shapes = [
            f"float32 (batch, {len(names)}, {rows}, {columns})"
            for names in (done.channels, done.classes)
        ]
        text = (
            f"input   fields  {shapes[0]}: {channels}\n"
            f"output  logits  {shapes[1]}: {', '.join(done.classes)}"
        )
        line = (
            f"exported {done.num_bytes / 1e6:.1f} MB to {done.out}; on random fields its logits are"
            f" the network's within {done.relative_difference:.1e} of the largest"
        )
        return Outcome(line, asdict(done), text)
