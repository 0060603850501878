"""Parts of a batch side by side on the CPU, each in a thread of its own.

Two threads inside every operation must meet at its end, hundreds of times a step; where another
program holds a core for a moment, both wait (measured on two cores beside one busy program: a tenth
of the speed). Two threads that each take half of the batch meet once a step: as fast alone,
and robust in company. The gradients are those of the whole batch, summed in order of the parts.
"""

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor, nn

from exastorm.networks.losses import soft_cross_entropy, weighted_cross_entropy
from exastorm.samples.dataset import Batch


class BatchWorkers:
    """Threads that learn from parts of a batch, as a context manager.

    Attributes:
        num_workers: Threads; a batch is cut into as many parts.
    """

    def __init__(self, num_workers: int, threads_each: int) -> None:
        """Start the threads.

        Args:
            num_workers: Parts of a batch; 1 needs no thread and leaves batches whole.
            threads_each: Threads that each worker's operations use.
        """
        self.num_workers = num_workers
        self._executor = ThreadPoolExecutor(
            num_workers,
            thread_name_prefix="learn",
            # OpenMP counts threads anew in every thread that uses it.
            initializer=torch.set_num_threads,
            initargs=(threads_each,),
        )

    def __enter__(self) -> "BatchWorkers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def forward_backward(self, network: nn.Module, batch: Batch) -> float:
        """Set the gradients of all parameters to those of a batch; returns its loss."""
        parameters = list(network.parameters())
        total = batch.total_weight

        def learn(part: Batch) -> tuple[float, tuple[Tensor, ...]]:
            loss = part_loss(network(part.field), part, total)
            return float(loss.detach()), torch.autograd.grad(loss, parameters)

        parts = cut(batch, self.num_workers)
        results = [learn(parts[0])] if len(parts) == 1 else list(self._executor.map(learn, parts))
        for parameter, *gradients in zip(parameters, *(g for _, g in results), strict=True):
            parameter.grad = gradients[0]
            for gradient in gradients[1:]:
                parameter.grad.add_(gradient)
        return sum(loss for loss, _ in results)


def part_loss(logits: Tensor, part: Batch, total: Tensor) -> Tensor:
    """Loss of a part of a batch, by its hard or soft labels; parts add up to the whole batch's.

    Args:
        logits: (B, K, H, W).
        part: What they are compared with.
        total: Sum of the weights of the whole batch.
    """
    if part.is_soft:
        return soft_cross_entropy(logits, part.weight, total)
    return weighted_cross_entropy(logits, part.label, part.weight, total)


def cut(batch: Batch, num_parts: int) -> list[Batch]:
    """A batch in parts of nearly equal size, at most one a sample."""
    num_parts = min(num_parts, len(batch.field))
    pieces = [torch.tensor_split(tensor, num_parts) for tensor in batch]
    return [Batch(*piece) for piece in zip(*pieces, strict=True)]
