import pytest

from exastorm.parallel.control.settings import ControlSettings
from exastorm.performance.control_model import (
    ControlCosts,
    ControlSimulation,
    negotiated_and_cached,
)

AT_ONCE = ControlCosts(latency_s=5e-6, handling_s=1e-6, step_s=0.0, jitter_s=0.0)
APART = ControlCosts(latency_s=5e-6, handling_s=1e-6, step_s=1.0, jitter_s=0.0)


def run(num_ranks, num_buckets, radix, costs, num_steps=1, batch_s=0.0, **arguments):
    settings = ControlSettings(radix=radix, batch_s=batch_s)
    simulation = ControlSimulation(num_ranks, num_buckets, settings, costs, **arguments)
    return simulation, [simulation.run_step() for _ in range(num_steps)][-1]


@pytest.mark.parametrize(("radix", "num_ranks"), [(2, 31), (4, 85), (8, 73), (3, 40)])
def test_agreement_in_a_full_tree_takes_as_long_as_the_formula_says(radix, num_ranks):
    # Full trees: 1 + 2 + .. + 16 = 31, 1 + 4 + 16 + 64 = 85, 1 + 8 + 64 = 73, 1 + 3 + 9 + 27 = 40.
    _, traffic = run(num_ranks, 1, radix, AT_ONCE)
    a, m = AT_ONCE.latency_s, AT_ONCE.handling_s
    expected = 2 * (traffic.depth - 1) * (a + (radix + 1) * m)
    assert traffic.agreement_s == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("num_ranks", [2, 50, 3000])
def test_flat_tree_takes_as_long_as_the_formula_says(num_ranks):
    _, traffic = run(num_ranks, 1, 0, AT_ONCE)
    expected = 2 * (AT_ONCE.latency_s + num_ranks * AT_ONCE.handling_s)
    assert traffic.agreement_s == pytest.approx(expected, rel=1e-9)
    assert traffic.busiest_s == pytest.approx(2 * (num_ranks - 1) * 1e-6)


@pytest.mark.parametrize("radix", [2, 4, 0])
def test_packets_of_a_negotiated_step(radix):
    # Buckets 0.1 s apart: each travels alone. 200 ranks, 11 buckets.
    simulation, traffic = run(200, 11, radix, APART)
    num_children = [len(simulation.tree.children(rank)) for rank in range(200)]
    assert traffic.mean_received * 200 == pytest.approx(2 * 11 * 199)
    assert traffic.root_received == traffic.root_sent == 11 * num_children[0]
    assert traffic.max_received == 11 * max(num_children[0], 1 + max(num_children[1:]))
    assert traffic.max_received <= 11 * ((radix or 199) + 1)


@pytest.mark.parametrize("radix", [2, 4, 0])
def test_packets_of_a_cached_step(radix):
    # The order is static from the first step; the fifth is cached.
    simulation, traffic = run(200, 11, radix, APART, num_steps=5)
    assert traffic.mean_received * 200 == pytest.approx(2 * 199)
    assert traffic.root_received == traffic.root_sent == len(simulation.tree.children(0))


def test_shuffled_orders_are_agreed_and_never_cached():
    _, traffic = run(60, 9, 4, ControlCosts(), num_steps=6, is_shuffled=True)
    assert traffic.mean_received > 2


def test_batching_saves_packets():
    # 99 buckets over 0.1 s, 1 ms apart: every 2 ms two of them travel together, about 50 packets
    # up and 50 down for each rank in place of 99.
    costs = ControlCosts(step_s=0.098, jitter_s=0.0)
    _, alone = run(100, 99, 4, costs)
    _, together = run(100, 99, 4, costs, batch_s=0.002)
    assert alone.mean_received * 100 == 2 * 99 * 99
    assert together.mean_received * 100 == pytest.approx(2 * 50 * 99, rel=0.03)


def test_costs_and_seed_change_the_result():
    # Each option has an effect.
    close = {"step_s": 1e-4, "jitter_s": 1e-5}  # packets meet one another
    _, usual = run(60, 5, 4, ControlCosts(**close), is_shuffled=True)
    for change in (
        {"latency_s": 1e-4},
        {"handling_s": 1e-4},
        {"jitter_s": 0.0},
        {"seed": 1},
        {"step_s": 0.0},
    ):
        _, changed = run(60, 5, 4, ControlCosts(**close | change), is_shuffled=True)
        assert changed != usual, change
    assert run(60, 5, 4, ControlCosts(**close), is_shuffled=True)[1] == usual, (
        "the same seed gives the same run"
    )
    with pytest.raises(ValueError, match=r"latency_s must be at least 0, got -1"):
        ControlCosts(latency_s=-1)


def test_tree_beats_the_flat_coordinator():
    rows = [negotiated_and_cached(2000, 5, radix, ControlCosts(), 0.0) for radix in (2, 4, 8, 0)]
    assert [negotiated.radix for negotiated, _ in rows] == [2, 4, 8, 0]
    *trees, (flat, flat_cached) = rows
    for negotiated, cached in trees:
        assert negotiated.max_handled <= 2 * 5 * (negotiated.radix + 1)
        assert negotiated.agreement_s < flat.agreement_s / 10
        assert cached.max_handled <= 2 * (negotiated.radix + 1)
    # 1999 ranks, at most one packet for each bucket: ready buckets of a busy root travel together.
    assert flat.root_received == 5 * 1999
    assert flat_cached.root_received == 1999


@pytest.mark.slow
def test_summit():
    # 27,360 ranks as in the paper, 99 tensors, radix 4: the busiest rank receives at most five
    # packets for each; a flat coordinator 27,359.
    _, traffic = run(27_360, 99, 4, ControlCosts(), batch_s=0.002)
    assert traffic.depth == 9
    assert traffic.max_received <= 5 * 99
    assert traffic.root_received <= 4 * 99
