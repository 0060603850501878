"""Ranks of a benchmark: each where it belongs, and a failure is told."""

import pytest

from exastorm.errors import InputError
from exastorm.performance.ranks import RankSettings, node_of_ranks, run_ranks


def test_ranks_that_fail_say_why():
    settings = RankSettings(num_nodes=1, ranks_per_node=2, emulate=False)
    with pytest.raises(InputError, match=r"rank [01] of the benchmark must end well, got: KeyErr"):
        run_ranks("exastorm.performance.exchange_rank", {}, settings)


def test_ranks_are_placed_as_asked_for():
    blocks = RankSettings(num_nodes=3, ranks_per_node=2)
    assert node_of_ranks(blocks) == [0, 0, 1, 1, 2, 2]
    dealt = RankSettings(num_nodes=3, ranks_per_node=2, placement="round_robin")
    assert node_of_ranks(dealt) == [0, 1, 2, 0, 1, 2]


def test_links_are_described_as_they_are():
    assert RankSettings(rate_mbit=400.0).links() == "emulated, 400 Mbit/s each way"
    assert RankSettings(rate_mbit=400.0).shaped_mbit == 400.0
    delayed = RankSettings(delay_ms=2.0)
    assert (delayed.links(), delayed.shaped_mbit) == ("emulated, 2 ms from node to node", None)
    plain = RankSettings(emulate=False)
    assert (plain.links(), plain.shaped_mbit) == ("this machine's own, not shaped", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_nodes": 0}, "num_nodes must be at least 1, got 0"),
        ({"placement": "heap"}, "placement must be one of blocks, round_robin, got 'heap'"),
        ({"device": "tpu"}, "device must be one of cpu, cuda, got 'tpu'"),
        ({"device": "cuda"}, "device must be cpu on emulated nodes, got 'cuda'"),
        ({"emulate": False, "placement": "round_robin"}, "placement must be blocks without"),
        ({"emulate": False, "delay_ms": 1.0}, r"delay_ms must be None without emulation, got 1\.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        RankSettings(**change)
