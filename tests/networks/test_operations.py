"""Operations, memory and traffic of networks: figures of the paper, and small cases by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from exastorm.networks.build import NetworkSettings, build_network
from exastorm.networks.layers import Convolution, Deconvolution
from exastorm.networks.operation_rules import convolution_operations, padded_side
from exastorm.networks.operations import count_layers, count_network


def only(table):
    """The one layer of a table that has work."""
    (layer,) = [row for row in table.layers if row.forward_operations]
    return layer


# Kurth et al. 2018, table of operations: 4.188, 3.703 and 14.41 TFLOP a sample; the networks that
# give them have these weights.
@pytest.mark.parametrize(
    ("name", "filters", "num_channels", "dense", "paper", "parameters"),
    [
        ("tiramisu", 64, 16, 4.1878, 4.1878, 7_504_835),
        ("tiramisu", 48, 4, 3.7026, 3.7026, 7_134_211),
        ("deeplabv3plus", None, 16, 13.0242, 14.4103, 43_669_251),
    ],
)
def test_the_papers_figures(name, filters, num_channels, dense, paper, parameters):
    settings = NetworkSettings(name=name, variant="paper", preset="full", filters=filters)
    totals = count_network(settings, num_channels, 3, 768, 1152).totals()
    assert totals["training_tflop_dense"] == pytest.approx(dense, rel=1e-5)
    assert totals["training_tflop_paper"] == pytest.approx(paper, rel=1e-5)
    assert totals["forward_tflop"] * 3 == totals["training_tflop_dense"]
    assert totals["parameters"] == parameters


def test_the_paper_counts_more_where_layers_dilate_or_stride():
    # On 96 x 144, rate 36: (96 + 72) x (144 + 72) = 168 x 216, to multiples of 36 180 x 216, over
    # 96 x 144 = 2.8125. Rates 12 and 24 divide 120 x 168 and 144 x 192: 1.4583 and 2. Rates 4 and
    # 2: 104 x 152 and 100 x 148. The root: 774 x 1158 / (768 x 1152) = 1.0131. The one unit that
    # strides, 3 x 3 on 192 x 288: 194 x 290 / (192 x 288) = 1.0174.
    settings = NetworkSettings(name="deeplabv3plus", variant="paper", preset="full")
    layers = count_network(settings, 16, 3, 768, 1152).layers
    factors = {
        row.name: row.forward_operations_paper / row.forward_operations
        for row in layers
        if row.forward_operations and row.forward_operations_paper != row.forward_operations
    }
    found = sorted({round(factor, 3) for factor in factors.values()})
    assert found == [1.013, 1.017, 1.071, 1.144, 1.458, 2.0, 2.812]
    # Six units of the third block, three of the fourth, three branches, the root, one stride.
    assert len(factors) == 6 + 3 + 3 + 1 + 1
    assert factors["encoder.root"] == pytest.approx(774 * 1158 / (768 * 1152))


@pytest.mark.parametrize("variant", ["paper", "modern"])
@pytest.mark.parametrize("name", ["tiramisu", "deeplabv3plus"])
def test_torchs_own_counter_agrees_on_the_real_network(name, variant):
    # The real network on real numbers. The modern one wraps, and torch counts the columns that
    # only wrap: one more of W for each transposed convolution, 4 for Tiramisu's classifier.
    settings = NetworkSettings(name=name, variant=variant, preset="compact")
    network = build_network(settings, 5, 3, 96).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(torch.randn(1, 5, 64, 96))
    table = count_layers(network, 5, 64, 96)
    wrapped = 0
    for row in table.layers:
        if row.kind == "Deconvolution" and variant == "modern":
            wrapped += row.forward_operations // row.in_shape[3]
    assert counter.get_total_flops() == table.total("forward_operations") + wrapped


@pytest.mark.slow
def test_torchs_own_counter_agrees_at_full_size():
    # On tensors without data, but by torch's own walk through the real network.
    settings = NetworkSettings(name="deeplabv3plus", variant="paper", preset="full")
    with torch.device("meta"):
        network = build_network(settings, 16, 3, 1152).eval()
        fields = torch.empty(1, 16, 768, 1152)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(fields)
    counted = count_network(settings, 16, 3, 768, 1152).total("forward_operations")
    assert counter.get_total_flops() == counted


def test_one_convolution_by_hand():
    # 3 x 3, 4 to 6 channels, on 10 x 12: 2 * 9 * 4 * 6 * 120 operations, 9 * 4 * 6 + 6 weights.
    # Bytes once: (4 * 120 + 222 + 6 * 120) * 4. Nothing follows that would need its output.
    network = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1))
    table = count_layers(network, 4, 10, 12)
    row = only(table)
    assert row.forward_operations == row.forward_operations_paper == 2 * 9 * 4 * 6 * 120
    assert row.parameters == 222
    assert row.moved_bytes == (480 + 222 + 720) * 4
    assert row.activation_bytes == 0
    assert table.input_bytes == 480 * 4
    assert (row.in_shape, row.out_shape) == ((1, 4, 10, 12), (1, 6, 10, 12))
    # No gradient with respect to the fields: two thirds of the training of a first layer.
    assert table.totals()["training_tflop_needed"] == 2 * row.forward_operations / 1e12


def test_wrapping_is_no_work():
    # A wrapped layer counts as one that pads with zeros, though it convolves more columns.
    for wrapped, plain in (
        (Convolution(4, 6, 3, dilation=2), nn.Conv2d(4, 6, 3, dilation=2, padding=2)),
        (Deconvolution(4, 6), nn.ConvTranspose2d(4, 6, 3, stride=2)),
    ):
        ours, theirs = (only(count_layers(m, 4, 8, 12)) for m in (wrapped, plain))
        assert ours.forward_operations == theirs.forward_operations
        assert ours.forward_operations_paper == theirs.forward_operations_paper
    # Transposed: each of 8 x 12 input places meets 9 * 4 * 6 weights.
    assert theirs.forward_operations == 2 * 96 * 9 * 4 * 6


def test_padding_of_tensorflow():
    assert padded_side(96, 3, 1, 1) == 96
    assert padded_side(96, 3, 1, 12) == 120
    assert padded_side(96, 3, 1, 36) == 180  # 168, and on to a multiple of 36
    assert padded_side(384, 7, 2, 1) == 774
    # A 1 x 1 kernel reaches nowhere.
    assert (padded_side(48, 1, 2, 1), padded_side(49, 1, 1, 2)) == (96, 49)
    # One stride or rate may stand for both sides.
    assert convolution_operations((1, 6, 4, 5), (6, 4, 3, 3), [1], [1]) == (8640, 8640)


def test_groups_and_linear_layers_and_resizing():
    grouped = only(count_layers(nn.Conv2d(8, 8, 3, padding=1, groups=8), 8, 4, 6))
    assert grouped.forward_operations == 2 * 9 * 8 * 24
    linear = only(count_layers(nn.Sequential(nn.Flatten(), nn.Linear(24, 5)), 1, 4, 6))
    assert linear.forward_operations == 2 * 24 * 5
    # 11 operations a value, by the paper's convention alone.
    bigger = count_layers(nn.Upsample(scale_factor=2, mode="bilinear"), 2, 4, 6)
    assert bigger.total("forward_operations") == 0
    assert bigger.total("forward_operations_paper") == 11 * 2 * 8 * 12


class Skipping(nn.Module):
    """Convolution, ReLU, and a sum with the convolution's input, outside of any layer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.convolution = nn.Conv2d(4, 4, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        y = functional.relu(self.convolution(x))
        return self.dropout(y) + self.dropout(x)


