"""The share of the time that a training waits for data."""

import pytest

from exastorm.train import waiting
from exastorm.train.waiting import DataWait


def test_waits_and_work_are_told_apart(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(waiting.time, "perf_counter", lambda: now[0])

    def batches():
        for seconds in (3.0, 1.0):
            now[0] += seconds
            yield seconds

    wait = DataWait()
    assert wait.share == 0.0
    given = []
    for batch in wait.timed(batches()):
        given.append(batch)
        now[0] += 6.0
    assert given == [3.0, 1.0]
    # 3 + 1 s of waiting, 6 + 6 s of work: a quarter of all was waited.
    assert (wait.waited_s, wait.worked_s) == (4.0, 12.0)
    assert wait.share == pytest.approx(0.25)
