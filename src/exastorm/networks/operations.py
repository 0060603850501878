"""What a network costs, layer by layer: operations, parameters, memory and least traffic.

The network is called once on tensors that have shapes but no data (torch's meta device), so a
network of any size on any grid is counted in about a second and in no memory. Each layer of it
notes what it was given and what it returned; each call into torch is counted by the rules of
`operation_rules` in the dense convention and in the paper's; and what is still held when forward
has ended is what backward needs. Bytes are those of single precision.

Training is three times forward in both conventions: backward makes one gradient with respect to the
weights and one with respect to the input, each as much work as forward. Nobody needs the gradient
with respect to the fields, so an exact count of what is computed leaves that of the first layers
out (0.2 % of DeepLabv3+); the paper's does not.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.operation_rules import call_operations

TERA = 1e12
"""Operations in one TFLOP."""


@dataclass(kw_only=True)
class Layer:
    """One layer, or one operation between layers.

    Attributes:
        name: Where it is in the network; an operation between layers by its module and its kind.
        kind: Class of the layer, or torch's name of the operation.
        in_shape: Shape of its (first) input.
        out_shape: Shape of its (first) output.
        forward_operations: Dense, see `operation_rules`.
        forward_operations_paper: In the paper's convention.
        input_gradient: Whether backward must go on to what is before it; not so for first layers.
        parameters: Weights that are its own; 0 where a layer is called again.
        activation_bytes: What it made, its output and on the way there, that is kept for backward.
        moved_bytes: The least it must read and write: inputs, weights and outputs once.
    """

    name: str
    kind: str
    in_shape: tuple[int, ...] = ()
    out_shape: tuple[int, ...] = ()
    forward_operations: int = 0
    forward_operations_paper: int = 0
    input_gradient: bool = False
    parameters: int = 0
    activation_bytes: int = 0
    moved_bytes: int = 0

    @property
    def training_operations(self) -> int:
        """Dense operations of forward and of the gradients that are needed."""
        return self.forward_operations * (3 if self.input_gradient else 2)


@dataclass(frozen=True, kw_only=True)
class OperationTable:
    """The layers of a network in the order they are called, and their sums.

    Attributes:
        layers: The layers.
        input_bytes: What backward keeps of the fields themselves.
    """

    layers: tuple[Layer, ...]
    input_bytes: int

    def total(self, name: str) -> int:
        """Sum of an attribute over all layers."""
        return sum(int(getattr(layer, name)) for layer in self.layers)

    def totals(self) -> dict[str, Any]:
        """The sums, operations in TFLOP."""
        forward = self.total("forward_operations") / TERA
        forward_paper = self.total("forward_operations_paper") / TERA
        return {
            "forward_tflop": forward,
            "forward_tflop_paper": forward_paper,
            "training_tflop_dense": 3 * forward,
            "training_tflop_paper": 3 * forward_paper,
            "training_tflop_needed": self.total("training_operations") / TERA,
            "parameters": self.total("parameters"),
            "activation_bytes": self.total("activation_bytes") + self.input_bytes,
            "moved_bytes": self.total("moved_bytes"),
        }

    def to_dict(self) -> dict[str, Any]:
        """The sums and the layers, JSON-able."""
        return {**self.totals(), "layers": [asdict(layer) for layer in self.layers]}


def count_layers(
    network: nn.Module, num_channels: int, height: int, width: int, batch_size: int = 1
) -> OperationTable:
    """Count a network as it trains; its weights are neither read nor changed.

    Args:
        network: Takes fields (B, C, H, W); on any device.
        num_channels: Fields C.
        height: Latitudes H.
        width: Longitudes W.
        batch_size: Samples B.

    Returns:
        A row for each layer in the order of calls. What the network computes again in backward is
        not kept, and its second time not counted.
    """
    recorder = _Recorder()
    state = {
        name: torch.empty_like(tensor, device="meta").requires_grad_(
            isinstance(tensor, nn.Parameter) and tensor.requires_grad
        )
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]
    }
    fields = torch.empty(batch_size, num_channels, height, width, device="meta")
    modes = {module: module.training for module in network.modules()}
    names: dict[nn.Module, list[str]] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    removers = [remove for module in names for remove in recorder.watch(names[module], module)]
    input_storage = StorageWeakRef(fields.untyped_storage())
    input_bytes = fields.untyped_storage().nbytes()
    try:
        network.train()
        with torch.enable_grad(), recorder:
            result = torch.func.functional_call(network, state, (fields,))
    finally:
        for remove in removers:
            remove()
        for module, mode in modes.items():
            module.training = mode
    # From here on nothing holds a tensor but the way back.
    way_back = [tensor.grad_fn for tensor in _tensors(result)]
    del result, fields
    table = recorder.table(0 if input_storage.expired() else input_bytes)
    del way_back
    return table


def count_network(
    settings: NetworkSettings, num_channels: int, num_classes: int, height: int, width: int
) -> OperationTable:
    """Count a network by its settings, for one sample (C, H, W) that spans the globe.

    Args:
        settings: Which network.
        num_channels: Input fields C.
        num_classes: Classes K.
        height: Latitudes H.
        width: Longitudes W.
    """
    with torch.device("meta"):
        network = build_network(settings, num_channels, num_classes, width)
    return count_layers(network, num_channels, height, width)


def _storage(tensor: Tensor) -> int:
    """The memory a tensor lies in, as a key; good as long as somebody holds it."""
    return int(tensor.untyped_storage()._cdata)


def _tensors(values: Any) -> list[Tensor]:
    """The tensors in nested arguments or results."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, list | tuple):
        return []
    return [tensor for value in values for tensor in _tensors(value)]


