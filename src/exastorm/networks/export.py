"""A trained network as one file that runs without exastorm: torch.export's, or ONNX.

What is exported takes fields as archives have them: in the record's units and order of channels,
gaps as NaN. Its first step puts the training mean into gaps and scales, as `exastorm segment` does;
its output are logits. The batch may be of any size, the grid is fixed. Dropout is off, also that of
the paper's Tiramisu, which works in evaluation elsewhere: an exported network answers the same
twice. The record goes along, and the file is run on random fields and held against the network
itself before it gets its name.
"""

import dataclasses
import io
import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from exastorm.errors import InputError
from exastorm.networks.dropout import Dropout
from exastorm.networks.record import RECORD_KEY, ModelRecord, load_model, replace_file
from exastorm.networks.rowwise_norm import with_rowwise_norms

INPUT_NAME = "fields"
"""Name of the input, float32 (B, C, H, W)."""

OUTPUT_NAME = "logits"
"""Name of the output, float32 (B, K, H, W)."""

RECORD_FILE = f"{RECORD_KEY}.json"
"""The record in a .pt2 file, an extra file; in ONNX it is the metadata property `RECORD_KEY`."""

TOLERANCE = 1e-4
"""Largest difference from the network's own logits, relative to the largest of them: float32 sums
of some thousand terms in another order differ by about 1e-6, errors of a translation by 1e-2."""

SUFFIXES = (".pt2", ".onnx")
"""What can be written."""

Run = Callable[[Tensor], Tensor]


class PhysicalNetwork(nn.Module):
    """A network that takes fields in physical units, with gaps."""

    shift: Tensor
    scale: Tensor
    mean: Tensor

    def __init__(self, network: nn.Module, record: ModelRecord) -> None:
        """Put filling and scaling before a network.

        Args:
            network: From normalized fields to logits; its dropout is turned off for good.
            record: Its record.
        """
        super().__init__()
        self.network = network.eval()
        for module in network.modules():
            if isinstance(module, Dropout):
                module.always = False
        for name in ("shift", "scale", "mean"):
            values = torch.tensor(getattr(record, name), dtype=torch.float32)
            self.register_buffer(name, values[:, None, None])

    def forward(self, fields: Tensor) -> Tensor:
        """Fields in the record's units (B, C, H, W), gaps not finite, to logits (B, K, H, W)."""
        filled = torch.where(fields.isfinite(), fields, self.mean)
        logits: Tensor = self.network((filled - self.shift) / self.scale)
        return logits


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What was written.

    Attributes:
        out: The file.
        num_bytes: Its size.
        grid: Rows and columns of its input.
        channels: Names of its input channels, in order.
        units: Their units.
        classes: Names of its output channels, in order.
        max_difference: Largest absolute difference of a logit from the network's own.
        relative_difference: The same over the largest absolute logit.
    """

    out: str
    num_bytes: int
    grid: tuple[int, int]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    classes: tuple[str, ...]
    max_difference: float
    relative_difference: float


def export_network(
    model: str | Path, out: str | Path, height: int | None = None, width: int | None = None
) -> ExportSummary:
    """Write a trained network to a file that runs without exastorm, once that file was tried.

    Args:
        model: A run folder or its weights.
        out: A .pt2 file (torch.export) or a .onnx file; replaced if it exists.
        height: Rows of the fields; None takes those of the training grid.
        width: Columns of the fields round the whole globe; None likewise.

    Returns:
        What was written.

    Raises:
        InputError: For another kind of file, a missing package, or a file that does not give the
            network's own output.
    """
    out = Path(out)
    check_form(out)
    network, record = load_model(model)
    grid = (height or len(record.lat), width or len(record.lon))
    physical = PhysicalNetwork(network, record)
    fields = random_fields(record, grid)
    with torch.no_grad():
        expected = physical(fields)
    text = json.dumps(dataclasses.asdict(record))
    if out.suffix == ".onnx":
        with_rowwise_norms(network)
        content = onnx_bytes(_program(physical, len(record.channels), grid), text)
        run = onnx_run(content)
    else:
        content = pt2_bytes(_program(physical, len(record.channels), grid), text)
        run = pt2_run(content)
    with torch.no_grad():
        difference, relative = compare(run(fields), expected, out)
    replace_file(out, content)
    return ExportSummary(
        out=str(out),
        num_bytes=len(content),
        grid=grid,
        channels=record.channels,
        units=record.units,
        classes=record.classes,
        max_difference=difference,
        relative_difference=relative,
    )


def check_form(out: Path) -> None:
    """Refuse a file that can't be written, before the work begins.

    Raises:
        InputError: For a suffix that is none of `SUFFIXES`, or ONNX without its packages.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"must end in {' or '.join(SUFFIXES)}, got {out.name!r}", file=out)
    needed = ("onnx", "onnxscript", "onnxruntime") if out.suffix == ".onnx" else ()
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX needs {', '.join(missing)}: pip install 'exastorm[onnx]'", file=out)


