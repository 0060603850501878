import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from exastorm.networks import bands, recompute
from exastorm.networks.build import NetworkSettings, build_network


def gradients(network, fields):
    logits = network(fields)
    return logits, torch.autograd.grad(logits.square().mean(), list(network.parameters()))


@pytest.mark.parametrize("variant", ["modern", "paper"])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_cheap_activations_computed_again_change_nothing(monkeypatch, variant, norm):
    if (variant, norm) == ("paper", "batch"):
        pytest.skip("the paper's networks have no norm")
    torch.manual_seed(1)
    network = build_network(NetworkSettings(variant=variant, norm=norm), 3, 3, 32).train()
    fields = torch.randn(2, 3, 16, 32)
    buffers = {name: b.clone() for name, b in network.named_buffers()}
    logits, kept = gradients(network, fields)
    after = {name: b.clone() for name, b in network.named_buffers()}
    for name, buffer in network.named_buffers():
        buffer.copy_(buffers[name])
    monkeypatch.setattr(recompute, "LARGE_BYTES", 0)
    monkeypatch.setattr(recompute, "LARGE_CHANNELS", 0)
    logits_again, again = gradients(network, fields)
    assert torch.equal(logits, logits_again)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))
    # Statistics of batch norms count the batch once.
    assert all(torch.equal(after[name], b) for name, b in network.named_buffers())


def in_bands(x, weight):
    return bands.convolve_in_bands([x], weight, None, (0, 0))


@pytest.mark.parametrize("convolve", [functional.conv2d, in_bands])
def test_the_convolution_itself_is_not_done_again(monkeypatch, convolve):
    monkeypatch.setattr(recompute, "LARGE_BYTES", 0)
    monkeypatch.setattr(recompute, "LARGE_CHANNELS", 0)
    weight = torch.randn(4, 3, 1, 3, requires_grad=True)
    activations = []

    def stage(x):
        activations.append(x)
        return convolve(functional.silu(x), weight)

    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        recompute.before_convolution(stage, x).sum().backward()
    assert len(activations) == 2
    # Forward, and a gradient of x and of the weights: 3 x 2 x 48 places x 4 x 3 x 3 = 10,368.
    assert counter.get_total_flops() == 10_368


def kept_bytes(work):
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = work()
    return sum(kept.values()), result


def test_large_maps_are_not_kept_for_cheap_operations(monkeypatch):
    # 4 x 64 x 64 floats are 65,536 bytes; silu keeps its input, the convolution silu's output.
    weight = torch.randn(4, 4, 3, 3)
    x = torch.randn(1, 4, 64, 64, requires_grad=True)

    def stage(x):
        return functional.conv2d(functional.silu(x), weight)

    monkeypatch.setattr(recompute, "LARGE_CHANNELS", 4)
    monkeypatch.setattr(recompute, "LARGE_BYTES", 65_537)
    small, _ = kept_bytes(lambda: recompute.before_convolution(stage, x))
    assert small >= 2 * 65_536
    monkeypatch.setattr(recompute, "LARGE_BYTES", 65_536)
    large, _ = kept_bytes(lambda: recompute.before_convolution(stage, x))
    assert large < 2 * 65_536
    monkeypatch.setattr(recompute, "LARGE_CHANNELS", 5)
    narrow, _ = kept_bytes(lambda: recompute.before_convolution(stage, x))
    assert narrow == small
    monkeypatch.setattr(recompute, "LARGE_CHANNELS", 4)
    with torch.no_grad():
        assert recompute.before_convolution(stage, x).grad_fn is None