def _bytes(tensors: list[Tensor]) -> int:
    """Bytes of some tensors; what is repeated by a view, or given twice, is in memory once."""
    once = {(_storage(t), t.storage_offset(), tuple(t.shape)): t for t in tensors}
    return sum(min(t.numel() * t.itemsize, t.untyped_storage().nbytes()) for t in once.values())


class _Recorder(TorchDispatchMode):
    """Listens to a network's modules, to the calls they make into torch, and to autograd."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows: list[Layer] = []
        self._path: list[tuple[str, nn.Module]] = []
        self._layer: Layer | None = None
        self._made: dict[int, tuple[StorageWeakRef, int, Layer]] = {}
        self._seen: set[nn.Module] = set()
        self._is_idle = True

    def watch(self, names: list[str], module: nn.Module) -> list[Callable[[], None]]:
        """Listen to one module, which may be in several places; returns what ends that."""
        is_layer = next(module.children(), None) is None

        def enter(_: nn.Module, arguments: Any) -> None:
            name = self._place(names)
            self._path.append((name, module))
            if is_layer:
                self._is_idle = True
                self._layer = self._row(name, type(module).__name__, module)
                self._layer.in_shape = _shape(arguments)
                self._layer.input_gradient = any(t.requires_grad for t in _tensors(arguments))

        def leave(_: nn.Module, arguments: Any, result: Any) -> None:
            self._path.pop()
            if is_layer:
                self._finish(module, arguments, result)

        handles = [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
        return [handle.remove for handle in handles]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Make one call into torch, and count it."""
        result = func(*args, **(kwargs or {}))
        inputs, outputs = _tensors([args, kwargs or {}]), _tensors(result)
        sources = {_storage(t) for t in inputs}
        is_view = all(_storage(t) in sources for t in outputs) and not func._schema.is_mutable
        if is_view or not outputs:
            return result
        self._is_idle = False
        row = self._layer or self._row_between(func, inputs, outputs)
        transposed = self._layer is not None and isinstance(self._path[-1][1], nn.ConvTranspose2d)
        dense, paper = call_operations(func, args, result, row.in_shape if transposed else None)
        row.forward_operations += dense
        row.forward_operations_paper += paper
        for tensor in outputs:
            if _storage(tensor) not in sources | self._made.keys():
                storage = tensor.untyped_storage()
                # A weak reference keeps the key from being given out again, but not the memory.
                self._made[_storage(tensor)] = StorageWeakRef(storage), storage.nbytes(), row
        return result

    def table(self, input_bytes: int) -> OperationTable:
        """The rows, each with what is held of it now."""
        for storage, num_bytes, row in self._made.values():
            row.activation_bytes += 0 if storage.expired() else num_bytes
        return OperationTable(layers=tuple(self._rows), input_bytes=input_bytes)

    def _place(self, names: list[str]) -> str:
        """Which of a module's names it is called by: the shortest within its caller."""
        caller = f"{self._path[-1][0]}." if self._path and self._path[-1][0] else ""
        return min(names, key=lambda name: (not name.startswith(caller), name.count("."), name))

    def _row(self, name: str, kind: str, module: nn.Module) -> Layer:
        """Begin a row, with the weights that the module owns if it is seen for the first time."""
        new = module not in self._seen
        self._seen.add(module)
        parameters = sum(p.numel() for p in module.parameters(recurse=False)) if new else 0
        self._rows.append(Layer(name=name, kind=kind, parameters=parameters))
        return self._rows[-1]

    def _row_between(self, func: Any, inputs: list[Tensor], outputs: list[Tensor]) -> Layer:
        """A row for an operation outside of all layers."""
        name, module = self._path[-1]
        kind = func.overloadpacket.__name__
        row = self._row(f"{name}.{kind}" if name else kind, kind, module)
        row.in_shape, row.out_shape = _shape(inputs), _shape(outputs)
        row.input_gradient = any(t.requires_grad for t in inputs)
        row.moved_bytes = _bytes(inputs) + _bytes(outputs)
        return row

    def _finish(self, module: nn.Module, arguments: Any, result: Any) -> None:
        """Complete the row of a layer, or drop it if it did nothing (a dropout that is off)."""
        row, self._layer = self._layer, None
        assert row is not None
        if self._is_idle:
            self._rows.pop()
            return
        inputs, outputs = _tensors(arguments), _tensors(result)
        row.out_shape = _shape(outputs)
        weights = _tensors(list(module.parameters(recurse=False)))
        row.moved_bytes = _bytes(inputs) + _bytes(weights) + _bytes(outputs)


def _shape(values: Any) -> tuple[int, ...]:
    """Shape of the first tensor in some arguments; () if there is none."""
    tensors = _tensors(values)
    return tuple(tensors[0].shape) if tensors else ()
