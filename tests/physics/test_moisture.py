"""Vapor transport and its proxies carry their units."""

import dask.array
import numpy as np
import pytest

from exastorm.errors import InputError
from exastorm.physics.moisture import derive_moisture
from exastorm.physics.warm_core import core_temperature, thickness
from exastorm.readers.schema import mock_dataset

FIELDS = {"IVTX": 300.0, "IVTY": -400.0, "TMQ": 20.0, "U850": 6.0, "V850": 8.0, "QREFHT": 0.01}


@pytest.mark.parametrize(
    ("name", "units", "value"),
    [
        ("IVT", "kg m-1 s-1", 500.0),  # 3-4-5
        ("QV850", "m s-1", 0.1),  # 10 m/s x 0.01
        ("TMQV850", "kg m-1 s-1", 200.0),  # 20 kg/m2 x 10 m/s
    ],
)
def test_value_and_unit(name, units, value):
    derived = derive_moisture(mock_dataset(FIELDS, 4, 5, 2), name)
    np.testing.assert_allclose(derived.values, value, rtol=1e-6)
    assert derived.attrs["units"] == units
    assert derived.dims == ("time", "lat", "lon")
    assert derived.name == name
    assert derived.attrs["derived_from"]


def test_only_ivt_has_a_standard_name():
    dataset = mock_dataset(FIELDS, 4, 5, 1)
    assert "standard_name" in derive_moisture(dataset, "IVT").attrs
    assert "standard_name" not in derive_moisture(dataset, "QV850").attrs


def test_stays_lazy():
    derived = derive_moisture(mock_dataset(FIELDS, 4, 5, 2).chunk(time=1), "IVT")
    assert isinstance(derived.data, dask.array.Array)


def test_missing_fields_are_named():
    dataset = mock_dataset({"U850": 1.0}, 4, 5, 1)
    with pytest.raises(InputError, match="QV850 needs U850, V850, QREFHT; missing V850, QREFHT"):
        derive_moisture(dataset, "QV850")
    with pytest.raises(InputError, match="must be one of IVT, QV850, TMQV850, got IWV"):
        derive_moisture(dataset, "IWV")


def test_warm_core_measures():
    assert core_temperature(np.array([220.0]), np.array([268.0]))[0] == 244.0
    assert thickness(np.array([12300.0]), np.array([100.0]))[0] == 12200.0
