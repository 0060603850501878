"""A lag of one step: the weights follow the gradients of the step before, and nothing else changes.

The same training is written down in five lines here: take gradients at the weights as they are, and
change the weights by those of the step before. All that training does with lag must come to the
same bits.
"""

from functools import partial

import pytest
import torch
from tests.train.conftest import changed, last_weights, same
from tests.train.test_loop import SHORT

from exastorm.parallel.cluster import Cluster
from exastorm.train.loop import Trainer
from exastorm.train.optimizer import OptimizerSettings
from exastorm.train.run import train
from exastorm.train.workers import part_seed


def learn_late(self, batch):
    """`Trainer.learn` without an exchange: hand out what was found a step before."""
    seed = partial(part_seed, self.settings.seed, self.step_number, 0)
    loss = self.workers.forward_backward(batch, seed)
    found = [weight.grad.clone() for weight in self.network.parameters()]
    before, self.found = getattr(self, "found", None), (found, loss, batch.total_weight)
    if before is None:
        return False
    gradients, self.loss, self.weight = before
    for weight, gradient in zip(self.network.parameters(), gradients, strict=True):
        weight.grad = gradient
    return True


@pytest.mark.parametrize(
    "optimizer",
    [
        OptimizerSettings(),
        OptimizerSettings(larc="clip", trust=0.004),
        OptimizerSettings(name="sgd", clip_norm=0.1),
    ],
    ids=["adam", "larc", "clipped"],
)
@pytest.mark.parametrize("part_size", [None, 1])
def test_lag_is_gradients_of_the_step_before(samples, tmp_path, monkeypatch, optimizer, part_size):
    settings = changed(SHORT, optimizer=optimizer, part_size=part_size)
    train(samples, tmp_path / "late", changed(settings, exchange__lag=1), Cluster.alone())
    train(samples, tmp_path / "now", settings, Cluster.alone())
    monkeypatch.setattr(Trainer, "learn", learn_late)
    train(samples, tmp_path / "written", settings, Cluster.alone())
    late, written = last_weights(tmp_path / "late"), last_weights(tmp_path / "written")
    if part_size is None:
        assert same(late, written)
    for name, weight in late.items():
        # Parts of a batch are added in the buckets one by one, and else side by side.
        torch.testing.assert_close(weight, written[name], rtol=1e-3, atol=1e-4)
    assert not same(late, last_weights(tmp_path / "now"))
