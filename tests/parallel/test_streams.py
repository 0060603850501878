"""Work is done at once on a CPU; on a GPU it is queued, and marks tell how far it has come."""

import time

import torch
from tests.parallel.made_gpu import SLEEP, needs_gpu, wait_until

from exastorm.parallel.streams import Mark, SideStream, WaitClock

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_on_a_cpu_marks_are_reached_at_once():
    with SideStream(CPU).after(Mark(CPU)):
        assert Mark(CPU).is_reached()


def test_on_a_cpu_waits_are_times_of_the_host():
    clock = WaitClock(CPU)
    for _ in range(2):
        with clock.counting():
            time.sleep(0.01)
    assert clock.seconds >= 0.02


@needs_gpu
def test_work_beside_waits_for_its_mark_alone():
    # A kernel's first use, and a stream's, wait until the GPU is idle.
    torch.cuda._sleep(1)
    side = SideStream(GPU)
    with side.after(Mark(GPU)):
        Mark(GPU)
    start = Mark(GPU)
    torch.cuda._sleep(SLEEP)
    slept = Mark(GPU)
    with side.after(start):
        beside = Mark(GPU)
    with side.after(slept):
        behind = Mark(GPU)
    wait_until(beside.is_reached)
    assert not slept.is_reached()
    assert not behind.is_reached()
    wait_until(behind.is_reached)
    assert slept.is_reached()


@needs_gpu
def test_the_time_that_a_gpu_waits_is_its_own():
    clock, side = WaitClock(GPU), SideStream(GPU)
    with side.after(Mark(GPU)):
        torch.cuda._sleep(SLEEP)
        slept = Mark(GPU)
    with clock.counting():
        slept.wait()
    assert clock.seconds == 0.0  # nobody has waited for it yet
    torch.cuda.synchronize()
    # The GPU's clock may be faster than 2 GHz, but no GPU's is faster than 8.
    assert clock.seconds > 0.5
