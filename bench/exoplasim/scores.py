"""The figures of bench/exoplasim/experiment.sh as one table: rivers of two networks.

    python bench/exoplasim/scores.py OUT GCM/output/exoplasim_day0240.nc ...

prints Markdown. Areas count, not cells: a cell at 60 degrees is half one at the equator. The IoU of
`exastorm evaluate` counts cells, as the paper does, and is printed beside it.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import exastorm
from exastorm.grid import cell_areas_km2
from exastorm.readers.class_maps import open_class_map

RIVER = 2
STRONG_KG_M_S = 250.0
"""Vapor transport of rivers (Rutz et al. 2014), kg m-1 s-1."""

MASKS = {"labels": "`sc18`", "learned_here": "learned here", "demo_weights": "the demo's weights"}


def share(part: np.ndarray, whole: np.ndarray, area: np.ndarray) -> float:
    """Area of one mask (T, H, W) over that of another; NaN where that is empty."""
    total = float((whole * area).sum())
    return float((part * area).sum()) / total if total > 0 else float("nan")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("archive", nargs="+")
    options = parser.parse_args()
    times = open_class_map(options.out / "learned_here.nc")["time"].values
    archive = exastorm.open(options.archive, fields=("TMQ", "IVT")).sel(time=times)
    lat = archive["lat"].values
    area = cell_areas_km2(lat, archive["lon"].values)
    area = np.broadcast_to(area, archive["IVT"].shape[1:])
    strong = archive["IVT"].values > STRONG_KG_M_S
    strong &= (np.abs(lat) > 23.0)[:, None]
    flowing = archive["IVT"].values > STRONG_KG_M_S
    maps = {
        name: open_class_map(options.out / f"{name}.nc")["class_map"].sel(time=times).values
        for name in MASKS
    }
    truth = maps["labels"] == RIVER
    north = np.broadcast_to((lat > 0)[:, None], truth.shape)
    everywhere = np.ones_like(truth)
    print(f"{len(times)} snapshots, {times[0]} to {times[-1]}\n")
    print("| | share of the globe (%) | IoU, cells | IoU, area | north | south | precision"
          " | recall | over 250 (%) | strong flow marked (%) |")  # fmt: skip
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name, title in MASKS.items():
        river = maps[name] == RIVER
        row = [f"{100 * share(river, everywhere, area):.2f}"]
        if name == "labels":
            row += [""] * 6
        else:
            scores = json.loads((options.out / f"{name}.json").read_text())
            row.append(f"{scores['iou']['AR']:.3f}")
            for part in (everywhere, north, ~north):
                row.append(f"{share(river & truth & part, (river | truth) & part, area):.3f}")
            row += [f"{scores['precision']['AR']:.2f}", f"{scores['recall']['AR']:.2f}"]
        row.append(f"{100 * share(river & flowing, river, area):.0f}")
        row.append(f"{100 * share(river & strong, strong, area):.0f}")
        print(f"| {title} | " + " | ".join(row) + " |")
    cyclones = {name: int((maps[name] == 1).sum()) for name in MASKS}
    print("\nCells of cyclones:", ", ".join(f"{MASKS[n]} {c}" for n, c in cyclones.items()))


if __name__ == "__main__":
    main()
