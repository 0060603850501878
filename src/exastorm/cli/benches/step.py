"""`exastorm bench step`: a training step against the device's own peak."""

from dataclasses import dataclass
from typing import ClassVar

from exastorm.cli.command import Command, Outcome, figures_text
from exastorm.performance.step import StepBenchSettings, bench_step


@dataclass(frozen=True, kw_only=True)
class BenchStep(Command):
    """Rate of a training step, beside the device's peak in convolutions and matrix products."""

    example: ClassVar[str] = "exastorm bench step --step.network.preset half --step.num-steps 1"

    step: StepBenchSettings = StepBenchSettings()

    def run(self) -> Outcome:
        """Measure."""
        figures = bench_step(self.step)
        line = (
            f"{figures['samples_per_s']:.3g} samples/s, {1e3 * figures['tflop_per_s']:.4g} GFLOP/s,"
            f" {100 * figures['share_of_convolution_peak']:.0f} % of its biggest convolution alone"
        )
        if "rate_over_deepcam" in figures:
            line += f", {figures['rate_over_deepcam']:.2f} times DeepCAM's rate"
        return Outcome(line, figures, figures_text(figures))
