"""Exported networks: the same logits from physical fields, and the record beside them."""

import io
import json

import numpy as np
import pytest
import torch

from exastorm.errors import InputError
from exastorm.networks import export
from exastorm.networks.build import NetworkSettings
from exastorm.networks.dropout import seed_dropout
from exastorm.networks.export import (
    PhysicalNetwork,
    check_form,
    compare,
    export_network,
    random_fields,
)
from exastorm.networks.record import ModelRecord, load_model, save_model


def record_of(**settings):
    """A record of two channels on 24 x 36, of very different size."""
    return ModelRecord(
        channels=("TMQ", "PSL"), units=("kg m-2", "Pa"), normalization="zscore",
        shift=(20.0, 101000.0), scale=(15.0, 1200.0), mean=(20.0, 101000.0), std=(15.0, 1200.0),
        classes=("background", "TC", "AR"),
        lat=tuple(-86.25 + 7.5 * i for i in range(24)), lon=tuple(10.0 * i for i in range(36)),
        network=NetworkSettings(**settings), decision_bias=(0.0, 0.0, 0.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with a DeepLabv3+ of fresh weights."""
    torch.manual_seed(0)
    folder, record = tmp_path_factory.mktemp("run"), record_of()
    save_model(folder / "model.safetensors", record.build(), record)
    return folder


@pytest.fixture(scope="module")
def paper_run(tmp_path_factory):
    """A run folder with the paper's Tiramisu, whose dropout works in evaluation too."""
    torch.manual_seed(0)
    folder, record = tmp_path_factory.mktemp("paper"), record_of(name="tiramisu", variant="paper")
    save_model(folder / "model.safetensors", record.build(), record)
    return folder


@pytest.fixture(scope="module")
def program_file(run):
    """The network as a .pt2 file."""
    before = (run / "model.safetensors").read_bytes()
    done = export_network(run, run / "model.pt2")
    assert (run / "model.safetensors").read_bytes() == before
    assert done.relative_difference <= 1e-4
    assert done.num_bytes == (run / "model.pt2").stat().st_size
    # Weights and little else: not the fields that it was traced with.
    weights = sum(p.numel() for p in load_model(run)[0].parameters())
    assert 4 * weights < done.num_bytes < 1.1 * 4 * weights
    return run / "model.pt2"


def test_logits_are_those_of_the_record_and_the_network(run, program_file):
    # What a user does with the file alone, beside what `segment` does: fill, scale, network.
    program = torch.export.load(program_file).module()
    network, record = load_model(run)
    rng = np.random.default_rng(0)
    mean, std = (np.array(v)[:, None, None] for v in (record.mean, record.std))
    fields = (mean + std * rng.standard_normal((2, 24, 36))).astype(np.float32)
    scaled = record.stack_fields(dict(zip(record.channels, fields, strict=True)))
    with torch.no_grad():
        expected = network(torch.from_numpy(scaled)[None])
        found = program(torch.from_numpy(fields)[None])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_batches_of_any_size(program_file, batch_size):
    program = torch.export.load(program_file).module()
    fields = random_fields(record_of(), (24, 36)).expand(batch_size, -1, -1, -1).contiguous()
    with torch.no_grad():
        logits = program(fields)
    assert logits.shape == (batch_size, 3, 24, 36)
    torch.testing.assert_close(logits[-1], logits[0], rtol=1e-4, atol=1e-5)


def test_a_gap_is_the_training_mean(program_file):
    program = torch.export.load(program_file).module()
    gap = random_fields(record_of(), (24, 36))
    assert gap.isnan().any()
    filled = torch.where(gap.isnan(), torch.tensor([20.0, 101000.0])[:, None, None], gap)
    with torch.no_grad():
        torch.testing.assert_close(program(gap), program(filled))


def test_the_record_goes_along(run, program_file):
    extra = {"exastorm.json": ""}
    torch.export.load(program_file, extra_files=extra)
    told = json.loads(extra["exastorm.json"])
    assert told["channels"] == ["TMQ", "PSL"]
    assert told["units"] == ["kg m-2", "Pa"]
    assert told["classes"] == ["background", "TC", "AR"]
    assert told["network"]["name"] == "deeplabv3plus"


def test_onnx_gives_the_same_logits_and_has_the_record(paper_run):
    runtime = pytest.importorskip("onnxruntime", reason="ONNX: pip install 'exastorm[onnx]'")
    done = export_network(paper_run, paper_run / "model.onnx", height=32, width=48)
    assert done.grid == (32, 48)
    assert 0 < done.relative_difference < 1e-4
    session = runtime.InferenceSession((paper_run / "model.onnx").read_bytes())
    (entry,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (entry.name, answer.name) == ("fields", "logits")
    assert entry.shape[1:] == [2, 32, 48]
    told = json.loads(session.get_modelmeta().custom_metadata_map["exastorm"])
    assert told["channels"] == ["TMQ", "PSL"]
    network, record = load_model(paper_run)
    fields = random_fields(record, (32, 48), seed=1).repeat(3, 1, 1, 1)
    found = session.run(["logits"], {"fields": fields.numpy()})[0]
    with torch.no_grad():
        expected = PhysicalNetwork(network, record)(fields)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiramisu", "deeplabv3plus"])
def test_onnx_of_the_modern_networks(name, tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX: pip install 'exastorm[onnx]'")
    record = record_of(name=name)
    save_model(tmp_path / "model.safetensors", record.build(), record)
    assert export_network(tmp_path, tmp_path / "m.onnx").relative_difference < 1e-4


def test_dropout_of_the_paper_is_off_in_what_is_exported(paper_run):
    network, record = load_model(paper_run)
    fields = random_fields(record, (32, 48))
    seed_dropout(0)
    with torch.no_grad():
        scaled = torch.ones(1, 2, 32, 48)
        assert not torch.equal(network(scaled), network(scaled))
        physical = PhysicalNetwork(network, record)
        assert torch.equal(physical(fields), physical(fields))


def test_what_answers_otherwise_is_refused_and_not_written(run, tmp_path, monkeypatch):
    def off(content):
        told = torch.export.load(io.BytesIO(content)).module()
        return lambda fields: told(fields) * 1.001

    monkeypatch.setattr(export, "pt2_run", off)
    with pytest.raises(InputError, match=r"network's own logits.*got 0.001; nothing was written"):
        export_network(run, tmp_path / "m.pt2")
    assert list(tmp_path.iterdir()) == []


def test_no_number_is_no_agreement(tmp_path):
    logits = torch.ones(1, 3, 4, 4)
    assert compare(logits, logits, tmp_path) == (0.0, 0.0)
    with pytest.raises(InputError, match="got nan"):
        compare(logits * torch.nan, logits, tmp_path)
    with pytest.raises(InputError, match=r"must give \(1, 3, 4, 4\), got \(1, 3, 4, 3\)"):
        compare(logits[..., :3], logits, tmp_path)


def test_forms_and_their_packages(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"must end in .pt2 or .onnx, got 'model.pt'"):
        check_form(tmp_path / "model.pt")
    check_form(tmp_path / "model.pt2")
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(InputError, match=r"ONNX needs onnxscript: pip install 'exastorm\[onnx\]'"):
        check_form(tmp_path / "model.onnx")
