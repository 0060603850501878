"""Half precision, and the scale of the loss that fp16 needs."""

import pytest
import torch

from exastorm.train.precision import LossScaler, autocast

CPU = torch.device("cpu")
YES, NO = torch.tensor(True), torch.tensor(False)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_autocast_chooses_the_numbers_of_products(precision, dtype):
    layer = torch.nn.Linear(4, 4)
    with autocast(CPU, precision):
        result = layer(torch.ones(2, 4))
    assert result.dtype == dtype
    result.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_only_fp16_is_scaled(precision):
    scaler = LossScaler(precision, CPU)
    loss = torch.tensor(3.0)
    assert scaler.scale(loss) is loss
    scaler.update(YES, NO)
    assert float(scaler.factor) == 1.0


def test_the_scale_halves_on_overflow_and_doubles_after_the_interval():
    scaler = LossScaler("float16", CPU, growth_interval=3)
    assert float(scaler.scale(torch.tensor(2.0))) == 2.0**17
    found = []
    for overflow in (YES, NO, NO, NO, NO, NO, YES, NO, NO, NO):
        scaler.update(overflow, NO)
        found.append(float(scaler.factor))
    # Exponents: 16, down to 15, three good steps to 16, two more, down to 15, three good to 16.
    assert found == [2.0**n for n in (15, 15, 15, 16, 16, 16, 15, 15, 15, 16)]


def test_a_bad_sample_leaves_the_scale_and_does_not_count_as_good():
    scaler = LossScaler("float16", CPU, growth_interval=2)
    for bad in (NO, YES, YES, YES):
        scaler.update(NO, bad)
    assert float(scaler.factor) == 2.0**16
    scaler.update(NO, NO)
    assert float(scaler.factor) == 2.0**17


def test_the_scale_stays_between_one_and_what_is_finite():
    scaler = LossScaler("float16", CPU, growth_interval=1)
    for _ in range(20):
        scaler.update(YES, NO)
    assert float(scaler.factor) == 1.0
    assert not bool(scaler.can_shrink())
    for _ in range(200):
        scaler.update(NO, NO)
    assert float(scaler.factor) == 2.0**127


def test_the_same_scales_as_torch_has():
    scaler = LossScaler("float16", CPU, growth_interval=3)
    factor, tracker = torch.tensor(2.0**16), torch.zeros((), dtype=torch.int32)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        overflow = torch.rand((), generator=generator) < 0.2
        scaler.update(overflow, NO)
        torch._amp_update_scale_(factor, tracker, overflow.float(), 2.0, 0.5, 3)
        assert float(scaler.factor) == float(factor)


def test_a_saved_scale_goes_on():
    scaler, other = (LossScaler("float16", CPU, growth_interval=3) for _ in range(2))
    for overflow in (YES, NO, NO):
        scaler.update(overflow, NO)
    other.load_state_dict(scaler.state_dict())
    for each in (scaler, other):
        each.update(NO, NO)
    # The third good step in a row, of which two were before.
    assert float(other.factor) == float(scaler.factor) == 2.0**16
