"""`exastorm demo`: the main job end to end on the made-up climate, with its figures in one file.

Every step calls the function behind its own command, so that the demo shows nothing that the
commands could not do on another archive.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr

import exastorm
from exastorm import __version__
from exastorm.cli.command import Command, Outcome
from exastorm.cli.outputs import out_folder
from exastorm.cli.synthesize import synthesize
from exastorm.labels.archive import label_archive
from exastorm.labels.settings import LabelSettings
from exastorm.parallel.cluster import Cluster
from exastorm.predict.run import segment_archive
from exastorm.predict.settings import SegmentSettings
from exastorm.readers.class_maps import open_class_map
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.report.demo import write_demo_page
from exastorm.report.settings import ReportSettings
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings
from exastorm.samples.shards import SampleStore
from exastorm.storms.census import take_census
from exastorm.storms.compare import compare_class_maps
from exastorm.storms.settings import CensusSettings
from exastorm.train.baseline import evaluate_baseline
from exastorm.train.evaluate import evaluate
from exastorm.train.run import train
from exastorm.train.settings import TrainSettings


@dataclass
class Steps:
    """The steps of a demo: what each gave and how long it took.

    Attributes:
        out: Folder of the demo.
        settings: The command, with the settings of every stage.
        figures: What will be in summary.json.
        census_text: The census of the held-out masks, as a table.
    """

    out: Path
    settings: "Demo"
    figures: dict[str, Any] = field(default_factory=lambda: {"version": __version__, "seconds": {}})
    census_text: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step and say that it is done."""
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self.figures["seconds"][name] = round(seconds, 1)
        sys.stderr.write(f"{name:<10} {seconds:6.1f} s\n")

    def make_data(self) -> None:
        """A made-up climate, its heuristic labels, and training samples."""
        with self.step("synthesize"):
            self.figures["climate"] = synthesize(self.settings.synthesize, self.out, "cam")
        with self.step("label"):
            summary = label_archive(self.archive(), self.out / "labels.nc", self.settings.label)
            self.figures["labels"] = summary.to_dict()
        with self.step("prepare"):
            labels = open_class_map(self.out / "labels.nc")
            index = prepare_samples(
                self.archive(), labels, self.out / "samples", self.settings.prepare
            )
            self.figures["samples"] = index.to_dict()

    def learn(self) -> None:
        """Train the network; score it and the per-pixel baseline on held-out time blocks."""
        samples, run = self.out / "samples", self.out / "run"
        with self.step("train"):
            summary = train(samples, run, self.settings.train, Cluster.alone())
            self.figures["training"] = summary.to_dict()
        with self.step("evaluate"):
            self.figures["network_vs_labels"] = evaluate(run, samples, "test")
            self.figures["baseline_vs_labels"] = evaluate_baseline(run, samples, "test")

    def look(self) -> None:
        """Segment the held-out times, compare with the known truth, count, draw."""
        with self.step("segment"):
            held_out = self.held_out(self.archive())
            summary = segment_archive(
                held_out, self.out / "run", self.out / "masks.nc", self.settings.segment
            )
            self.figures["segmentation"] = summary.to_dict()
        with self.step("compare"):
            masks, labels, truth = (self.class_map(n) for n in ("masks", "labels", "truth"))
            self.figures["network_vs_truth"] = compare_class_maps(masks, truth)
            self.figures["heuristic_vs_truth"] = compare_class_maps(self.held_out(labels), truth)
        with self.step("census"):
            census = take_census(masks, held_out, self.settings.census)
            census.write(self.out / "census")
            self.figures["census"] = census.to_dict()
            self.census_text = census.to_text()
        with self.step("report"):
            page = write_demo_page(
                self.out,
                self.figures,
                held_out,
                {"network": masks, "heuristic": self.held_out(labels), "truth": truth},
                census,
                self.settings.report,
            )
            self.figures["page"] = str(page)

    def archive(self) -> xr.Dataset:
        """The made-up archive, opened as any other."""
        return exastorm.open(self.out / "archive")

    def class_map(self, name: str) -> xr.Dataset:
        """The labels, masks or truth of the demo."""
        return open_class_map(self.out / f"{name}.nc")

    def held_out(self, dataset: xr.Dataset) -> xr.Dataset:
        """The times of the test split."""
        store = SampleStore(self.out / "samples")
        times = np.array([store.time(int(i)) for i in store.indices("test")])
        return dataset.sel(time=np.sort(times))


def result_table(figures: dict[str, Any]) -> str:
    """The IoU of everything that was scored, and the storms that were counted."""
    rows = ["held-out time blocks          mean IoU    BG    TC    AR"]
    for key, title in (
        ("network_vs_labels", "network vs labels"),
        ("baseline_vs_labels", "logistic regression vs labels"),
        ("network_vs_truth", "network vs truth"),
        ("heuristic_vs_truth", "heuristic vs truth"),
    ):
        scores = [figures[key]["mean_iou"], *figures[key]["iou"].values()]
        numbers = "".join(f" {'-' if s is None else f'{s:.3f}':>5}" for s in scores[1:])
        rows.append(f"{title:<30} {scores[0]:>7.3f}{numbers}")
    return "\n".join(rows)


@dataclass(frozen=True, kw_only=True)
class Demo(Command):
    """Run the main job end to end on the made-up climate: labels, training, masks, census, page.

    Settings come from the shipped file `demo`, or from --config, and can be overridden.
    """

    example: ClassVar[str] = "exastorm demo --out demo --train.num-steps 500"
    default_config: ClassVar[str | None] = "demo"

    out: str = "demo"
    """Folder to make; its figures go to summary.json, its page to index.html. One that holds
    a climate is refused."""

    synthesize: SyntheticSettings = SyntheticSettings()
    label: LabelSettings = LabelSettings()
    prepare: PrepareSettings = PrepareSettings()
    train: TrainSettings = TrainSettings()
    segment: SegmentSettings = SegmentSettings()
    census: CensusSettings = CensusSettings()
    report: ReportSettings = ReportSettings()

    def run(self) -> Outcome:
        """Run it."""
        out = out_folder(self.out)
        steps = Steps(out, self)
        start = time.perf_counter()
        steps.make_data()
        steps.learn()
        steps.look()
        figures = steps.figures
        figures["seconds"]["total"] = round(time.perf_counter() - start, 1)
        (out / "summary.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
        line = f"page: {figures['page']} (figures: {out / 'summary.json'})"
        text = f"{result_table(figures)}\n\nstorms in the held-out masks\n{steps.census_text}"
        return Outcome(line, figures, text)
