"""Whether all ranks have the same weights: a number for each tensor, compared on all of them."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from exastorm.errors import ExchangeError
from exastorm.parallel.control.messages import Outcome


@torch.no_grad()
def fingerprint_of(tensors: Iterable[Tensor]) -> tuple[int, ...]:
    """A number for each tensor that changes with any bit of it: the sum of its bits as integers."""
    sums = [
        tensor.detach().reshape(-1).view(torch.int32).sum(dtype=torch.int64) for tensor in tensors
    ]
    return tuple(torch.stack(sums).tolist())


def check_same(outcome: Outcome | None, names: Sequence[str]) -> None:
    """Hear whether ranks had the same fingerprint.

    Args:
        outcome: Of a vote on a step; None for none.
        names: Of the tensors.

    Raises:
        ExchangeError: If one had another, with its rank and the tensor.
    """
    if outcome is not None and outcome.different is not None:
        rank, number = outcome.different
        raise ExchangeError(
            f"weights must be the same on all ranks, got others on rank {rank} than on rank 0 "
            f"in {names[number]} after step {outcome.step}"
        )
