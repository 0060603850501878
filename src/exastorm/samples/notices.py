"""What samples can't teach, said when they are made: still channels, classes never seen.

Neither is an error: a fixed field may be wanted, and samples of one kind of storm are common. But
whoever expects more should not learn it from the scores.
"""

from exastorm.samples.index import SampleIndex
from exastorm.variables import CLASSES


def find_notices(index: SampleIndex) -> list[str]:
    """Sentences on channels that never vary and classes without a pixel in the training split."""
    channels, statistics = index.channels, index.statistics
    bounds = zip(channels, statistics.min, statistics.max, index.units, strict=True)
    notices = [
        f"{name} is {low:g} {units} in all of the training split: it tells a network nothing"
        for name, low, high, units in bounds
        if low == high
    ]
    pixels = index.class_shares.num_pixels
    notices += [
        f"no pixel of the training split is {storm.short_name}: a network can't learn it"
        for storm, count in zip(CLASSES, pixels, strict=True)
        if count == 0
    ]
    return notices
