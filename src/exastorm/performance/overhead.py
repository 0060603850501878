"""What the training loop costs at one process, beside a plain PyTorch loop of the same network.

The plain loop is what a tutorial would write: forward, `cross_entropy`, backward, Adam. Ours is the
one that `exastorm train` runs: pixels are weighted, every step is guarded, logged and agreed on,
and gradients are exchanged, here with nobody. Both get their batches from the same reader, which
reads and rolls samples ahead on a thread of its own; what that costs is told apart, by a plain loop
that has one batch again and again. All compute in the same way, with all threads inside the
operations; how `exastorm train` uses threads by itself is measured too.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from exastorm.networks.build import NetworkSettings, build_network
from exastorm.parallel.cluster import Cluster
from exastorm.parallel.gradients import Lag
from exastorm.performance.timing import wait_for
from exastorm.progress import ProgressBar
from exastorm.readers.synthetic.climate import synthetic_dataset
from exastorm.readers.synthetic.settings import SyntheticSettings
from exastorm.samples.batch import Batch
from exastorm.samples.prepare import prepare_samples
from exastorm.samples.settings import PrepareSettings
from exastorm.train.device import ComputeSettings, compute_mode, plan_compute
from exastorm.train.loop import Trainer
from exastorm.train.meter import RunLog
from exastorm.train.schedule import ScheduleSettings
from exastorm.train.settings import TrainSettings
from exastorm.train.together import ExchangeSettings
from exastorm.variables import CHANNEL_NAMES, NUM_CLASSES

Step = Callable[[], None]

PLAIN, UNFED = "plain", "plain, one batch"

PREPARE = PrepareSettings(
    channels=CHANNEL_NAMES, block_days=1.0, gap_hours=0.0, split_fractions=(0.6, 0.2, 0.2)
)
"""All 16 channels; days by turns, as few snapshots allow."""


@dataclass(frozen=True, kw_only=True)
class OverheadSettings:
    """What is trained, and for how long."""

    network: NetworkSettings = field(default_factory=NetworkSettings)

    compute: ComputeSettings = field(default_factory=ComputeSettings)

    height: int = 96
    """Latitudes of a sample. The smaller the sample, the more the loop weighs."""

    width: int = 144
    """Longitudes of a sample."""

    batch_size: int = 4
    """Samples in a step."""

    num_steps: int = 5
    """Steps of each loop before the next has its turn."""

    num_rounds: int = 10
    """Turns of each loop; the median over turns counts."""

    num_snapshots: int = 48
    """Samples, of a made-up climate."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "num_steps", "num_rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def bench_overhead(settings: OverheadSettings) -> dict[str, Any]:
    """Time steps of the plain loop and of ours, in turns.

    Returns:
        `plain_ms`: a step of the plain loop. `loops`: for each other a step's time, ms, and
        `overhead`, the median over turns of its time over the plain one's in that turn, less 1.

    Raises:
        InputError: If the device is not there.
    """
    with tempfile.TemporaryDirectory(prefix="exastorm-overhead-") as name:
        folder = Path(name)
        make_samples(folder / "samples", settings)
        alike = plan_compute(settings.compute, settings.batch_size, one_worker=True)
        with compute_mode(settings.compute, alike):
            return _measure(folder, settings)


def make_samples(samples: Path, settings: OverheadSettings) -> None:
    """Prepare samples of a made-up climate, labeled by its truth."""
    climate = synthetic_dataset(
        SyntheticSettings(
            height=settings.height, width=settings.width, num_snapshots=settings.num_snapshots
        )
    )
    truth = climate[["truth"]].rename(truth="class_map")
    prepare_samples(climate.drop_vars("truth"), truth, samples, PREPARE)


