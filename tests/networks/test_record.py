"""One file that is all it takes to segment, and what is refused in its place."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from exastorm.errors import InputError
from exastorm.networks.build import NetworkSettings
from exastorm.networks.record import (
    MODEL_NAME,
    RECORD_KEY,
    ModelRecord,
    load_model,
    model_checksum,
    replace_file,
    save_model,
    weights_checksum,
)

RECORD = ModelRecord(
    channels=("TMQ", "PSL"),
    units=("kg m-2", "Pa"),
    normalization="zscore",
    shift=(18.0, 101000.0),
    scale=(16.0, 1400.0),
    mean=(18.0, 101000.0),
    std=(16.0, 1400.0),
    classes=("background", "tropical_cyclone", "atmospheric_river"),
    lat=tuple(np.linspace(-90, 90, 16).tolist()),
    lon=tuple((np.arange(24) * 15.0).tolist()),
    network=NetworkSettings(),
    decision_bias=(0.0, -1.0, 0.5),
    training={"step": 12, "settings": {"seed": 1}},
    version="0.1.0",
)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    network = RECORD.build()
    save_model(tmp_path / MODEL_NAME, network, RECORD)
    return tmp_path / MODEL_NAME, network


def test_what_is_saved_is_what_is_loaded(saved):
    path, network = saved
    loaded, record = load_model(path)
    assert record == RECORD
    x = torch.randn(1, 2, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), network.eval()(x), rtol=0, atol=0)
    assert not loaded.training


def test_a_run_folder_will_do(saved):
    path, _ = saved
    assert load_model(path.parent)[1] == RECORD
    assert load_model(str(path))[1] == RECORD


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match=f"{MODEL_NAME}: no such model file"):
        load_model(tmp_path)


def test_a_file_that_is_no_safetensors(tmp_path):
    path = tmp_path / "notes.safetensors"
    path.write_text("these are no weights")
    with pytest.raises(InputError, match="must be a whole safetensors file"):
        load_model(path)


def test_weights_of_someone_else(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="must be weights written by exastorm"):
        load_model(path)


def test_a_torn_file(saved):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="must be a whole safetensors file"):
        load_model(path)


def test_one_flipped_bit(saved):
    path, _ = saved
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="must match their checksum"):
        load_model(path)


def test_one_changed_digit_of_the_record(saved):
    path, _ = saved
    content = path.read_bytes()
    # The scale of moisture, in the JSON of the record: 16.0 becomes 17.0.
    place = content.index(b"16.0, 1400.0")
    path.write_bytes(content[:place] + b"17" + content[place + 2 :])
    with pytest.raises(InputError, match="must match their checksum"):
        load_model(path)


def write_with_record(path, weights, **changes):
    tensors = dict(weights.state_dict())
    values = json.loads(json.dumps({**dataclasses.asdict(RECORD), **changes}))
    first = values["record_version"] == 1
    values["sha256"] = weights_checksum(tensors) if first else model_checksum(tensors, values)
    save_file(tensors, path, metadata={RECORD_KEY: json.dumps(values)})


def test_another_version_says_who_wrote_it(saved):
    path, network = saved
    write_with_record(path, network, record_version=99, version="7.0")
    with pytest.raises(
        InputError, match=r"record version 2 or before, got 99 .written by exastorm 7\.0."
    ):
        load_model(path)


def test_an_impossible_record_is_named(saved):
    path, network = saved
    write_with_record(path, network, lat="everywhere")
    with pytest.raises(InputError, match="record must be valid, got lat"):
        load_model(path)


def test_weights_of_another_network(saved):
    path, network = saved
    write_with_record(path, network, network={"name": "deeplabv3plus", "preset": "half"})
    with pytest.raises(InputError, match="weights must fit the network"):
        load_model(path)


@pytest.mark.parametrize("name", ["units", "shift", "scale", "mean", "std"])
def test_one_value_a_channel(name):
    with pytest.raises(ValueError, match=rf"{name} must have one value a channel .2., got 1"):
        dataclasses.replace(RECORD, **{name: getattr(RECORD, name)[:1]})


def test_one_bias_a_class():
    with pytest.raises(ValueError, match="decision_bias must have one value a class"):
        dataclasses.replace(RECORD, decision_bias=(0.0,))


def test_replacing_a_file_leaves_no_neighbor(tmp_path):
    path = tmp_path / "a"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_files_of_before_there_was_a_choice_still_load(saved):
    # Version 1 records named a network by name and preset alone.
    path, network = saved
    before = {"name": "deeplabv3plus", "preset": "compact"}
    write_with_record(path, network, network=before, record_version=1)
    assert load_model(path)[1].network == NetworkSettings()


@pytest.mark.parametrize("variant", ["modern", "paper"])
def test_any_network_travels(tmp_path, variant):
    torch.manual_seed(0)
    settings = NetworkSettings(name="tiramisu", variant=variant, filters=16, dropout=0.0)
    record = dataclasses.replace(RECORD, network=settings)
    network = record.build().eval()
    save_model(tmp_path / MODEL_NAME, network, record)
    loaded, found = load_model(tmp_path)
    assert found == record
    x = torch.randn(1, 2, 16, 24)
    with torch.no_grad():
        assert torch.equal(loaded(x), network(x))


FIELDS = {"PSL": np.full((4, 6), 101700.0), "TMQ": np.full((4, 6), 2.0)}
"""Two fields, not in the record's order."""


def test_named_fields_become_channels_in_the_order_of_the_record():
    stacked = RECORD.stack_fields(FIELDS, {"PSL": "Pa", "TMQ": "kg m-2"})
    # (2 - 18) / 16 = -1; (101700 - 101000) / 1400 = 0.5.
    assert stacked.dtype == np.float32
    assert stacked.shape == (2, 4, 6)
    assert np.all(stacked[0] == -1.0)
    assert np.all(stacked[1] == 0.5)


def test_fields_of_several_times_and_without_units():
    fields = {name: np.stack([field, field + 16.0, field]) for name, field in FIELDS.items()}
    stacked = RECORD.stack_fields(fields)
    assert stacked.shape == (3, 2, 4, 6)
    assert stacked[:, 0, 0, 0].tolist() == [-1.0, 0.0, -1.0]


def test_what_is_stacked_goes_through_the_network():
    stacked = RECORD.stack_fields({name: np.zeros((16, 24)) for name in RECORD.channels})
    with torch.no_grad():
        assert RECORD.build()(torch.from_numpy(stacked)[None]).shape == (1, 3, 16, 24)


@pytest.mark.parametrize(
    ("fields", "units", "message"),
    [
        ({"TMQ": FIELDS["TMQ"]}, None, "a field for each channel of the model, got none for PSL"),
        (FIELDS | {"U850": FIELDS["PSL"]}, None, "channels alone .TMQ, PSL., got U850, on which"),
        (FIELDS, {"TMQ": "kg m-2"}, "a unit for each channel of the model, got none for PSL"),
        (
            FIELDS,
            {"TMQ": "kg m-2", "PSL": "hPa"},
            "variable PSL: units must be 'Pa', as in training, got 'hPa'",
        ),
        (FIELDS | {"PSL": np.zeros((4, 5))}, None, r"variable PSL: .* got \(4, 5\) beside"),
        ({name: np.zeros(3) for name in FIELDS}, None, r"must have shape \(H, W\) or \(T, H, W\)"),
    ],
)
def test_fields_it_was_not_trained_on_are_refused_by_name(fields, units, message):
    with pytest.raises(InputError, match=message):
        RECORD.stack_fields(fields, units)