def test_operations_between_layers_have_rows_and_memory():
    network = Skipping()
    table = count_layers(network, 4, 8, 8)
    kinds = [row.kind for row in table.layers]
    assert kinds == ["Conv2d", "relu", "Dropout", "Dropout", "add"]
    rows = dict(zip(kinds, table.layers, strict=True))
    # ReLU keeps its output, the convolution its input; the sum keeps nothing.
    assert rows["Conv2d"].activation_bytes == 0
    assert rows["relu"].activation_bytes == 4 * 64 * 4
    assert rows["relu"].moved_bytes == 2 * 4 * 64 * 4
    assert rows["add"].activation_bytes == 0
    assert rows["add"].moved_bytes == 3 * 4 * 64 * 4
    # A weight that no layer owns, and each layer's once although one is called twice.
    assert table.totals()["parameters"] == sum(p.numel() for p in network.parameters()) == 23


def test_a_network_is_left_as_it_was():
    network = Skipping().eval()
    network.dropout.train()
    before = {name: p.clone() for name, p in network.state_dict().items()}
    count_layers(network, 4, 8, 8)
    assert not network.training
    assert network.dropout.training
    assert all(torch.equal(p, before[name]) for name, p in network.state_dict().items())
    assert not network.convolution._forward_hooks
    with pytest.raises(RuntimeError, match="channel"):
        count_layers(network, 3, 8, 8)
    assert not network.convolution._forward_hooks
    assert not network.convolution._forward_pre_hooks