def _measure(folder: Path, settings: OverheadSettings) -> dict[str, Any]:
    """Times of all loops, in turns."""
    loops = {
        "lag 0": _Ours(folder, "lag0", settings, lag=0, one_worker=True),
        "lag 1": _Ours(folder, "lag1", settings, lag=1, one_worker=True),
        "as shipped": _Ours(folder, "shipped", settings, lag=0, one_worker=False),
    }
    feeding = _Ours(folder, "plain", settings, lag=0, one_worker=True)
    one = Batch(*(tensor.clone() for tensor in feeding.next_batch()))
    steps: dict[str, Step] = {
        PLAIN: plain_loop(settings, feeding.next_batch),
        UNFED: plain_loop(settings, lambda: one),
    }
    steps |= {name: ours.step for name, ours in loops.items()}
    device = plan_compute(settings.compute, settings.batch_size).device
    times: dict[str, list[float]] = {name: [] for name in steps}
    with ProgressBar("bench overhead", settings.num_rounds) as bar:
        for turn in range(settings.num_rounds + 1):
            for name, step in steps.items():
                seconds = _time(step, settings.num_steps, device)
                # The first turn warms caches, threads and libraries.
                if turn:
                    times[name].append(seconds)
            bar.advance(int(turn > 0))
    for ours in (feeding, *loops.values()):
        ours.close()
    return asdict(settings) | {
        "plain_ms": 1e3 * statistics.median(times[PLAIN]),
        "loops": {name: _row(times[name], times[PLAIN]) for name in (UNFED, *loops)},
    }


def _row(times: list[float], plain: list[float]) -> dict[str, float]:
    """Figures of one loop."""
    ratios = [own / other for own, other in zip(times, plain, strict=True)]
    return {"step_ms": 1e3 * statistics.median(times), "overhead": statistics.median(ratios) - 1.0}


def _time(step: Step, num_steps: int, device: torch.device) -> float:
    """Seconds a step, over a few."""
    wait_for(device)
    start = time.perf_counter()
    for _ in range(num_steps):
        step()
    wait_for(device)
    return (time.perf_counter() - start) / num_steps


def plain_loop(settings: OverheadSettings, next_batch: Callable[[], Batch]) -> Step:
    """A step of the loop that a tutorial would write.

    Args:
        settings: What is trained.
        next_batch: Gives a batch, on the device.
    """
    plan = plan_compute(settings.compute, settings.batch_size, one_worker=True)
    torch.manual_seed(0)
    num_channels = len(CHANNEL_NAMES)
    network = build_network(settings.network, num_channels, NUM_CLASSES, settings.width)
    plan.place(network.train())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    weights = torch.ones(NUM_CLASSES, device=plan.device)

    def step() -> None:
        batch = next_batch()
        fields = batch.field.contiguous(memory_format=plan.memory_format)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            network(fields), batch.label, weights, ignore_index=-1
        )
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


class _Ours:
    """The loop of `exastorm train`, step by step."""

    def __init__(
        self, folder: Path, name: str, settings: OverheadSettings, *, lag: Lag, one_worker: bool
    ) -> None:
        train = TrainSettings(
            network=settings.network,
            batch_size=settings.batch_size,
            compute=settings.compute,
            exchange=ExchangeSettings(lag=lag),
            schedule=ScheduleSettings(warmup_steps=0),
        )
        run = folder / name
        run.mkdir()
        plan = plan_compute(settings.compute, settings.batch_size, one_worker=one_worker)
        self._trainer = Trainer(folder / "samples", run, train, Cluster.alone(), plan)
        self._batches = self._trainer.data.batches(0)
        self._log = RunLog(run, settings.batch_size)
        self._trainer.workers.__enter__()
        self._trainer.together.__enter__()

    def next_batch(self) -> Batch:
        """A batch, on the device."""
        return next(self._batches)

    def step(self) -> None:
        """Take a step, as `Trainer.train` does between two validations."""
        trainer = self._trainer
        self._log.record_step(trainer.step(self.next_batch()))
        trainer.agree(stop=False)
        if trainer.step_number % trainer.settings.log_interval == 0:
            trainer.write_steps(self._log)

    def close(self) -> None:
        """End threads, and close files."""
        self._trainer.together.__exit__(None, None, None)
        self._trainer.workers.__exit__(None, None, None)
        self._log.__exit__(None, None, None)
