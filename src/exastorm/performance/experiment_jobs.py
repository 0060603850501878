"""The trainings of experiments: one after the other, or side by side in processes of their own.

Two trainings of one thread each do more in an hour than one of two threads after the other, so
processes share the cores evenly. A signal lets each save and end; the same command goes on there.
"""

import json
import signal
import statistics
import sys
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

import torch

from exastorm.errors import InputError
from exastorm.networks.record import load_model
from exastorm.train.evaluate import evaluate
from exastorm.train.guard import DivergedError
from exastorm.train.meter import LOG_NAME
from exastorm.train.run import train
from exastorm.train.run_folder import SETTINGS_NAME
from exastorm.train.settings import TrainSettings
from exastorm.train.stopping import StopRequest
from exastorm.train.summary import TrainSummary

OUTPUT_NAME = "output.txt"
"""What a training in a process of its own says, in its run folder."""

LOOK_S = 0.5
"""Longest time before a signal is passed on, s."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training and its score.

    Attributes:
        key: What it is known by.
        title: What it is called in lines of progress.
        samples: Its samples.
        run: Its run folder.
        settings: How it is trained.
    """

    key: str
    title: str
    samples: Path
    run: Path
    settings: TrainSettings


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a job ended.

    Attributes:
        status: done, diverged, stopped (by a signal; it can go on) or failed.
        problem: Why, where it is not done.
        figures: Of a job that is done, see `figures_of`.
    """

    status: str
    problem: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


def train_and_score(job: Job) -> Result:
    """Train, from the last checkpoint if there is one, and score on the test split."""
    resume = (job.run / SETTINGS_NAME).is_file()
    try:
        summary = train(job.samples, job.run, job.settings, resume=resume)
        if summary.stopped_by is not None:
            return Result(status="stopped", problem=summary.stopped_by)
        return Result(status="done", figures=figures_of(job, summary))
    except DivergedError as error:
        return Result(status="diverged", problem=error.problem)
    except InputError as error:
        return Result(status="failed", problem=str(error))


def figures_of(job: Job, summary: TrainSummary) -> dict[str, Any]:
    """What a finished training came to, by the names of a `ResultRow`."""
    network, record = load_model(job.run)
    scores = evaluate(job.run, job.samples, "test", job.settings.compute.device)
    return {
        "grid": f"{len(record.lat)}x{len(record.lon)}",
        "parameters": sum(p.numel() for p in network.parameters()),
        "steps": summary.num_steps,
        "samples_seen": summary.num_steps * job.settings.batch_size,
        "minutes": summary.minutes,
        "samples_per_s": median_speed(job.run),
        "mean_iou": scores["mean_iou"],
        "iou_tc": scores["iou"]["TC"],
        "iou_ar": scores["iou"]["AR"],
        "mean_iou_per_image": scores["mean_iou_per_image"],
        "validation_mean_iou": summary.best_mean_iou,
        "num_bad_steps": summary.num_bad_steps,
    }


def median_speed(run: Path) -> float | None:
    """Median samples per second over the lines of a run's log; None where none tells."""
    lines = map(json.loads, (run / LOG_NAME).read_text(encoding="utf-8").splitlines())
    speeds = [line["samples_per_s"] for line in lines if "samples_per_s" in line]
    return statistics.median(speeds) if speeds else None


def run_jobs(
    jobs: list[Job],
    num_jobs: int,
    started: Callable[[Job], None],
    ended: Callable[[Job, Result], None],
) -> bool:
    """Do all jobs; one that fails does not keep the others from being done.

    Args:
        jobs: What to do; those first that stand first.
        num_jobs: How many at once; each then has its share of torch's threads.
        started: Is told of each job before it begins.
        ended: Is told how each job ended.

    Returns:
        Whether all had their turn; False if a signal to this process came between.
    """
    if num_jobs > 1:
        return _Processes(num_jobs, started, ended).run(jobs)
    for job in jobs:
        started(job)
        result = train_and_score(job)
        ended(job, result)
        if result.status == "stopped":
            return False
    return True


class _Processes:
    """Jobs side by side, each in a process that is started for it."""

    def __init__(
        self, num_jobs: int, started: Callable[[Job], None], ended: Callable[[Job, Result], None]
    ) -> None:
        self._num_jobs, self._started, self._ended = num_jobs, started, ended
        self._num_threads = max(1, torch.get_num_threads() // num_jobs)
        self._running: dict[Any, tuple[Any, Job]] = {}

    def run(self, jobs: list[Job]) -> bool:
        """Do them all; as `run_jobs`."""
        waiting = deque(jobs)
        with StopRequest() as stop:
            try:
                while self._running or (waiting and stop.requested is None):
                    while waiting and stop.requested is None and self._has_room():
                        self._start(waiting.popleft())
                    for receiver in connection.wait(list(self._running), LOOK_S):
                        self._end(receiver, stop.requested)
                    if stop.requested is not None:
                        self._pass_on()
            finally:
                for process, _ in self._running.values():
                    process.kill()
                    process.join()
        return stop.requested is None

    def _has_room(self) -> bool:
        """Whether another process may start."""
        return len(self._running) < self._num_jobs

    def _pass_on(self) -> None:
        """Ask all processes to save and end; to be asked again changes nothing."""
        for process, _ in self._running.values():
            process.terminate()

    def _start(self, job: Job) -> None:
        """Start the process of one job."""
        self._started(job)
        compute = replace(job.settings.compute, num_threads=self._num_threads)
        job = replace(job, settings=replace(job.settings, compute=compute))
        context = get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(sender, job, self._num_threads))
        process.start()
        # So that the pipe ends with the process.
        sender.close()
        self._running[receiver] = (process, job)

    def _end(self, receiver: Any, stopped_by: str | None) -> None:
        """Take the result of a process that has sent it, or that has died."""
        process, job = self._running.pop(receiver)
        try:
            result: Result = receiver.recv()
            process.join()
        except EOFError:
            process.join()
            told = f"its process ended with code {process.exitcode}, see {job.run / OUTPUT_NAME}"
            status = "failed" if stopped_by is None else "stopped"
            result = Result(status=status, problem=stopped_by or told)
        receiver.close()
        self._ended(job, result)


def _work(sender: Any, job: Job, num_threads: int) -> None:
    """What the process of one job does."""
    # A terminal sends Ctrl-C to all; the first process passes it on as SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(num_threads)
    job.run.mkdir(parents=True, exist_ok=True)
    with (job.run / OUTPUT_NAME).open("a", encoding="utf-8", buffering=1) as output:
        # Warnings, and the reason where something of ours is wrong.
        sys.stderr = output
        try:
            sender.send(train_and_score(job))
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stderr = sys.__stderr__
            sender.close()
