"""Sums over emulated nodes: right, and in as many bytes as each way needs."""

import json

import pytest
from tests.performance.needs_fabric import needs_fabric

from exastorm.cli.benches.exchange import exchange_text
from exastorm.cli.main import main
from exastorm.performance.exchange import ExchangeBenchSettings, bench_exchange

SIZE_MB = 8.0
"""Large enough that 1 % of what is sent, 80 kB, is more than the ranks say beside it."""


@pytest.fixture(scope="module", params=["blocks", "round_robin"])
def found(request):
    """Figures of each way, with 2 ranks on each of 2 nodes."""
    settings = ExchangeBenchSettings(
        num_nodes=2,
        ranks_per_node=2,
        placement=request.param,
        rate_mbit=2000.0,
        sizes_mb=(0.05, SIZE_MB),
        kinds=("flat", "hierarchical", "leader"),
        chunk_mb=1.0,
        num_tries=2,
    )
    return bench_exchange(settings)


def row_of(found, kind, size_mb=SIZE_MB):
    """The figures of one way."""
    return next(r for r in found["sums"] if r["kind"] == kind and r["size_mb"] == size_mb)


@needs_fabric
def test_all_sums_are_right(found):
    assert [row["num_wrong"] for row in found["sums"]] == [0] * 6


@needs_fabric
@pytest.mark.parametrize("kind", ["hierarchical", "leader"])
def test_two_levels_send_the_least_however_ranks_are_placed(found, kind):
    # Over N nodes at least 2 M (N - 1) / N, here M, must leave each.
    row = row_of(found, kind)
    assert 1.0 <= row["sent_over_least"] <= 1.01
    assert row["sent_mb"] == pytest.approx(row["sent_over_least"] * SIZE_MB)


@needs_fabric
def test_a_ring_sends_more_and_twice_that_where_neighbors_are_apart(found):
    # Each rank sends 2 M (P - 1) / P to its neighbor, of 4 ranks 1.5 M: in blocks one of a node's
    # two has its neighbor elsewhere, dealt out in turn both.
    expected = {"blocks": 1.5, "round_robin": 3.0}[found["placement"]]
    assert row_of(found, "flat")["sent_mb"] == pytest.approx(expected * SIZE_MB, rel=0.02)


@needs_fabric
def test_figures_agree_with_one_another(found):
    assert (found["num_ranks"], found["num_nodes"], found["device"]) == (4, 2, "cpu")
    assert found["links"] == "emulated, 2000 Mbit/s each way"
    for row in found["sums"]:
        flat = row_of(found, "flat", row["size_mb"])
        # The least is M here: 8 M bits through 2000 Mbit/s.
        assert row["bound_ms"] == pytest.approx(4.0 * row["size_mb"])
        assert row["share_of_wire"] == pytest.approx(row["bound_ms"] / row["time_ms"])
        assert row["times_flat"] == pytest.approx(flat["time_ms"] / row["time_ms"])
    lines = exchange_text(found).splitlines()
    order = found["placement"].replace("_", " ")
    assert lines[0].startswith(f"4 ranks (cpu) on 2 nodes, {order}; links: emulated, 2000 Mbit/s")
    assert [line.split()[0] for line in lines[1:]] == ["kind"] + [r["kind"] for r in found["sums"]]


@needs_fabric
def test_ranks_meet_over_links_with_a_delay():
    settings = ExchangeBenchSettings(
        num_nodes=2, ranks_per_node=1, delay_ms=5.0, sizes_mb=(0.004,), kinds=("leader",)
    )
    found = bench_exchange(settings)
    row = found["sums"][0]
    assert found["links"] == "emulated, 5 ms from node to node"
    assert (row["num_wrong"], row["bound_ms"], row["share_of_wire"]) == (0, None, None)
    # A number can't be on both nodes before one message's time is over.
    assert row["time_ms"] >= 5.0
    assert row["times_flat"] is None


def test_ranks_of_this_machine_as_it_is(capsys):
    argv = ["bench", "exchange", "--exchange.no-emulate", "--exchange.num-nodes", "2"]
    argv += ["--exchange.ranks-per-node", "1", "--exchange.sizes-mb", "0.1"]
    argv += ["--exchange.wire", "bfloat16", "--exchange.num-tries", "1", "--json"]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["links"] == "this machine's own, not shaped"
    assert [row["kind"] for row in found["sums"]] == ["flat", "hierarchical"]
    for row in found["sums"]:
        assert row["sent_mb"] is None
        assert row["share_of_wire"] is None
        # Integers up to 503, of which bfloat16 has all up to 256 (8 bits): larger ones are rounded.
        assert 0 < row["num_wrong"] < 50_000
    assert "   -" in exchange_text(found)


def test_one_rank_has_nothing_to_send(capsys):
    argv = ["bench", "exchange", "--exchange.no-emulate", "--exchange.num-nodes", "1"]
    argv += ["--exchange.ranks-per-node", "1", "--exchange.sizes-mb", "0.1"]
    assert main([*argv, "--exchange.kinds", "auto"]) == 0
    out = capsys.readouterr().out
    assert "1 ranks (cpu) on 1 nodes" in out
    assert "fastest for 0.1 MB: auto" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_nodes": 0}, "num_nodes must be at least 1, got 0"),
        ({"num_tries": 0}, "num_tries must be at least 1, got 0"),
        ({"kinds": ("ring",)}, "kinds must be among auto, flat, hierarchical, leader, got ring"),
        ({"sizes_mb": (0.0,)}, "sizes_mb must be positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ExchangeBenchSettings(**change)
