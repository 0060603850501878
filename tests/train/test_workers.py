"""Parts of a batch side by side learn what the whole batch learns."""

import pytest
import torch

from exastorm.networks.deeplab import DeepLab
from exastorm.networks.losses import soft_cross_entropy, weighted_cross_entropy
from exastorm.samples.dataset import Batch
from exastorm.train.device import plan_compute
from exastorm.train.settings import TrainSettings
from exastorm.train.workers import BatchWorkers, cut


def batch(num_samples=3, soft=False):
    generator = torch.Generator().manual_seed(0)
    size = (num_samples, 16, 24)
    weight_size = (num_samples, 3, 16, 24) if soft else size
    scale = torch.tensor([1.0, 10.0, 0.1])[:num_samples].reshape(-1, *[1] * (len(weight_size) - 1))
    return Batch(
        field=torch.randn(num_samples, 2, 16, 24, generator=generator, dtype=torch.float64),
        label=torch.randint(0, 3, size, generator=generator),
        # Samples of very different weight: parts must not be averaged as if they were alike.
        weight=torch.rand(weight_size, generator=generator) * scale,
    )


def whole_loss(logits, whole):
    if whole.is_soft:
        return soft_cross_entropy(logits, whole.weight)
    return weighted_cross_entropy(logits, whole.label, whole.weight)


@pytest.mark.parametrize(
    ("num_workers", "soft"), [(1, False), (2, False), (3, False), (8, False), (1, True), (2, True)]
)
def test_gradients_are_those_of_the_whole_batch(num_workers, soft):
    torch.manual_seed(0)
    network = DeepLab(2, 3, 24, "compact").double()
    whole = batch(soft=soft)
    loss = whole_loss(network(whole.field), whole)
    expected = torch.autograd.grad(loss, list(network.parameters()))
    with BatchWorkers(num_workers, threads_each=1) as workers:
        got = workers.forward_backward(network, whole)
    assert got == pytest.approx(loss.item(), rel=1e-5)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        # The loss is in single precision.
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_cut_keeps_every_sample_once():
    parts = cut(batch(), 2)
    assert [len(p.field) for p in parts] == [2, 1]
    assert torch.equal(torch.cat([p.label for p in parts]), batch().label)
    assert len(cut(batch(), 8)) == 3


@pytest.mark.parametrize(
    ("num_threads", "batch_size", "expected"),
    [(1, 4, (1, 1)), (2, 1, (1, 2)), (2, 4, (2, 1)), (16, 4, (4, 4)), (9, 4, (4, 2))],
)
def test_samples_get_threads_first(num_threads, batch_size, expected):
    settings = TrainSettings(num_threads=num_threads, batch_size=batch_size, device="cpu")
    plan = plan_compute(settings)
    assert (plan.num_workers, plan.threads_each) == expected


def test_deterministic_means_one_thread_unless_told():
    plan = plan_compute(TrainSettings(deterministic=True, batch_size=4, device="cpu"))
    assert (plan.num_workers, plan.threads_each) == (1, 1)
    told = plan_compute(
        TrainSettings(deterministic=True, batch_size=4, num_threads=2, device="cpu")
    )
    assert told.num_workers == 2
