"""Samples per second from files to scaled tensors, beside raw reads of the same bytes and a peer.

All sides read the same made-up samples, page cache warm, in turns within one run: what else the
machine does meets all of them alike. Ours are read by the loader that training uses. Beside them
stand `dd` over the shards of single precision, and on demand MLPerf's reference loader over the
same samples as DeepCAM's files.
"""

import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from exastorm.errors import InputError
from exastorm.performance.input_data import make_input_data
from exastorm.performance.peer_input import REFERENCE_WORK, check_reference, read_reference
from exastorm.performance.timing import wait_for
from exastorm.progress import ProgressBar
from exastorm.samples.batch import Batch
from exastorm.samples.dataset import SegmentationDataset
from exastorm.samples.loader import LoaderSettings, make_loader
from exastorm.samples.sampler import SamplePlan
from exastorm.samples.source import SampleSource, open_samples
from exastorm.train.device import choose_device

RAW_BLOCK = "56M"
"""Bytes per read of dd: about a sample of the paper's size."""

DEVICE_FORMS = ("shards float32", "shards float16")
DEVICE_THREADS = (1, 2)
"""What feeds the modeled device, and by how many threads."""

MEASURES = ("samples_per_s", "steady_samples_per_s", "cpu_s_per_sample")


@dataclass(frozen=True, kw_only=True)
class InputBenchSettings:
    """Size of the samples and length of the measurement."""

    num_samples: int = 32
    """Samples of an epoch; at the default size 150 MB each in all forms together."""

    height: int = 768
    """Latitudes of a sample; the paper's are 768."""

    width: int = 1152
    """Longitudes of a sample; the paper's are 1152."""

    num_threads: int = 2
    """Threads of our loader, or processes where a form's library holds a lock."""

    num_rounds: int = 5
    """Epochs that each side reads, in turns."""

    deepcam: str | None = None
    """Folder deepcam/src/deepCam of a checkout of mlcommons/hpc, to time its loader too."""

    device_rate: float = 0.0
    """Samples/s that a modeled device takes, which works by sleeping: how long it waits for data,
    and what feeding it costs. 0 leaves it out."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where our loader's batches are wanted."""

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device must be cpu or cuda, got {self.device!r}")
        for name in ("num_samples", "height", "width", "num_threads", "num_rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.device_rate < 0:
            raise ValueError(f"device_rate must not be negative, got {self.device_rate}")
        if self.deepcam is not None and self.num_samples < 16:
            raise ValueError(
                f"num_samples must be at least 16 for DeepCAM's batches of 8, got"
                f" {self.num_samples}"
            )


def bench_input(folder: Path, settings: InputBenchSettings) -> dict[str, Any]:
    """Measure input rates, all sides in turns.

    Args:
        folder: Where the files go meanwhile; a temporary folder in it, removed in the end.
        settings: Size and length.

    Returns:
        `sides`: for each its samples/s over an epoch, best and median, the median after the first
        batch, CPU seconds per sample, and `share_of_dd`, the median over turns of its rate over
        that of dd in that turn; ours have `over_reference` too, over the peer's best in that turn.
        `device`: for each form and number of threads the share of time that the modeled device
        waited, and cores used.

    Raises:
        InputError: If there is too little space, no such device, or the peer can't be run.
    """
    choose_device(settings.device)
    if settings.deepcam is not None:
        check_reference(settings.deepcam)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as own:
        size = (settings.height, settings.width)
        paths = make_input_data(Path(own), settings.num_samples, size)
        sources = {name: open_samples(path) for name, path in paths.items()}
        rounds = _read_in_turns(paths, sources, settings)
        device = _feed_device(sources, settings) if settings.device_rate else {}
    return {
        **asdict(settings),
        "sample_mb": sources["shards float32"].index.layout.stride / 1e6,
        "sides": _sides(rounds),
        "device": device,
    }


def _read_in_turns(
    paths: dict[str, Path], sources: dict[str, SampleSource], settings: InputBenchSettings
) -> dict[str, list[dict[str, float]]]:
    """Figures of each side in each round."""
    raw = [paths["shards float32"] / s.name for s in sources["shards float32"].index.shards]
    loader, device = LoaderSettings(num_threads=settings.num_threads), torch.device(settings.device)
    sides: dict[str, Callable[[], dict[str, float]]] = {
        "dd": lambda: _read_raw(raw, settings.num_samples)
    }
    sides |= {
        name: partial(_read_epoch, source, loader, device) for name, source in sources.items()
    }
    if settings.deepcam is not None:
        data = paths["DeepCAM HDF5"]
        reference = partial(read_reference, settings.deepcam, data)
        sides |= {name: partial(reference, name) for name in REFERENCE_WORK}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    with ProgressBar("bench input", (settings.num_rounds + 1) * len(sides)) as bar:
        for turn in range(settings.num_rounds + 1):
            for name, side in sides.items():
                figures = side()
                if turn:  # the first warms the page cache
                    rounds[name].append(figures)
                bar.advance(note=name)
    return rounds


def _sides(rounds: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Best and medians of each side, and its ratios to others in the same turns."""
    rates = {name: np.array([f["samples_per_s"] for f in r]) for name, r in rounds.items()}
    # An epoch of few samples is mostly the start of workers; what runs on is the fairer peer.
    peers = [
        max(f["samples_per_s"], f["steady_samples_per_s"])
        for name in REFERENCE_WORK
        for f in rounds.get(name, [])
    ]
    best_peer = np.array(peers).reshape(-1, len(rates["dd"])).max(axis=0) if peers else None
    sides = {}
    for name, figures in rounds.items():
        side = {m: float(np.median([f[m] for f in figures])) for m in MEASURES}
        side["best_samples_per_s"] = float(rates[name].max())
        side["share_of_dd"] = float(np.median(rates[name] / rates["dd"]))
        if best_peer is not None and name not in REFERENCE_WORK:
            side["over_reference"] = float(np.median(rates[name] / best_peer))
        sides[name] = side
    return sides


def _read_raw(files: list[Path], num_samples: int) -> dict[str, float]:
    """Rate at which dd reads the shards one after the other."""
    cpu, start = _cpu_seconds(), time.perf_counter()
    for file in files:
        command = ["dd", f"if={file}", "of=/dev/null", f"bs={RAW_BLOCK}", "status=none"]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise InputError(f"dd must run, got {error}", file=file) from None
    rate = num_samples / (time.perf_counter() - start)
    cpu_s = (_cpu_seconds() - cpu) / num_samples
    return {"samples_per_s": rate, "steady_samples_per_s": rate, "cpu_s_per_sample": cpu_s}


def _read_epoch(
    source: SampleSource, loader: LoaderSettings, device: torch.device
) -> dict[str, float]:
    """Read an epoch with our loader, batch 1, from its start to its end."""
    cpu, start = _cpu_seconds(), time.perf_counter()
    num_samples, first = 0, start
    for _ in _batches(source, loader, device):
        num_samples += 1
        if num_samples == 1:
            first = time.perf_counter()
    wait_for(device)
    end = time.perf_counter()
    return {
        "samples_per_s": num_samples / (end - start),
        "steady_samples_per_s": (num_samples - 1) / (end - first),
        "cpu_s_per_sample": (_cpu_seconds() - cpu) / num_samples,
    }


def _batches(source: SampleSource, loader: LoaderSettings, device: torch.device) -> Iterator[Batch]:
    """Batches of one sample for an epoch, as training takes them."""
    dataset = SegmentationDataset(source, "train", class_weights=(1.0, 37.5, 7.7))
    plan = SamplePlan(num_samples=len(dataset), batch_size=1)
    return make_loader(dataset, plan, epoch=0, settings=loader, device=device)


def _feed_device(
    sources: dict[str, SampleSource], settings: InputBenchSettings
) -> dict[str, dict[str, float]]:
    """How a device that takes so many samples/s is fed, by each form and number of threads."""
    fed = {}
    for name in DEVICE_FORMS:
        for num_threads in DEVICE_THREADS:
            loader = LoaderSettings(num_threads=num_threads)
            rounds = [
                feed(
                    _batches(sources[name], loader, torch.device(settings.device)),
                    settings.device_rate,
                )
                for _ in range(settings.num_rounds)
            ]
            plural = "s" if num_threads > 1 else ""
            fed[f"{name}, {num_threads} thread{plural}"] = {
                key: float(np.median([r[key] for r in rounds])) for key in rounds[0]
            }
    return fed


def feed(batches: Iterator[Batch], rate: float) -> dict[str, float]:
    """Feed a modeled device that sleeps while it works on a batch.

    Args:
        batches: Ready or not.
        rate: Samples/s that the device can take.

    Returns:
        share_waited: Of the time from the first batch on, that for which the device had no data.
        cores: CPU seconds per second. samples_per_s: Taken in the end.
    """
    num_samples, waited = len(next(batches).label), 0.0
    cpu, start = _cpu_seconds(), time.perf_counter()
    time.sleep(num_samples / rate)
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        waited += time.perf_counter() - asked
        time.sleep(len(batch.label) / rate)
        num_samples += len(batch.label)
    seconds = time.perf_counter() - start
    return {
        "share_waited": waited / seconds,
        "cores": (_cpu_seconds() - cpu) / seconds,
        "samples_per_s": num_samples / seconds,
    }


def _cpu_seconds() -> float:
    """CPU time of this process and of those it started that have ended, s."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
