"""The record that travels inside a file of weights, so that one file is all it takes to segment.

A model file is safetensors (no code runs when it is read) with the record as JSON in its metadata:
channels with units and scaling, classes, grid, network settings, how it was trained, and a checksum
of the weights, so that a torn or altered file is found when it is opened.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from exastorm.errors import InputError
from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.network import SegmentationNetwork

MODEL_NAME = "model.safetensors"
"""Name of the model file in a run folder."""

RECORD_KEY = "exastorm"
"""Key of the record in the metadata."""

RECORD_VERSION = 2
"""Version 1 had no checksum of the record itself; it is still read."""


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """All that a user of the weights must know.

    Attributes:
        channels: Names of the input fields (C,), in order, as in `exastorm.variables`.
        units: Their units (C,).
        normalization: How fields are scaled: "zscore" or "minmax".
        shift: Network input is (field - shift) / scale; (C,), in the fields' units.
        scale: As said, (C,).
        mean: Mean of each field in training (C,).
        std: Standard deviation of each field in training (C,).
        classes: Names of the classes (K,), in order of their flags.
        lat: Latitudes of the training grid, degrees, ascending.
        lon: Longitudes of the training grid, degrees, ascending.
        network: Which network.
        decision_bias: What was added to the logits of each class (K,) after training, by the
            classifier's bias, so that the largest logit is the best decision on the validation
            split.
        training: Where the weights come from: step, scores, settings, data.
        version: Version of exastorm that wrote it.
        record_version: Version of this record's form.
    """

    channels: tuple[str, ...]
    units: tuple[str, ...]
    normalization: str
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    lat: tuple[float, ...]
    lon: tuple[float, ...]
    network: NetworkSettings
    decision_bias: tuple[float, ...]
    training: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    record_version: int = RECORD_VERSION

    def __post_init__(self) -> None:
        num_channels = len(self.channels)
        for name in ("units", "shift", "scale", "mean", "std"):
            if len(getattr(self, name)) != num_channels:
                raise ValueError(
                    f"{name} must have one value a channel ({num_channels}), "
                    f"got {len(getattr(self, name))}"
                )
        if len(self.decision_bias) != len(self.classes):
            raise ValueError(
                f"decision_bias must have one value a class ({len(self.classes)}), "
                f"got {len(self.decision_bias)}"
            )

    def build(self) -> SegmentationNetwork:
        """The network this record describes, with fresh weights."""
        return build_network(self.network, len(self.channels), len(self.classes), len(self.lon))

    def stack_fields(
        self, fields: Mapping[str, ArrayLike], units: Mapping[str, str] | None = None
    ) -> NDArray[np.float32]:
        """Named fields as the network's input: its channels in its order, scaled.

        Args:
            fields: Values (H, W) or (T, H, W) by the name of the variable, in the record's units.
            units: Units of the values by name, to be checked; None takes them for granted.

        Returns:
            float32 (C, H, W) or (T, C, H, W).

        Raises:
            InputError: If a channel is missing, a field is none of the channels, units differ, or
                fields are of different shapes.
        """
        check_names(fields, self.channels, "field")
        if units is not None:
            self._check_units(units)
        arrays = [np.asarray(fields[name], dtype=np.float32) for name in self.channels]
        for name, array in zip(self.channels, arrays, strict=True):
            if array.shape != arrays[0].shape or array.ndim not in (2, 3):
                raise InputError(
                    "must have shape (H, W) or (T, H, W), the same for all fields, got "
                    f"{array.shape} beside {arrays[0].shape}",
                    variable=name,
                )
        # One pass for each channel, from the caller's array to its place.
        stacked = np.empty((*arrays[0].shape[:-2], len(arrays), *arrays[0].shape[-2:]), np.float32)
        for c, array in enumerate(arrays):
            channel = stacked[..., c, :, :]
            np.subtract(array, np.float32(self.shift[c]), out=channel)
            np.divide(channel, np.float32(self.scale[c]), out=channel)
        return stacked

    def _check_units(self, units: Mapping[str, str]) -> None:
        """Refuse units that are not those of training."""
        check_names(units, self.channels, "unit")
        for name, unit in zip(self.channels, self.units, strict=True):
            if units[name] != unit:
                raise InputError(
                    f"units must be {unit!r}, as in training, got {units[name]!r}", variable=name
                )


def check_names(given: Iterable[str], channels: Sequence[str], what: str) -> None:
    """Refuse names that are not exactly a model's channels, in any order.

    Args:
        given: Names.
        channels: Names of the model's channels.
        what: What is named, for the message.

    Raises:
        InputError: Naming what is missing, or what the model was not trained on.
    """
    names = list(given)
    missing = [name for name in channels if name not in names]
    if missing:
        raise InputError(
            f"must have a {what} for each channel of the model, got none for {', '.join(missing)}"
        )
    unknown = [name for name in names if name not in channels]
    if unknown:
        raise InputError(
            f"must have a {what} for the model's channels alone ({', '.join(channels)}), got "
            f"{', '.join(unknown)}, on which it was not trained"
        )


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that at any moment it is the old one or the new one, never half of it.

    The bytes go to a neighbor, to the disk, and then take the name in one step.

    Raises:
        InputError: If it cannot be written; then there is no neighbor left.
    """
    neighbor = path.with_name(path.name + ".partial")
    try:
        with neighbor.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        neighbor.replace(path)
    except OSError as error:
        neighbor.unlink(missing_ok=True)
        raise InputError(f"cannot be written ({error.strerror})", file=path) from error
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def weights_checksum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the names, types, shapes and bytes of some tensors, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def model_checksum(tensors: dict[str, Tensor], values: dict[str, Any]) -> str:
    """SHA-256 of the weights and of the record that goes with them, as JSON."""
    text = weights_checksum(tensors) + json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def save_model(path: Path, network: nn.Module, record: ModelRecord) -> None:
    """Write weights and record to one file, in one step.

    Args:
        path: Ends in .safetensors.
        network: The network; its weights are written from the CPU.
        record: The record.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    values = json.loads(json.dumps(dataclasses.asdict(record)))
    text = json.dumps({**values, "sha256": model_checksum(tensors, values)})
    replace_file(path, save(tensors, metadata={RECORD_KEY: text}))


def load_model(path: str | Path) -> tuple[SegmentationNetwork, ModelRecord]:
    """Read a model file.

    Args:
        path: A .safetensors file of `save_model`, or a run folder that holds one.

    Returns:
        The network on the CPU in evaluation mode, and its record.

    Raises:
        InputError: If there is no such file, it is not one of ours, of another version, torn or
            altered.
    """
    path = Path(path)
    if path.is_dir():
        path = path / MODEL_NAME
    if not path.is_file():
        raise InputError("no such model file (train first, or give a run folder)", file=path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"must be a whole safetensors file, got: {error}", file=path) from None
    values = _read_values(metadata, path)
    checksum = values.pop("sha256", "")
    # The first version's checksum did not cover the record.
    is_first = values["record_version"] == 1
    if checksum != (weights_checksum(tensors) if is_first else model_checksum(tensors, values)):
        raise InputError(
            "weights and record must match their checksum; the file was altered", file=path
        )
    record = _parse_record(values, path)
    network = record.build()
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"weights must fit the network of the record: {first}", file=path
        ) from None
    return network.eval(), record


def _read_values(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    """The record and its checksum, as a file's metadata have them."""
    if RECORD_KEY not in metadata:
        raise InputError("must be weights written by exastorm, got no record in them", file=path)
    try:
        values = json.loads(metadata[RECORD_KEY])
    except json.JSONDecodeError as error:
        raise InputError(f"record must be JSON, got: {error}", file=path) from None
    if not isinstance(values, dict):
        raise InputError(f"record must be a mapping, got {type(values).__name__}", file=path)
    found = values.get("record_version")
    if found not in range(1, RECORD_VERSION + 1):
        raise InputError(
            f"must have record version {RECORD_VERSION} or before, got {found} "
            f"(written by exastorm {values.get('version') or 'unknown'})",
            file=path,
        )
    return values


def _parse_record(values: dict[str, Any], path: Path) -> ModelRecord:
    """The record of some values."""
    try:
        return TypeAdapter(ModelRecord).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"record must be valid, got {where}: {first['msg']}", file=path) from None
