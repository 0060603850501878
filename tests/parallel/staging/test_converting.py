"""Shards made smaller while they are staged are what a conversion of the whole folder makes."""

import numpy as np
import pytest
from tests.parallel.staging.made_nodes import settings_of
from tests.train.conftest import make_samples

from exastorm.parallel.cluster import Cluster
from exastorm.parallel.staging.manifest import Manifest, StagedFile
from exastorm.parallel.staging.stager import stage
from exastorm.samples.convert import ConvertSettings, convert_samples
from exastorm.samples.converting import ConvertedSamples, converted_index, make_converter
from exastorm.samples.index import write_index
from exastorm.samples.shards import SampleStore


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converting")
    convert_samples(
        make_samples(folder / "whole"), folder / "s", ConvertSettings(to="shards", shard_mb=0.02)
    )
    return SampleStore(folder / "s")


def read_all(source):
    size = source.index.layout.stride
    return [source.read_raw(i, np.empty(size, np.uint8)) for i in range(source.index.num_samples)]


@pytest.mark.parametrize(
    "words",
    [
        {"dtype": "float16"},
        {"channels": ("PSL",)},
        {"dtype": "float16", "channels": ("PSL", "TMQ")},
    ],
)
def test_converted_shards_are_the_samples_converted(samples, tmp_path, words):
    index, converter = samples.index, make_converter(samples.index, **words)
    files = tuple(StagedFile(s.name, s.num_bytes, s.sha256, s.num_samples) for s in index.shards)
    manifest = Manifest(str(samples.path), files, converter.form)
    settings = settings_of(tmp_path / "local", num_readers=2)
    with stage(Cluster.alone(), manifest, settings, converter) as staged:
        write_index(converted_index(index, converter), staged.folder)
        here = read_all(SampleStore(staged.folder))
        (staged.folder / "index.json").unlink()
    # Read whole from the shared store, kept small.
    assert staged.figures.total.read_bytes == sum(shard.num_bytes for shard in index.shards)
    assert {n: e.num_bytes for n, e in staged.entries.items()} == {
        file.name: converter.num_bytes(file) for file in files
    }
    expected = ConvertedSamples(samples, converter)
    for i, got in enumerate(here):
        raw = expected.read_raw(i, np.empty(index.layout.stride, np.uint8))
        assert got.field.dtype == raw.field.dtype
        assert np.array_equal(got.field, raw.field)
    assert len(here) > 1
    # In the same form they are there; in another they are other files.
    with stage(Cluster.alone(), manifest, settings, converter) as again:
        assert again.figures.total.read_bytes == 0
    plain = Manifest(str(samples.path), files)
    with stage(Cluster.alone(), plain, settings) as other:
        assert other.figures.total.present_bytes == 0
        assert other.figures.total.read_bytes == staged.figures.total.read_bytes
