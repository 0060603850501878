"""A network behind torch.compile, and without it where the compiler fails."""

import pytest
import torch
from torch import nn

from exastorm.train import compiling
from exastorm.train.compiling import CompiledForward, forward_of


def test_off_is_the_network_itself():
    network = nn.Conv2d(1, 1, 1)
    assert forward_of(network, "off") is network


# The tracer itself uses what its package calls deprecated.
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")
def test_the_compiled_network_says_what_the_network_says(monkeypatch):
    # torch's "eager" backend traces as every backend does and needs no C++ compiler.
    real = torch.compile
    modes = []

    def compile_eagerly(network, *, dynamic, mode):
        modes.append((dynamic, mode))
        return real(network, dynamic=dynamic, backend="eager")

    monkeypatch.setattr(compiling.torch, "compile", compile_eagerly)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())
    fields = torch.randn(1, 2, 5, 6)
    forward = forward_of(network, "on")
    torch.testing.assert_close(forward(fields), network(fields))
    assert forward.is_compiled
    torch.testing.assert_close(forward_of(network, "cuda_graphs")(fields), network(fields))
    assert modes == [(False, "default"), (False, "reduce-overhead")]


def test_a_compiler_that_fails_is_told_and_done_without(monkeypatch):
    def broken(network, **options):
        def forward(fields):
            raise RuntimeError("no C++ compiler\nand a long trace")

        return forward

    monkeypatch.setattr(compiling.torch, "compile", broken)
    network = nn.Conv2d(2, 3, 3)
    forward = CompiledForward(network)
    fields = torch.randn(1, 2, 5, 6)
    with pytest.warns(
        UserWarning, match=r"torch.compile failed, .* without it: no C\+\+ compiler$"
    ):
        logits = forward(fields)
    assert torch.equal(logits, network(fields))
    assert not forward.is_compiled
    # And no word more.
    assert torch.equal(forward(fields), network(fields))


def test_what_fails_later_is_no_fault_of_the_compiler(monkeypatch):
    def picky(network, **options):
        def forward(fields):
            if fields.shape[-1] != 6:
                raise RuntimeError("out of memory")
            return network(fields)

        return forward

    monkeypatch.setattr(compiling.torch, "compile", picky)
    forward = CompiledForward(nn.Conv2d(2, 3, 3))
    forward(torch.randn(1, 2, 5, 6))
    with pytest.raises(RuntimeError, match="out of memory"):
        forward(torch.randn(1, 2, 5, 7))
