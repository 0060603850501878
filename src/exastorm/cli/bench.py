"""`exastorm bench WHAT`: measure speed, each figure beside a physical limit of the same run."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from exastorm.cli.command import Command, Outcome, answer, parse
from exastorm.config import suggestion
from exastorm.errors import InputError
from exastorm.performance.shard_formats import ShardBenchSettings, bench_shards
from exastorm.performance.step import StepBenchSettings, bench_step
from exastorm.performance.synthesis import SynthesizeBenchSettings, bench_synthesize


def as_text(figures: dict[str, Any], indent: str = "") -> str:
    """Figures as lines of text, four digits each."""
    lines = []
    for name, value in figures.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", as_text(value, indent + "  ")]
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            lines.append(f"{indent}{name:<32} {shown}")
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class BenchSynthesize(Command):
    """Rate at which one core makes the made-up climate, beside copying the same bytes."""

    example: ClassVar[str] = "exastorm bench synthesize --climate.num-snapshots 48"

    climate: SynthesizeBenchSettings = SynthesizeBenchSettings()

    def run(self) -> Outcome:
        """Measure."""
        figures = bench_synthesize(self.climate)
        rate = figures["snapshots_per_s_per_core"]
        return Outcome(f"{rate:.1f} snapshots/s on one core", figures, as_text(figures))


@dataclass(frozen=True, kw_only=True)
class BenchShards(Command):
    """Rate of random reads of whole samples from several on-disk forms, beside raw reads."""

    example: ClassVar[str] = "exastorm bench shards --folder /scratch --shards.num-samples 24"

    folder: str = tempfile.gettempdir()
    """Where the files go meanwhile; about 60 MB a sample at the default size."""

    shards: ShardBenchSettings = ShardBenchSettings()

    def run(self) -> Outcome:
        """Measure."""
        figures = bench_shards(Path(self.folder), self.shards)
        forms = figures["forms"]
        best = max(forms, key=lambda name: forms[name]["samples_per_s"])
        line = f"fastest: {best}, {forms[best]['samples_per_s']:.1f} samples/s with one thread"
        return Outcome(line, figures, as_text(figures))


@dataclass(frozen=True, kw_only=True)
class BenchStep(Command):
    """Rate of a training step, beside the device's own peak in convolutions and matrix products."""

    example: ClassVar[str] = "exastorm bench step --step.height 192 --step.width 288"

    step: StepBenchSettings = StepBenchSettings()

    def run(self) -> Outcome:
        """Measure."""
        figures = bench_step(self.step)
        line = f"{figures['samples_per_s']:.3g} samples/s, {figures['tflop_per_s']:.3g} TF/s"
        return Outcome(line, figures, as_text(figures))


BENCHES: dict[str, type[Command]] = {
    "synthesize": BenchSynthesize,
    "shards": BenchShards,
    "step": BenchStep,
}
"""What can be measured, in the order the data flows."""


def overview() -> str:
    """What `exastorm bench --help` prints."""
    rows = [f"  {name:<10}  {cls.__doc__}" for name, cls in BENCHES.items()]
    return "\n".join(
        [
            "usage: exastorm bench WHAT [--section.key value]... [--json]",
            "",
            *rows,
            "",
            "Example: exastorm bench step --step.height 192 --step.width 288",
        ]
    )


def main(argv: list[str]) -> None:
    """Run one benchmark and print its figures.

    Raises:
        InputError: For an unknown one.
    """
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(overview() + "\n")
        return
    name = argv[0]
    if name not in BENCHES:
        raise InputError(f"unknown benchmark {name!r}{suggestion(name, BENCHES)}")
    command = parse(BENCHES[name], f"bench {name}", argv[1:])
    answer(command.run(), command.json)