def test_memory_is_what_autograd_really_keeps():
    # The same network on real numbers, its kept tensors added up, each memory once.
    torch.manual_seed(0)
    network = build_network(NetworkSettings(name="deeplabv3plus"), 5, 3, 96).train()
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(torch.randn(1, 5, 64, 96))
    really = sum(size for place, (size, _) in kept.items() if place not in weights)
    counted = count_layers(network, 5, 64, 96).totals()["activation_bytes"]
    # The mean and deviation of norms may be laid out otherwise by the CPU.
    assert counted == pytest.approx(really, rel=1e-3)
    del logits


class Recomputing(nn.Module):
    """ReLU, SiLU and a convolution, all repeated in backward."""

    def __init__(self):
        super().__init__()
        self.stage = nn.Sequential(nn.ReLU(), nn.SiLU(), nn.Conv2d(4, 4, 1))
        self.first = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return checkpoint(self.stage, self.first(x), use_reentrant=False)


def test_what_is_computed_again_is_neither_kept_nor_counted_twice():
    # Kept are the fields, for the first convolution, and what it made, to begin again from.
    table = count_layers(Recomputing(), 4, 8, 8)
    kept = {row.name: row.activation_bytes for row in table.layers}
    size = 4 * 64 * 4
    assert kept == {"first": size, "stage.0": 0, "stage.1": 0, "stage.2": 0}
    assert table.input_bytes == size
    assert table.total("forward_operations") == 2 * (2 * 4 * 4 * 64)
    # Without: ReLU keeps its output, SiLU its input, which is the same, the last one its own.
    plain = count_layers(nn.Sequential(nn.ReLU(), nn.SiLU(), nn.Conv2d(4, 4, 1)), 4, 8, 8)
    assert [row.activation_bytes for row in plain.layers] == [0, size, 0]
    assert plain.input_bytes == 0


def test_recomputing_stages_saves_memory_and_no_operations_of_forward():
    network = build_network(NetworkSettings(name="tiramisu"), 5, 3, 96)
    plain = count_layers(network, 5, 64, 96).totals()
    network.recompute = True
    again = count_layers(network, 5, 64, 96).totals()
    assert again["activation_bytes"] < 0.5 * plain["activation_bytes"]
    assert again["forward_tflop"] == plain["forward_tflop"]


def test_more_samples_are_more_of_all_but_weights():
    network = build_network(NetworkSettings(name="tiramisu"), 5, 3, 96)
    one, two = (count_layers(network, 5, 64, 96, n).totals() for n in (1, 2))
    assert two["forward_tflop"] == 2 * one["forward_tflop"]
    assert two["parameters"] == one["parameters"]
    assert one["moved_bytes"] < two["moved_bytes"] < 2 * one["moved_bytes"]


def test_names_are_places_in_the_network():
    # One dropout serves all layers of Tiramisu; each row says where it was called.
    settings = NetworkSettings(name="tiramisu", variant="paper", preset="compact")
    rows = count_network(settings, 4, 3, 32, 48).layers
    dropouts = [row.name for row in rows if row.kind == "Dropout"]
    assert len(dropouts) == len(set(dropouts)) > 10
    assert dropouts[-1] == "drop_logits"
