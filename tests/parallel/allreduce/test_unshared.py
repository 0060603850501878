"""Nodes whose ranks share no memory, as in containers whose /dev/shm is small, or their own."""

import pytest
import torch
from tests.parallel.made_ranks import run_ranks

from exastorm.parallel.allreduce import node_memory
from exastorm.parallel.allreduce.choosing import make_allreduce
from exastorm.parallel.allreduce.family import AllReduceSettings
from exastorm.parallel.allreduce.node_meeting import UnsharedError

LIMIT_S = 60.0


@pytest.fixture
def no_memory(monkeypatch, tmp_path):
    """Memory runs out where rank 0 makes the file; what is left in the folder is returned."""

    def fail(file, start, num_bytes):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(node_memory, "SHARED_FOLDER", tmp_path)
    monkeypatch.setattr(node_memory.os, "posix_fallocate", fail)
    return tmp_path


@pytest.mark.parametrize("kind", ["hierarchical", "leader"])
def test_all_ranks_say_the_same_at_once(no_memory, kind):
    def act(cluster):
        with pytest.raises(UnsharedError) as caught:
            make_allreduce(cluster, AllReduceSettings(kind=kind), LIMIT_S)
        return str(caught.value)

    first, second = run_ranks(act)
    assert first == second
    # 4 slots of 4 MB for each of 2 ranks and their sum are 48 MB.
    assert first.startswith("ranks of a node must share 48 MB in ")
    assert first.endswith("No space left on device")
    assert list(no_memory.iterdir()) == []


def test_auto_goes_without_it_and_says_so(no_memory):
    def act(cluster):
        way = make_allreduce(cluster, AllReduceSettings(), LIMIT_S)
        buffer = torch.full((1000,), float(1 + cluster.world.rank))
        way.sum(buffer)
        way.close()
        return buffer.unique().tolist(), way.to_line()

    for total, line in run_ranks(act):
        assert total == [3.0]
        assert "from 8.192 MB flat; in two levels not at all: ranks of a node must share" in line
