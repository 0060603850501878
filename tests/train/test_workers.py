"""Parts of a batch side by side learn what the whole batch learns."""

import pytest
import torch

from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.losses import LossSettings, soft_cross_entropy, weighted_cross_entropy
from exastorm.samples.batch import Batch
from exastorm.train.device import ComputeSettings, plan_compute
from exastorm.train.workers import BatchWorkers, cut, part_seed


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


def workers(network, num_workers, part_size=None, loss=None):
    plan = plan_compute(ComputeSettings(device="cpu", num_threads=num_workers), num_workers)
    return BatchWorkers(
        network, list(network.parameters()), loss or LossSettings(), plan, torch.ones(3), part_size
    )


@pytest.mark.parametrize(
    ("num_workers", "part_size", "soft"),
    [
        (1, None, False),
        (2, None, False),
        (3, None, False),
        (8, None, False),
        (1, 1, False),
        (1, 2, False),
        (2, 1, False),
        (1, None, True),
        (2, None, True),
        (2, 1, True),
    ],
)
def test_gradients_are_those_of_the_whole_batch(num_workers, part_size, soft):
    torch.manual_seed(0)
    network = build_network(NetworkSettings(), 2, 3, 24).double()
    whole = batch(soft=soft)
    loss = whole_loss(network(whole.field), whole)
    expected = torch.autograd.grad(loss, list(network.parameters()))
    with workers(network, num_workers, part_size) as threads:
        got = threads.forward_backward(whole, lambda part: part)
    assert got.item() == pytest.approx(loss.item(), rel=1e-5)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        # The loss is in single precision.
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("part_size", [None, 1])
def test_overlap_terms_add_over_parts(part_size):
    torch.manual_seed(0)
    network = build_network(NetworkSettings(), 2, 3, 24)
    whole = Batch(*(t.float() if t.is_floating_point() else t for t in batch()))
    losses = []
    for size in (3, part_size):
        with workers(network, 1, size, LossSettings(overlap="dice")) as threads:
            losses.append(threads.forward_backward(whole, lambda part: part).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_the_number_of_parts_bounds_their_size():
    network = build_network(NetworkSettings(), 2, 3, 24)
    for num_workers, part_size, num_samples, expected in (
        (1, None, 5, 1),  # one worker takes all
        (2, None, 5, 2),
        (2, 2, 5, 3),  # 2, 2, 1
        (2, 9, 5, 2),  # as many as there are workers
        (8, None, 5, 5),  # no part is empty
    ):
        with workers(network, num_workers, part_size) as threads:
            assert threads.num_parts(num_samples) == expected


def test_dropout_hangs_on_step_and_part_alone():
    seeds = {
        part_seed(seed, step, rank, part)
        for seed in (0, 1) for step in (0, 1) for rank in (0, 1) for part in (0, 1)
    }  # fmt: skip
    assert len(seeds) == 16
    assert all(0 <= seed < 2**63 for seed in seeds)
    network = build_network(NetworkSettings(name="tiramisu", dropout=0.5), 2, 3, 24).train()
    whole = Batch(*(t.float() if t.is_floating_point() else t for t in batch()))
    losses = {}
    for step in (0, 1, 0):
        with workers(network, 2) as threads:
            loss = threads.forward_backward(whole, lambda part, s=step: part_seed(0, s, 0, part))
        # A step that is done again drops the same features.
        assert losses.setdefault(step, loss.item()) == loss.item()
    assert losses[0] != losses[1]


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
    settings = ComputeSettings(num_threads=num_threads, device="cpu")
    plan = plan_compute(settings, batch_size)
    assert (plan.num_workers, plan.threads_each) == expected
    alone = plan_compute(settings, batch_size, one_worker=True)
    assert (alone.num_workers, alone.threads_each) == (1, num_threads)


def test_deterministic_means_one_thread_unless_told():
    plan = plan_compute(ComputeSettings(deterministic=True, device="cpu"), 4)
    assert (plan.num_workers, plan.threads_each) == (1, 1)
    told = plan_compute(ComputeSettings(deterministic=True, num_threads=2, device="cpu"), 4)
    assert told.num_workers == 2