def random_fields(record: ModelRecord, grid: tuple[int, int], seed: int = 0) -> Tensor:
    """A made-up sample as the network could meet it (1, C, H, W), with gaps.

    Args:
        record: Says mean and standard deviation of each channel.
        grid: Rows and columns.
        seed: Of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((1, len(record.channels), *grid), generator=generator)
    mean, std = (torch.tensor(values)[:, None, None] for values in (record.mean, record.std))
    fields = mean + std * noise
    fields[:, :, : max(1, grid[0] // 10), : max(1, grid[1] // 10)] = torch.nan
    return fields


def compare(found: Tensor, expected: Tensor, out: Path) -> tuple[float, float]:
    """Hold the logits of what is exported against the network's own.

    Args:
        found: Logits of the file.
        expected: Logits of the network.
        out: What is to be written, for the message.

    Returns:
        Largest difference of a logit, and the same over the largest logit.

    Raises:
        InputError: If they differ by more than `TOLERANCE`, or in what is no number.
    """
    if found.shape != expected.shape:
        raise InputError(
            f"exported network must give {tuple(expected.shape)}, got {tuple(found.shape)}",
            file=out,
        )
    difference = float((found - expected).abs().max())
    relative = difference / max(float(expected.abs().max()), torch.finfo(torch.float32).tiny)
    if not relative <= TOLERANCE:
        raise InputError(
            f"exported network must give the network's own logits within {TOLERANCE:g} of the"
            f" largest, got {relative:.2g}; nothing was written",
            file=out,
        )
    return difference, relative


def _program(
    network: PhysicalNetwork, num_channels: int, grid: tuple[int, int]
) -> torch.export.ExportedProgram:
    """The network as a graph, for batches of any size."""
    # Two samples: a size of 1 would be taken for fixed.
    example = torch.zeros(2, num_channels, *grid)
    shapes = {INPUT_NAME: {0: torch.export.Dim("batch")}}
    with torch.no_grad():
        return torch.export.export(network, (example,), dynamic_shapes=shapes)


def pt2_bytes(program: torch.export.ExportedProgram, record: str) -> bytes:
    """The content of a .pt2 file."""
    # The fields it was traced with would be two thirds as large as DeepLabv3+'s weights.
    program.example_inputs = None
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={RECORD_FILE: record})
    return file.getvalue()


def pt2_run(content: bytes) -> Run:
    """What runs a .pt2 file."""
    return torch.export.load(io.BytesIO(content)).module()


def onnx_bytes(program: torch.export.ExportedProgram, record: str) -> bytes:
    """The content of an .onnx file."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    with warnings.catch_warnings():
        # What the exporter's libraries deprecate, and which others it finds, is not the user's
        # concern.
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        translated: Any = torch.onnx.export(
            program,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamo=True,
            verbose=False,
        )
    log.setLevel(level)
    proto = translated.model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = RECORD_KEY, record
    return bytes(proto.SerializeToString())


def onnx_run(content: bytes) -> Run:
    """What runs an .onnx file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(fields: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT_NAME], {INPUT_NAME: fields.numpy()})
        return torch.from_numpy(logits)

    return run
