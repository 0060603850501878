"""Group norm written out: the same values, also where groups are large."""

import pytest
import torch

from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.export import onnx_bytes, onnx_run
from exastorm.networks.rowwise_norm import RowwiseNorm, with_rowwise_norms
from exastorm.networks.style import GroupNorm


@pytest.mark.parametrize("activation", ["relu", "silu", "none"])
@pytest.mark.parametrize("num_channels", [16, 12])  # two groups; one, for 8 does not divide 12
def test_the_same_as_group_norm(num_channels, activation):
    torch.manual_seed(0)
    norm = GroupNorm(num_channels, activation)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = 3.0 + 2.0 * torch.randn(2, num_channels, 10, 14, dtype=torch.float64)
    norm = norm.double()
    with torch.no_grad():
        torch.testing.assert_close(RowwiseNorm(norm)(x), norm(x), rtol=1e-12, atol=1e-12)


def test_every_norm_of_a_network_is_replaced():
    network = build_network(NetworkSettings(), 2, 3, 48).eval()
    fields = torch.randn(1, 2, 32, 48)
    with torch.no_grad():
        before = network(fields)
        after = with_rowwise_norms(network)(fields)
    held = [m for m in network.modules() if isinstance(m, RowwiseNorm)]
    assert len(held) == sum(isinstance(m, GroupNorm) for m in network.modules()) > 10
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_onnx_runtime_is_exact_on_large_groups():
    # A group of 8 x 768 x 1152 values with a mean: the runtime's own norm is off by 1e-3.
    pytest.importorskip("onnxruntime", reason="ONNX: pip install 'exastorm[onnx]'")
    torch.manual_seed(0)
    x = torch.relu(torch.randn(1, 8, 768, 1152) + 1.0)
    program = torch.export.export(RowwiseNorm(GroupNorm(8, "none")).eval(), (x,))
    with torch.no_grad():
        found = onnx_run(onnx_bytes(program, "{}"))(x)
    exact = torch.nn.functional.group_norm(x.double(), 1)
    assert float((found - exact).abs().max()) < 1e-4
