import numpy as np
import pytest

from exastorm.performance.shard_formats import FORMS, SampleSource, ShardBenchSettings, bench_shards

SMALL = ShardBenchSettings(num_samples=10, num_channels=2, height=6, width=8, num_rounds=1)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_back_every_sample(name, tmp_path):
    source = SampleSource(10, (2, 6, 8))
    write, open_reader = FORMS[name]
    write(tmp_path, source)
    read = open_reader(tmp_path, source)
    for i in (9, 0, 4, 8):
        field, label = read(i)
        assert np.array_equal(field, source.field(i))
        assert np.array_equal(label, source.label(i))
    assert not np.array_equal(source.field(0), source.field(1))


def test_figures_of_each_form_beside_the_raw_rate(tmp_path):
    figures = bench_shards(tmp_path, SMALL)
    assert set(figures["forms"]) == set(FORMS)
    for form in figures["forms"].values():
        assert min(form.values()) > 0
    # 2 x 6 x 8 floats and 6 x 8 class bytes.
    assert figures["sample_mb"] == pytest.approx((2 * 48 * 4 + 48) / 1e6)
    assert figures["raw_read_samples_per_s"] > 0
    assert list(tmp_path.iterdir()) == [], "what was written is removed"


def test_settings_are_checked():
    with pytest.raises(ValueError, match="num_rounds must be at least 1, got 0"):
        ShardBenchSettings(num_rounds=0)
