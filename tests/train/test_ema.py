"""The moving average of the weights."""

import pytest
import torch
from torch import nn

from exastorm.train.ema import WeightAverage


def make_network(value=0.0):
    network = nn.Linear(1, 1, bias=False)
    set_weight(network, value)
    return network


def set_weight(network, value):
    with torch.no_grad():
        network.weight.fill_(value)


def averaged(network, average):
    with average.swapped():
        return network.weight.item()


def test_it_forgets_fast_at_first():
    # Decays 1/10, 2/11: 0.9 x 1 = 0.9, then 2/11 x 0.9 + 9/11 x 2 = 1.8.
    network = make_network()
    average = WeightAverage(network, 0.999)
    set_weight(network, 1.0)
    average.update()
    assert averaged(network, average) == pytest.approx(0.9)
    set_weight(network, 2.0)
    average.update()
    assert averaged(network, average) == pytest.approx(1.8)


def test_it_keeps_the_decay_it_was_given():
    # 1/10 is above the decay 0.05 already: 0.95 x 1, then 0.05 x 0.95 + 0.95 x 2 = 1.9475.
    network = make_network()
    average = WeightAverage(network, 0.05)
    for value in (1.0, 2.0):
        set_weight(network, value)
        average.update()
    assert averaged(network, average) == pytest.approx(1.9475)


def test_a_skipped_step_changes_nothing():
    network = make_network()
    average, other = WeightAverage(network, 0.9), WeightAverage(network, 0.9)
    for value, skipped in ((1.0, False), (2.0, True), (3.0, False)):
        set_weight(network, value)
        average.update(torch.tensor(skipped))
        if not skipped:
            other.update()
    assert averaged(network, average) == averaged(network, other)


def test_the_weights_come_back_even_after_an_error():
    network = make_network()
    average = WeightAverage(network, 0.9)
    set_weight(network, 0.3)
    before = network.weight.detach().clone()

    def fail():
        with average.swapped():
            assert network.weight.item() == 0.0
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert torch.equal(network.weight, before)
    assert network.weight.requires_grad


def test_statistics_of_batch_norm_are_averaged():
    network = nn.BatchNorm1d(2)
    average = WeightAverage(network, 0.5)
    with torch.no_grad():
        network.running_mean.fill_(1.0)
    average.update()
    with average.swapped():
        # Decay 1/10: 0.9 of the new.
        assert network.running_mean.tolist() == pytest.approx([0.9, 0.9])
        assert network.num_batches_tracked.item() == 0


def test_a_saved_average_goes_on_exactly():
    network = make_network()
    average, other = WeightAverage(network, 0.99), WeightAverage(network, 0.99)
    for step in range(4):
        set_weight(network, float(step) ** 0.5)
        average.update()
    other.load_state_dict(average.state_dict())
    set_weight(network, 7.0)
    for each in (average, other):
        each.update()
    assert averaged(network, average) == averaged(network, other)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, float("nan")])
def test_the_decay_is_checked(decay):
    with pytest.raises(ValueError, match="decay must be between 0 and 1, got"):
        WeightAverage(make_network(), decay)
