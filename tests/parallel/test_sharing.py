"""What the first rank finds, on all."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tests.parallel.made_ranks import run_ranks, values

from exastorm.errors import InputError
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.errors import ExchangeError
from exastorm.parallel.sharing import share


@dataclass(frozen=True)
class Found:
    path: Path
    weights: torch.Tensor


def test_the_first_rank_alone_looks_and_all_have_it():
    looked = []

    def act(cluster):
        def find():
            looked.append(cluster.world.rank)
            return Found(Path("samples"), torch.arange(100_000.0))

        first = share(cluster, find)
        return first, share(cluster, lambda: None), share(cluster, lambda: cluster.world.rank)

    results = values(run_ranks(act, 3))
    assert looked == [0]
    for found, nothing, rank in results:
        assert found.path == Path("samples")
        assert torch.equal(found.weights, torch.arange(100_000.0))
        assert nothing is None
        assert rank == 0


def test_a_mistake_is_raised_on_all_and_told_by_one():
    def find():
        raise InputError("must be samples, got none", file="s", variable="TMQ", time=3)

    def act(cluster):
        with pytest.raises(InputError) as caught:
            share(cluster, find)
        return caught.value

    with pytest.raises(InputError, match="must be samples") as alone:
        share(Cluster.alone(), find)
    for rank, error in enumerate(run_ranks(act, 3)):
        assert str(error) == str(alone.value)
        assert (error.file, error.variable, error.time) == ("s", "TMQ", 3)
        assert error.is_told == (rank > 0)
    assert str(alone.value) == "s, variable TMQ, time 3: must be samples, got none"
    assert not alone.value.is_told


def test_alone_it_is_the_thing_itself():
    found = object()
    assert share(Cluster.alone(), lambda: found) is found


def test_a_first_rank_that_does_not_come():
    def act(cluster):
        if cluster.world.is_first:
            cluster.make_group(range(2))
            return None
        with pytest.raises(ExchangeError, match="an exchange with other ranks failed: ") as caught:
            share(cluster, lambda: None)
        return str(caught.value)

    _, line = values(run_ranks(act, limit_s=1.0))
    assert "\n" not in line
