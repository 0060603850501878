"""Two trainings one after the other in one cluster, as a program has them that tries settings."""

from pathlib import Path

from tests.parallel.made_ports import free_ports
from tests.parallel.made_processes import run_processes
from tests.train.conftest import changed, last_state, make_samples
from tests.train.test_ranks import PLAIN, spoil

from exastorm.config import to_dict

RANK = Path(__file__).with_name("rank_of_two_trainings.py")


def test_the_second_training_knows_nothing_of_the_first(samples, tmp_path):
    bad = make_samples(tmp_path / "bad")
    spoil(bad, rank=1, step=1)
    settings = changed(
        PLAIN,
        num_steps=3,
        batch_size=2,
        skip_bad=True,
        exchange__allreduce={"kind": "hierarchical"},
    )
    runs = [(str(bad), str(tmp_path / "first")), (str(samples), str(tmp_path / "second"))]
    told = {"runs": runs, "settings": to_dict(settings)}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0])}
    seen = run_processes([RANK], 2, 280, TOLD=told, **where)
    first, second = seen[0]
    assert [last_state(Path(run))["step"] for _, run in runs] == [3, 3]
    # What rank 1 left for rank 0 in the first is not found in the second.
    assert len(first["bad_samples"]) == 2
    assert second["bad_samples"] == []
