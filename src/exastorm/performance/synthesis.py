"""Snapshots per second and core of the made-up climate, against the speed of writing its bytes."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from exastorm.progress import track
from exastorm.readers.synthetic.climate import BLOCK_LENGTH, Block, make_block
from exastorm.readers.synthetic.settings import SyntheticSettings


@dataclass(frozen=True, kw_only=True)
class SynthesizeBenchSettings:
    """Size and length of the measurement."""

    height: int = 192
    """Latitudes."""

    width: int = 288
    """Longitudes."""

    num_snapshots: int = 24
    """Snapshots made while the clock runs; eight more are made before it starts."""

    def __post_init__(self) -> None:
        if self.num_snapshots < 1:
            raise ValueError(f"num_snapshots must be at least 1, got {self.num_snapshots}")
        self.climate()

    def climate(self) -> SyntheticSettings:
        """The climate that is made: the default one on this grid."""
        return SyntheticSettings(
            height=self.height, width=self.width, num_snapshots=self.num_snapshots + BLOCK_LENGTH
        )


def bench_synthesize(settings: SynthesizeBenchSettings) -> dict[str, Any]:
    """Measure how fast the made-up climate is made, by the CPU time of this process.

    Args:
        settings: Size and length.

    Returns:
        snapshots_per_s_per_core, mb_per_s_per_core of fields made, copy_mb_per_s_per_core, the rate
        at which one core copies the same bytes in the same run, and share_of_copy: no code that
        writes its fields to memory can be faster than 1.
    """
    climate = settings.climate()
    hours = [int(hour) for hour in climate.hours()]
    make_block(climate, tuple(hours[:BLOCK_LENGTH]))  # coastlines, terrain, storm lives
    starts = range(BLOCK_LENGTH, len(hours), BLOCK_LENGTH)
    wall, cpu = time.perf_counter(), time.process_time()
    blocks = [
        make_block(climate, tuple(hours[start : start + BLOCK_LENGTH]))
        for start in track(starts, "bench synthesize")
    ]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    megabytes = 1e-6 * sum(field.nbytes for block in blocks for field in block.values())
    copy_rate = _copy_rate(blocks[0])
    return {
        "grid": [settings.height, settings.width],
        "num_snapshots": settings.num_snapshots,
        "num_fields": len(blocks[0]),
        "wall_s": wall,
        "cpu_s": cpu,
        "snapshots_per_s_per_core": settings.num_snapshots / cpu,
        "mb_per_s_per_core": megabytes / cpu,
        "copy_mb_per_s_per_core": copy_rate,
        "share_of_copy": megabytes / cpu / copy_rate,
    }


def _copy_rate(block: Block) -> float:
    """MB of fields that one core copies in a second of CPU time; best of five."""
    rates = []
    target = {name: np.empty_like(field) for name, field in block.items()}
    for _ in range(6):  # the first touches the memory
        cpu = time.process_time()
        for name, field in block.items():
            np.copyto(target[name], field)
        rates.append(time.process_time() - cpu)
    return 1e-6 * sum(field.nbytes for field in block.values()) / min(rates[1:])
