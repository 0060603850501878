"""What auto chose: told once, and kept to by a run that is started again, which so adds alike.

Ranks are threads of the test, which learn a small layer for a step.
"""

import io
import re

import pytest
import torch
from tests.parallel.made_ranks import LIMIT_S, run_ranks, values
from torch import nn

from exastorm.parallel.allreduce import choosing
from exastorm.parallel.allreduce.choosing import ChosenAllReduce
from exastorm.parallel.allreduce.family import AllReduceSettings
from exastorm.parallel.allreduce.flat import FlatAllReduce
from exastorm.parallel.control.settings import ControlSettings
from exastorm.parallel.world import World
from exastorm.train import together as module
from exastorm.train.together import ExchangeSettings, Together

PEACE = ControlSettings(stall_s=100.0, hang_s=200.0, connect_s=LIMIT_S)

AUTO, FLAT = AllReduceSettings(kind="auto"), AllReduceSettings(kind="flat")

# bfloat16 holds 8 bits, of 1 + 2^-9 only the 1; three ranks add theirs.
EXACT, ROUNDED = 3.0 + 3 * 2**-9, 3.0


class Exact(FlatAllReduce):
    """A ring."""


class Rounded(FlatAllReduce):
    """One that rounds otherwise."""

    def start(self, buffer):
        return super().start(buffer.copy_(buffer.bfloat16()))


WAYS = {"exact": Exact, "rounded": Rounded}


def make_way(cluster, settings, timeout_s):
    """Auto chooses between the two."""
    if settings.kind == "flat":
        return Exact(cluster, settings.wire)
    ways = {name: way(cluster, settings.wire) for name, way in WAYS.items()}
    return ChosenAllReduce(ways, cluster, settings)


def lines_of(capfd):
    return [line for line in capfd.readouterr().err.splitlines() if "all-reduce" in line]


@pytest.fixture
def attempt(monkeypatch, capfd):
    """Take a step on three ranks, where one way is measured to be the fastest.

    Gives the gradient of a weight, the state in the checkpoint after it, and lines of all-reduce.
    """
    monkeypatch.setattr(module, "make_allreduce", make_way)

    def run(fastest, state=None, placement=(0, 0, 0), allreduce=AUTO):
        def act(cluster):
            cluster.world = World(rank=cluster.world.rank, placement=placement)
            network, x = nn.Linear(2, 3), torch.full((1, 2), 1.0 + 2**-9)
            settings = ExchangeSettings(allreduce=allreduce)
            together = Together(cluster, network, settings, PEACE, LIMIT_S)
            together.load_state_dict(state)
            with together:
                together.begin()
                together.exchange.learn(
                    [lambda: torch.autograd.grad(network(x).sum(), list(network.parameters()))],
                    lambda: [torch.tensor(1.0)] * module.NUM_EXTRA,
                )
                file = io.BytesIO()
                torch.save(together.state_dict(), file)
            file.seek(0)
            return network.weight.grad[0, 0].item(), torch.load(file, weights_only=True)

        made_ms = {WAYS[fastest]: 1.0}
        monkeypatch.setattr(choosing, "median_ms", lambda way, *_: made_ms.get(type(way), 2.0))
        results = values(run_ranks(act, 3))
        assert len({gradient for gradient, _ in results}) == 1
        return *results[0], lines_of(capfd)

    return run


def test_what_auto_chose_is_told_once(capfd, monkeypatch):
    def act(cluster):
        settings = ExchangeSettings(allreduce=AUTO)
        with Together(cluster, nn.Linear(2, 3), settings, PEACE, LIMIT_S) as together:
            together.begin()

    monkeypatch.setattr(module, "make_allreduce", make_way)
    assert run_ranks(act) == [None, None]
    # Four sizes are tried, 4 kB to 8 MB, and each goes one of two ways.
    lines = lines_of(capfd)
    assert len(lines) == 1
    assert re.match(r"exastorm: all-reduce: from 0.004 MB (exact|rounded), ", lines[0])
    assert lines[0].count("from ") == 4
    assert "restart" not in lines[0]


def test_a_restarted_run_keeps_to_what_auto_chose(attempt):
    gradient, state, lines = attempt("rounded")
    assert gradient == ROUNDED
    assert [line.endswith("rounded") for line in lines] == [True]
    # The other is faster now; also the checkpoint after this one holds the first choice.
    for _ in range(2):
        gradient, state, lines = attempt("exact", state)
        assert gradient == ROUNDED
        assert [line.endswith("MB rounded, as before the restart") for line in lines] == [True]


def test_on_other_nodes_auto_chooses_anew(attempt):
    _, state, _ = attempt("rounded")
    gradient, state, lines = attempt("exact", state, placement=(0, 0, 1))
    assert gradient == EXACT
    assert [line.endswith("exact") for line in lines] == [True]
    # And keeps to that.
    gradient, _, _ = attempt("rounded", state, placement=(0, 0, 1))
    assert gradient == EXACT


def test_a_kind_that_is_named_wins(attempt):
    _, chosen, _ = attempt("rounded")
    gradient, state, lines = attempt("rounded", chosen, allreduce=FLAT)
    assert (gradient, state["allreduce"], lines) == (EXACT, None, [])
    # Nothing was chosen, so nothing is kept to.
    gradient, _, _ = attempt("rounded", state)
    assert gradient == ROUNDED


def test_a_checkpoint_without_a_choice_goes_on(attempt):
    _, state, _ = attempt("rounded")
    del state["allreduce"]
    gradient, _, lines = attempt("exact", state)
    assert gradient == EXACT
    assert "restart" not in lines[0]
