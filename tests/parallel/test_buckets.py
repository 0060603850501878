"""Where gradients lie: which bucket, in which order, and in which form."""

import pytest
import torch

from exastorm.parallel.allreduce.family import Pending
from exastorm.parallel.allreduce.stages import Failure
from exastorm.parallel.buckets import Bucket, Generation, bucket_layout


def made_parameters():
    """Of 2, 3, 4 and 5 numbers: 8, 12, 16 and 20 bytes."""
    return [torch.zeros(n) for n in (2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("least_bytes", "layout"),
    [
        # From the last: 20 bytes, 16 more make 36, 12 more 48, 8 more 56.
        (1, [[3], [2], [1], [0]]),
        (20, [[3], [2, 1], [0]]),
        (21, [[3, 2], [1, 0]]),
        (36, [[3, 2], [1, 0]]),
        (37, [[3, 2, 1], [0]]),
        # No bucket is empty, also where the last one that is closed holds all.
        (56, [[3, 2, 1, 0]]),
        (1000, [[3, 2, 1, 0]]),
    ],
)
def test_a_bucket_is_closed_when_it_is_large_enough(least_bytes, layout):
    assert bucket_layout(made_parameters(), least_bytes / 1e6) == layout


def test_views_are_parts_of_one_buffer_in_order():
    bucket = Bucket([3, 1], made_parameters(), num_extra=2)
    bucket.views[3].fill_(3.0)
    bucket.views[1].fill_(1.0)
    bucket.extra.fill_(9.0)
    assert bucket.buffer.tolist() == [3.0] * 5 + [1.0] * 3 + [9.0] * 2
    assert bucket.buffer.dtype == torch.float32


def test_views_lie_in_memory_as_the_parameters_do():
    # Channels last, as convolutions like them: a gradient in another layout would be slow to add.
    weight = torch.zeros(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    bucket = Bucket([1, 0], [weight, torch.zeros(7)])
    assert bucket.views[0].stride() == weight.stride() == (12, 1, 6, 3)
    bucket.views[0].copy_(torch.arange(48.0).view(4, 3, 2, 2))
    # All 48 numbers once, behind the 7.
    assert sorted(bucket.buffer[7:].tolist()) == list(range(48))
    assert bucket.buffer[:7].abs().sum() == 0


def made_generation():
    return Generation([[3, 2], [1, 0]], made_parameters(), num_extra=1)


def test_tensors_are_in_the_order_of_the_parameters():
    generation = made_generation()
    for number, bucket in generation.of_parameter.items():
        generation.buckets[bucket].views[number].fill_(float(number))
    generation.buckets[-1].extra.fill_(7.0)
    assert [t.tolist() for t in generation.tensors()] == [
        [0.0] * 2, [1.0] * 3, [2.0] * 4, [3.0] * 5, [7.0]
    ]  # fmt: skip
    # The extra number lies in the last bucket alone.
    assert [len(bucket.buffer) for bucket in generation.buckets] == [9, 6]


def test_a_generation_waits_for_all_sums_of_its_step():
    generation = made_generation()
    generation.wait()  # at first nothing is under way
    generation.arrived.add(3)
    generation.clear()
    assert generation.arrived == set()
    # The last bucket also waits for its extra number.
    assert [bucket.num_missing for bucket in generation.buckets] == [2, 3]
    assert not any(bucket.pending.done() for bucket in generation.buckets)
    for bucket in generation.buckets:
        bucket.pending.set_result(Pending(Failure(), num_parts=0))
    generation.wait()
    generation.clear()
    generation.settle()
    generation.wait()


def test_a_sum_that_failed_fails_where_it_is_waited_for():
    generation = made_generation()
    generation.clear()
    generation.buckets[0].pending.set_exception(ConnectionError("gone"))
    with pytest.raises(ConnectionError, match="gone"):
        generation.wait()


def test_a_bucket_that_is_sealed_misses_nothing():
    bucket = made_generation().buckets[0]
    assert bucket.full is None
    bucket.seal()
    assert bucket.num_missing == 0
    assert bucket.full.is_reached()  # on a CPU at once
