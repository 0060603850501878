"""Experiments from files to rows of results: data once, every arm with every seed.

What is in the table is not done again, whichever experiment asked for it first; what was cut off
goes on from its last checkpoint. So the same command, given again, finishes what it began.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exastorm import __version__
from exastorm.errors import InputError
from exastorm.performance.experiment_climate import Say, check_climate, make_climate, make_samples
from exastorm.performance.experiment_jobs import Job, Result, run_jobs
from exastorm.performance.experiment_results import (
    DIVERGED,
    DONE,
    ResultRow,
    append_results,
    read_results,
)
from exastorm.performance.experiment_settings import Arm, Experiment, settings_hash
from exastorm.train.device import choose_device
from exastorm.train.run_lock import RunLock
from exastorm.train.settings import TrainSettings

CLIMATES_FOLDER = "climates"
RUNS_FOLDER = "runs"
LOCK_NAME = "lock"

Answered = Callable[[Experiment, list[ResultRow]], None]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One arm of one experiment with one seed.

    Attributes:
        experiment: The experiment.
        arm: The arm.
        train: How it is trained, with the seed.
        settings: Hash of all on which the result hangs.
        climate_folder: Where its data lie.
        run: Its run folder, from the folder of the results.
    """

    experiment: Experiment
    arm: Arm
    train: TrainSettings
    settings: str
    climate_folder: Path
    run: str

    @property
    def title(self) -> str:
        """What lines of progress call it."""
        return f"{self.experiment.name}: {self.arm.name}, seed {self.train.seed}"

    def row(self, status: str, run: str, figures: dict[str, object]) -> ResultRow:
        """Its row in the table."""
        climate = self.experiment.climate.synthesize
        values: dict[str, object] = {
            "grid": f"{climate.height}x{climate.width}",
            "network": self.train.network.name,
            "variant": self.train.network.variant,
            "batch": self.train.batch_size,
            **dict.fromkeys(FIGURES),
            **figures,
        }
        return ResultRow(
            experiment=self.experiment.name,
            arm=self.arm.name,
            seed=self.train.seed,
            status=status,
            version=__version__,
            settings=self.settings,
            run=run,
            **values,  # type: ignore[arg-type]
        )


FIGURES = (
    "parameters", "steps", "samples_seen", "minutes", "samples_per_s", "mean_iou", "iou_tc",
    "iou_ar", "mean_iou_per_image", "validation_mean_iou", "num_bad_steps",
)  # fmt: skip
"""What a row has only when its training is done."""


def run_experiments(
    experiments: Sequence[Experiment],
    out: Path,
    seeds: Sequence[int],
    num_jobs: int,
    say: Say,
    answered: Answered,
    arms: Sequence[str] = (),
) -> bool:
    """Do experiments, as far as their rows are not in the table of results.

    Args:
        experiments: What to do.
        out: Folder of climates, runs and results.csv.
        seeds: Each arm is trained once with each; the data stay.
        num_jobs: Trainings at once.
        say: Is told what is under way, a line each time.
        answered: Is given each experiment and `rows_of` it, once all that is asked for is there,
            or when the work ends before.
        arms: Names of the arms that are asked for; all if there are none.

    Returns:
        Whether all was done; False if a signal ended it.

    Raises:
        InputError: If a climate or the table can't be used, another process works in the folder, or
            a training failed in another way than by diverging; the others are done nevertheless.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = RunLock(out, out / LOCK_NAME)
    lock.acquire()
    try:
        laboratory = _Laboratory(out, say, answered)
        for experiment in experiments:
            laboratory.ask(experiment, seeds, arms)
        return laboratory.run(num_jobs)
    finally:
        lock.release()


def rows_of(experiment: Experiment, out: Path) -> list[ResultRow]:
    """The rows of an experiment in the table, of any seed, in the order of arms and seeds.

    Rows of arms that have other settings now are not among them.
    """
    known = sorted(read_results(out), key=lambda row: row.seed)
    return [
        row
        for arm in experiment.arms
        for row in known
        if (row.experiment, row.arm) == (experiment.name, arm.name)
        and row.settings == trial_of(experiment, arm, row.seed).settings
    ]


def trial_of(experiment: Experiment, arm: Arm, seed: int) -> Trial:
    """One arm with one seed."""
    climate = experiment.climate
    settings = replace(arm.train, seed=seed)
    key = settings_hash(climate.synthesize, climate.label, arm.prepare, settings)
    return Trial(
        experiment=experiment,
        arm=arm,
        train=settings,
        settings=key,
        climate_folder=Path(CLIMATES_FOLDER) / experiment.climate_name,
        run=str(Path(RUNS_FOLDER) / experiment.name / f"{slug(arm.name)}-{seed}-{key}"),
    )


def slug(name: str) -> str:
    """A name as part of a path: lower case, hyphens for all but letters and digits."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "arm"


