"""Rounding to quanta that single precision holds exactly."""

import numpy as np
import pytest

from exastorm.readers.synthetic.quantize import QUANTA, quantize
from exastorm.variables import CHANNELS, OPTIONAL, VARIABLES


def test_every_field_has_a_quantum():
    assert set(QUANTA) == {v.name for v in (*CHANNELS, *OPTIONAL)}


@pytest.mark.parametrize("name", QUANTA)
def test_every_multiple_in_range_is_exact_in_single_precision(name):
    quantum, variable = QUANTA[name], VARIABLES[name]
    # 24 bits of mantissa hold integers to 2**24; a power of two scales them exactly.
    assert max(abs(variable.low), abs(variable.high)) / quantum < 2**24
    assert np.log2(quantum) == round(np.log2(quantum))


def test_rounding_by_hand():
    # Quantum of T500 is 1/256 = 0.00390625: 250.0019 is nearer to 250, 250.0021 to 250.00390625.
    assert quantize("T500", np.array([250.0019, 250.0021])).tolist() == [250.0, 250.00390625]
    assert quantize("PSL", np.array([101325.13])).tolist() == [101325.25]
    assert quantize("PSL", np.array([1.0])).dtype == np.float32


def test_the_last_bits_do_not_matter():
    values = np.random.default_rng(0).normal(250.0, 20.0, 10000)
    wiggled = np.nextafter(values, 1e9)
    assert np.array_equal(quantize("T500", values), quantize("T500", wiggled))
