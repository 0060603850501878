"""Dropout: as many zeros as asked for, and masks that can be had again."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from exastorm.networks.dropout import Dropout, mask_state, masks_from, seed_dropout


def masks(seed: int, rate: float = 0.2, num: int = 1000) -> torch.Tensor:
    seed_dropout(seed)
    return Dropout(rate)(torch.ones(num))


def test_a_share_is_dropped_and_the_mean_stays():
    dropped = masks(1, rate=0.2, num=1_000_000)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1.25], rel=1e-4)
    # Spread of the share of a million draws: sqrt(0.2 x 0.8 / 1e6) = 0.0004.
    assert (dropped == 0).double().mean().item() == pytest.approx(0.2, abs=0.002)
    assert dropped.double().mean().item() == pytest.approx(1.0, abs=0.0025)


def test_neighbors_are_drawn_apart():
    # Four values share one draw of 64 bits: the correlation of neighbors at any of the distances
    # within it must vanish, to the 1 / sqrt(1e6) = 0.001 that chance allows.
    kept = (masks(2, rate=0.5, num=1_000_000) > 0).double() - 0.5
    for distance in (1, 2, 3, 4):
        assert abs((kept[:-distance] * kept[distance:]).mean().item() / 0.25) < 0.005


@pytest.mark.parametrize("num", [1, 2, 3, 5])
def test_any_number_of_values(num):
    assert masks(0, num=num).shape == (num,)


def test_the_seed_alone_decides():
    assert torch.equal(masks(5), masks(5))
    assert not torch.equal(masks(5), masks(6))
    torch.manual_seed(0)
    first = masks(5)
    torch.manual_seed(1)
    assert torch.equal(masks(5), first)


def test_threads_do_not_disturb_one_another():
    def draw_thrice(seed):
        seed_dropout(seed)
        layer = Dropout(0.5)
        return torch.stack([layer(torch.ones(50_000)) for _ in range(3)])

    with ThreadPoolExecutor(2) as executor:
        together = list(executor.map(draw_thrice, [1, 2, 3, 4]))
    for seed, found in zip([1, 2, 3, 4], together, strict=True):
        assert torch.equal(found, draw_thrice(seed))
    assert not torch.equal(together[0][0], together[0][1])


def test_a_thread_that_was_never_seeded_follows_torch():
    def draw(seed):
        torch.manual_seed(seed)
        assert mask_state() is None
        with masks_from(None):
            return Dropout(0.5)(torch.ones(1000))

    with ThreadPoolExecutor(1) as executor:
        first, second, again = executor.map(draw, [1, 2, 1])
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_masks_of_before_and_then_on_as_if_nothing_had_been():
    layer, x = Dropout(0.5), torch.ones(1000)
    seed_dropout(3)
    state = mask_state()
    first = layer(x)
    with masks_from(state):
        assert torch.equal(layer(x), first)
    second = layer(x)
    seed_dropout(3)
    assert torch.equal(torch.stack([layer(x), layer(x)]), torch.stack([first, second]))


def test_masks_of_another_thread():
    seed_dropout(4)
    state = mask_state()

    def draw():
        with masks_from(state):
            drawn = Dropout(0.5)(torch.ones(1000))
        assert mask_state() is None
        return drawn

    with ThreadPoolExecutor(1) as executor:
        drawn = executor.submit(draw).result()
    assert torch.equal(drawn, masks(4, rate=0.5))


def test_evaluation_drops_only_where_told():
    x = torch.ones(100)
    assert Dropout(0.5).eval()(x) is x
    assert (Dropout(0.5, always=True).eval()(x) == 0).any()
    assert Dropout(0.0, always=True)(x) is x


def test_gradients_pass_where_values_do():
    x = torch.ones(100, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_it_traces():
    seed_dropout(1)
    x = torch.ones(1000)
    traced = torch.compile(Dropout(0.5), backend="eager", fullgraph=True)(x)
    assert torch.equal(traced, masks(1, rate=0.5))
    assert "rate=0.5" in repr(Dropout(0.5))


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ValueError, match=f"rate must be from 0 to 0.99, got {rate}"):
        Dropout(rate)
