"""`exastorm experiment`: questions about training, answered by trained arms in one table."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from exastorm.cli.command import Command, Outcome
from exastorm.cli.outputs import out_folder
from exastorm.config import suggestion
from exastorm.errors import InputError
from exastorm.performance.experiment_results import RESULTS_NAME, ResultRow
from exastorm.performance.experiment_settings import Experiment as ExperimentSettings
from exastorm.performance.experiment_settings import load_experiment
from exastorm.performance.experiments import run_experiments
from exastorm.report.experiment_figure import experiment_figure, experiment_text
from exastorm.report.style import save_png


@dataclass(frozen=True, kw_only=True)
class Experiment(Command):
    """Train what an experiment compares, on a made-up climate, and say how well each arm did.

    Shipped: networks, baseline, larc, loss_weights, precision, variants, channels, normalization.
    What is in the results already is not trained again; what was cut off goes on where it was.
    """

    example: ClassVar[str] = "exastorm experiment loss_weights --out experiments --num-jobs 2"

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Shipped experiments, or YAML files of your own."""

    out: str = "experiments"
    """Folder of climates, runs and results.csv; of each experiment a page NAME.md and a figure."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Every arm is trained once with each: other weights, order and rolls, the same data."""

    num_jobs: int = 1
    """Trainings side by side, each with its share of the cores; two of one thread each get more
    done than one of two threads after the other."""

    arms: tuple[str, ...] = ()
    """Train these arms alone, by their names in the file."""

    def run(self) -> Outcome:
        """Train and report.

        Raises:
            InputError: If options or files are wrong, before anything is trained.
        """
        out = out_folder(self.out)
        if self.num_jobs < 1:
            raise InputError(f"--num-jobs must be at least 1, got {self.num_jobs}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError(f"--seeds must be different, none negative, got {list(self.seeds)}")
        experiments = self.chosen()
        answers: dict[str, list[ResultRow]] = {}
        texts: list[str] = []

        def answered(experiment: ExperimentSettings, rows: list[ResultRow]) -> None:
            answers[experiment.name] = rows
            texts.append(write_answer(experiment, rows, out))

        finished = run_experiments(
            experiments, out, self.seeds, self.num_jobs, say, answered, self.arms
        )
        line = f"results: {out / RESULTS_NAME}"
        if not finished:
            line = f"stopped, nothing is lost; the same command goes on; {line}"
        return Outcome(line, figures_of(answers, finished), "\n".join(texts))

    def chosen(self) -> list[ExperimentSettings]:
        """The experiments that are named, checked.

        Raises:
            InputError: If a file is wrong, two have one name, or an arm is in none of them.
        """
        experiments = [load_experiment(name) for name in dict.fromkeys(self.names)]
        names = [experiment.name for experiment in experiments]
        if len(set(names)) < len(names):
            raise InputError(f"experiments must have different names, got {', '.join(names)}")
        known = [arm.name for experiment in experiments for arm in experiment.arms]
        for arm in self.arms:
            if arm not in known:
                raise InputError(
                    f"--arms must be of the experiments, got {arm!r}{suggestion(arm, known)}"
                )
        return experiments


def say(line: str) -> None:
    """Tell what is under way."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def write_answer(experiment: ExperimentSettings, rows: list[ResultRow], out: Path) -> str:
    """Write the page and the figure of an experiment; returns the page's text."""
    picture = f"{experiment.name}.png"
    text = experiment_text(experiment.name, experiment.question, rows, picture)
    save_png(experiment_figure(experiment.question, rows, out), out / picture)
    (out / f"{experiment.name}.md").write_text(text, encoding="utf-8")
    return text


def figures_of(answers: dict[str, list[ResultRow]], finished: bool) -> dict[str, Any]:
    """What --json prints."""
    return {
        "finished": finished,
        "experiments": {name: [asdict(row) for row in rows] for name, rows in answers.items()},
    }