def can_run(experiment: Experiment, arm: Arm, say: Say) -> bool:
    """Whether an arm can be trained here: half precision, of which CPUs make little, on a GPU."""
    compute = arm.train.compute
    if compute.precision == "float32" or choose_device(compute.device).type != "cpu":
        return True
    say(f"{experiment.name}: {arm.name} left out: {compute.precision} needs a GPU")
    return False


class _Laboratory:
    """What is asked of some experiments, and what is known of them."""

    def __init__(self, out: Path, say: Say, answered: Answered) -> None:
        self._out, self._say, self._answered = out, say, answered
        self._trials: dict[str, list[Trial]] = {}
        self._asking: dict[str, list[Trial]] = {}
        self._num_todo = self._num_ended = 0
        self._failed: list[str] = []

    def ask(self, experiment: Experiment, seeds: Sequence[int], names: Sequence[str]) -> None:
        """Put the trials of an experiment on the list."""
        arms = [arm for arm in experiment.arms if not names or arm.name in names]
        arms = [arm for arm in arms if can_run(experiment, arm, self._say)]
        # All arms with the first seed come first: a first answer early.
        trials = [trial_of(experiment, arm, seed) for seed in seeds for arm in arms]
        if trials:
            self._trials[experiment.name] = trials
        for trial in trials:
            self._asking.setdefault(trial.settings, []).append(trial)

    def run(self, num_jobs: int) -> bool:
        """Do what is left to do; as `run_experiments`."""
        folders = {
            t.climate_folder: t.experiment.climate
            for trials in self._trials.values()
            for t in trials
        }
        for folder, climate in folders.items():
            check_climate(self._out / folder, climate)
        known = {row.settings: row for row in read_results(self._out)}
        for key, row in known.items():
            self._share(key, row)
        self._answer_complete()
        todo = [trials[0] for key, trials in self._asking.items() if key not in known]
        self._num_todo = len(todo)
        finished = run_jobs(self._jobs(todo), num_jobs, self._started, self._ended)
        for name in tuple(self._trials):
            self._answer(name)
        if self._failed:
            raise InputError("; ".join(self._failed))
        return finished

    def _jobs(self, todo: list[Trial]) -> list[Job]:
        """The jobs of some trials, whose data are made first."""
        jobs = []
        for trial in todo:
            folder = self._out / trial.climate_folder
            make_climate(folder, trial.experiment.climate, self._say)
            samples = make_samples(folder, trial.arm.prepare, self._say)
            run = self._out / trial.run
            jobs.append(
                Job(
                    key=trial.settings,
                    title=trial.title,
                    samples=samples,
                    run=run,
                    settings=trial.train,
                )
            )
        return jobs

    def _started(self, job: Job) -> None:
        """Say that a training begins."""
        self._say(f"begins: {job.title}")

    def _ended(self, job: Job, result: Result) -> None:
        """Say how a training ended, and keep its result."""
        self._num_ended += 1
        text = result.problem
        if result.status in (DONE, DIVERGED):
            first = self._asking[job.key][0]
            row = first.row(result.status, first.run, result.figures)
            append_results(self._out, [row])
            self._share(job.key, row)
            text = score_text(row) if result.status == DONE else result.problem
        elif result.status == "failed":
            self._failed.append(f"{job.title}: {result.problem}")
        self._say(f"{result.status} {self._num_ended}/{self._num_todo}: {job.title}: {text}")
        self._answer_complete()

    def _share(self, key: str, row: ResultRow) -> None:
        """Give a row to all who ask the same."""
        known = {(r.experiment, r.arm, r.settings) for r in read_results(self._out)}
        figures = {name: getattr(row, name) for name in FIGURES}
        rows = [t.row(row.status, row.run, figures) for t in self._asking.get(key, [])]
        append_results(
            self._out, [r for r in rows if (r.experiment, r.arm, r.settings) not in known]
        )

    def _answer_complete(self) -> None:
        """Hand over the experiments of which all that is asked for is there."""
        known = {(r.experiment, r.arm, r.settings) for r in read_results(self._out)}
        for name, trials in tuple(self._trials.items()):
            if all((name, t.arm.name, t.settings) in known for t in trials):
                self._answer(name)

    def _answer(self, name: str) -> None:
        """Hand over the rows of an experiment that are there; it is off the list then."""
        experiment = self._trials.pop(name)[0].experiment
        rows = rows_of(experiment, self._out)
        if rows:
            self._answered(experiment, rows)


def score_text(row: ResultRow) -> str:
    """The scores of a row, in words."""
    storms = ", ".join(
        f"{name} {'-' if value is None else f'{value:.3f}'}"
        for name, value in (("TC", row.iou_tc), ("AR", row.iou_ar))
    )
    return f"mean IoU {row.mean_iou:.3f} ({storms}) in {row.minutes:.1f} minutes"
