import numpy as np
from tests.samples.conftest import SETTINGS

from exastorm.samples.notices import find_notices
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.shards import SampleStore


def test_samples_with_all_that_is_to_be_learned_need_no_notice(prepared):
    assert find_notices(SampleStore(prepared).index) == []


def test_channel_that_never_varies_and_class_that_never_is_are_told(archive, labels, tmp_path):
    still = archive.copy(deep=True)
    still["PSL"][:] = 101325.0
    no_cyclone = labels.copy(deep=True)
    no_cyclone["class_map"] = labels["class_map"].where(labels["class_map"] != 1, 0).astype(np.int8)
    index = prepare_samples(still, no_cyclone, tmp_path / "out", SETTINGS)
    first, second = find_notices(index)
    assert first.startswith("PSL is 101325 Pa in all of the training split")
    assert second.startswith("no pixel of the training split is TC")
