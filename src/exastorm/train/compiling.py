"""A network compiled for its shapes, and what happens where the compiler fails."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]


class CompiledForward:
    """A network behind torch.compile; if that fails at the first call, the network as it is.

    Attributes:
        is_compiled: False from the moment the compiler failed.
    """

    def __init__(self, network: nn.Module, cuda_graphs: bool = False) -> None:
        """Wrap a network; nothing is compiled before the first call.

        Args:
            network: In training mode, on its device.
            cuda_graphs: Also record the kernels as CUDA graphs and replay them.
        """
        self.is_compiled = True
        self._network = network
        self._cuda_graphs = cuda_graphs
        self._tried = False
        mode = "reduce-overhead" if cuda_graphs else "default"
        # Fixed shapes: every batch of a training has the same, and kernels are quicker for it.
        self._compiled: Forward = torch.compile(network, dynamic=False, mode=mode)

    def __call__(self, fields: Tensor) -> Tensor:
        """Fields (B, C, H, W) to logits (B, K, H, W)."""
        if not self.is_compiled:
            logits: Tensor = self._network(fields)
            return logits
        if self._cuda_graphs:
            # What earlier replays returned is no longer needed, and may be overwritten.
            torch.compiler.cudagraph_mark_step_begin()
        if self._tried:
            return self._compiled(fields)
        self._tried = True
        try:
            return self._compiled(fields)
        # Anything may come out of a compiler: a missing C++ compiler, an operation it lacks.
        except Exception as error:
            self.is_compiled = False
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            warnings.warn(
                f"torch.compile failed, training goes on without it: {reason}", stacklevel=2
            )
            return self(fields)


def forward_of(network: nn.Module, compile_mode: str) -> Forward:
    """What to call for logits: the network, or the network compiled.

    Args:
        network: On its device.
        compile_mode: "off", "on" or "cuda_graphs".
    """
    if compile_mode == "off":
        return network
    return CompiledForward(network, cuda_graphs=compile_mode == "cuda_graphs")
