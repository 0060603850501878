"""What a plan moves, in numbers worked out by hand."""

import pytest

from exastorm.parallel.staging.figures import NodeFigures, Spread, plan_figures, total_of
from exastorm.parallel.staging.manifest import StagedFile
from exastorm.parallel.staging.owners import plan_staging

FILES = [StagedFile("a", 40), StagedFile("b", 30), StagedFile("c", 20), StagedFile("d", 10)]


def test_replication_in_numbers():
    # The heaviest first, always to the lightest: a (40) and d (10); b (30) and c (20). 50 each.
    figures = plan_figures(plan_staging(FILES, 2), FILES)
    assert (figures.num_files, figures.num_nowhere) == (4, 0)
    assert figures.copies == Spread(least=2, mean=2, most=2)
    assert figures.kept_bytes == Spread(least=100, mean=100, most=100)
    assert figures.read_bytes == Spread(least=50, mean=50, most=50)
    # Each sends its half to one other.
    assert figures.sent_bytes == figures.received_bytes == figures.read_bytes


def test_a_partition_sends_nothing():
    figures = plan_figures(plan_staging(FILES, 4, "partition"), FILES)
    assert figures.kept_bytes == figures.read_bytes == Spread(least=10, mean=25, most=40)
    assert figures.sent_bytes.most == figures.received_bytes.most == 0


def test_what_is_converted_is_kept_and_sent_smaller():
    plan = plan_staging(FILES, 2)
    figures = plan_figures(plan, FILES, [file.num_bytes // 2 for file in FILES])
    assert figures.read_bytes.mean == 50
    assert figures.kept_bytes.mean == 50
    assert figures.sent_bytes.mean == figures.received_bytes.mean == 25


def test_files_without_room_are_counted():
    # Two nodes have room for one file each, of four.
    figures = plan_figures(plan_staging(FILES, 2, "sample", 1), FILES)
    assert figures.num_nowhere == 2
    assert figures.copies == Spread(least=0, mean=0.5, most=1)


def test_no_files_are_zeros():
    assert plan_figures(plan_staging([], 2), []).copies == Spread(least=0, mean=0, most=0)


def test_the_total_lasts_as_long_as_the_last_node():
    nodes = [
        NodeFigures(read_bytes=3_000_000_000, seconds=2.0),
        NodeFigures(received_bytes=1_000_000_000, seconds=4.0),
    ]
    total = total_of(nodes)
    assert (total.read_bytes, total.received_bytes, total.seconds) == (3 * 10**9, 10**9, 4.0)
    # 4 GB in 4 s.
    assert total.gbytes_per_s == pytest.approx(1.0)
