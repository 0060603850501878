"""The schema's door: what is let in, and what each refusal says."""

import cftime
import numpy as np
import pytest

from exastorm.errors import InputError
from exastorm.readers.schema import (
    check_dataset,
    check_times,
    field_names,
    label_names,
    mock_dataset,
    require_fields,
)


def mock():
    return mock_dataset({"U850": 1.0, "TMQ": 20.0}, 6, 12, 3)


def test_a_good_dataset_passes_unchanged():
    dataset = mock()
    assert check_dataset(dataset) is dataset
    assert field_names(dataset) == ["TMQ", "U850"]  # in the vocabulary's order
    assert dataset["TMQ"].attrs["units"] == "kg m-2"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.isel(lat=slice(None, None, -1)), "a.nc, variable lat: must ascend"),
        (lambda d: d.assign_coords(lon=d.lon - 180.0), r"variable lon: must lie in \[0, 360\]"),
        (lambda d: d.isel(time=[0, 0]), "variable time, time 2000-01-01 00:00:00: .* is repeated"),
        (lambda d: d.isel(time=[1, 0]), "this one comes after 2000-01-01 03:00:00"),
        (lambda d: d.isel(time=0), "lacks time"),
        (lambda d: d.transpose("lat", "lon", "time"), "variable TMQ: must have dimensions"),
    ],
)
def test_bad_datasets_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        check_dataset(change(mock()), "a.nc")


def test_wrong_units_are_refused():
    dataset = mock()
    dataset["TMQ"].attrs["units"] = "mm"
    with pytest.raises(InputError, match="variable TMQ: must be in kg m-2, got 'mm'"):
        check_dataset(dataset)


def test_missing_fields_are_all_named():
    with pytest.raises(InputError, match=r"cyclones needs PSL, T500; got only TMQ, U850"):
        require_fields(mock(), ["PSL", "TMQ", "T500"], "finding cyclones")


def test_label_names_are_in_numeric_order():
    dataset = mock()
    for k in (10, 2, 0):
        dataset[f"labels_{k}"] = dataset["TMQ"].astype(np.int8)
    assert label_names(dataset) == ["labels_0", "labels_2", "labels_10"]


def test_calendars_are_kept():
    assert isinstance(mock()["time"].values[0], cftime.DatetimeNoLeap)
    check_times([1, 2, 3])
