"""Cyclones by `teca` in form exact beside TECA itself, on the same files.

    python bench/peers/teca_cyclones.py --detect .../teca_tc_detect \\
        --trajectory .../teca_tc_trajectory

Writes a made-up climate with hard cases drawn in (storms that cross 0/360 and the equator side by
side, reach the search latitudes, lie beside a pole, are weak, or have another's core), runs both
programs and ours on it, and prints how many candidates and tracks are the same, how far apart they
are, and how much CPU time each takes. `--store` instead writes the small inputs and TECA's output
for them that the tests compare with.
"""

import argparse
import csv
import os
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import netCDF4
import numpy as np
from teca_storms import FIELDS, climate, drawn, write

from exastorm.grid import longitude_difference
from exastorm.labels.cyclones.centers import center_table
from exastorm.labels.cyclones.teca import TECA_VARIANTS
from exastorm.linking.trajectories import TrackLimits, link_candidates
from exastorm.physics.surroundings import Surroundings

LIMITS = TrackLimits(max_km_per_day=1600.0, min_days=2.0, max_step_hours=24.0, form="exact")


def run(program, *arguments):
    """CPU seconds of a program."""
    before = os.times()
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    after = os.times()
    if done.returncode or "ERROR" in done.stderr:
        raise SystemExit(f"{program} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    used = after.children_user + after.children_system
    return used - before.children_user - before.children_system


def detect(program, path, folder, rules):
    """CPU seconds of TECA's detector; its candidates and tracks lie in the folder."""
    return run(
        program, "--input_regex", f"{path.parent}/{path.stem}[.]nc$", "--n_threads", "1",
        "--candidate_file", str(folder / "candidates.csv"),
        "--track_file", str(folder / "tracks.csv"),
        "--min_vorticity", str(rules.min_vorticity_per_s),
        "--core_temp_delta", str(rules.min_warm_core_k),
        "--pressure_delta", str(rules.min_pressure_rise_pa),
    )  # fmt: skip


def rows_of(path):
    """Rows of a table of TECA's as dicts of numbers."""
    lines = [line for line in Path(path).read_text().splitlines() if not line.startswith("#")]
    rows = [
        # A name is followed by the number of its type, as in "lon(12)".
        {key.split("(")[0]: float(value) for key, value in row.items()}
        for row in csv.DictReader(lines, skipinitialspace=True)
    ]
    # The detector's threads write in any order; its tracker sorts them like this.
    return sorted(rows, key=lambda row: (row["step"], row["storm_id"]))


def ours(path, rules):
    """Our candidates and the CPU time of reading and of finding."""
    found, steps, clock = [], [], {"read": 0.0, "find": 0.0}
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        grid = Surroundings.of(file["lat"][:], file["lon"][:])
        days = file["time"][:]
        for step in range(len(days)):
            start = time.process_time()
            fields = {name: file[name][step] for name in FIELDS}
            read = time.process_time()
            centers = rules.find(fields, grid)
            clock["read"] += read - start
            clock["find"] += time.process_time() - read
            found += centers
            steps += [step] * len(centers)
    return center_table(found, steps, days * 24.0), clock


def match(mine, theirs):
    """Pairs (row of ours, row of theirs) that lie at the same vorticity maximum."""
    left: dict[int, list[int]] = {}
    for n, row in enumerate(theirs):
        left.setdefault(int(row["step"]), []).append(n)
    pairs = []
    for n, row in enumerate(mine.itertuples()):
        for k in left.get(row.step, []):
            # Printed vorticity has six digits; storms that share them do not share the place.
            other = theirs[k]["850mb_vorticity"]
            same = abs(other - row.vorticity_per_s) < 2e-5 * row.vorticity_per_s
            east = abs(longitude_difference(theirs[k]["lon"], row.lon))
            if same and east < 3.0 and abs(theirs[k]["lat"] - row.lat) < 3.0:
                pairs.append((n, k))
                left[row.step].remove(k)
                break
    return pairs


def compare_candidates(name, mine, theirs, rules):
    """Print how many candidates are the same and how far they lie apart."""
    pairs = match(mine, theirs)
    for n in sorted(set(range(len(mine))) - {n for n, _ in pairs}):
        row = mine.iloc[n]
        where = f"step {row.step:g}, {row.lat:.2f}, {row.lon:.2f}"
        print(f"  only ours: {where}, rise {row.pressure_rise_pa:.2f}")
    for k in sorted(set(range(len(theirs))) - {k for _, k in pairs}):
        row = theirs[k]
        print(f"  only TECA's: step {row['step']:g}, {row['lat']:.2f}, {row['lon']:.2f}")
    away, flags, pressure, wind = [], 0, [], []
    for n, k in pairs:
        row, other = mine.iloc[n], theirs[k]
        east = longitude_difference(row.lon, other["lon"])
        away.append(float(np.hypot(east, row.lat - other["lat"])))
        pressure.append(abs(row.central_pressure_pa - other["sea_level_pressure"]))
        wind.append(abs(row.max_wind_ms - other["surface_wind"]))
        warm = row.warm_core_k >= min(rules.min_warm_core_k, 2.0)
        thick = row.thickness_m > 2.0
        flags += (warm, thick) == (other["have_core_temp"] > 0, other["have_thickness"] > 0)
    away = np.array(away)
    print(
        f"{name}: candidates ours {len(mine)}, TECA's {len(theirs)}, same {len(pairs)}; pressure "
        f"minimum within 0.1 degree {np.count_nonzero(away <= 0.1)}, median {np.median(away):.4f}, "
        f"largest {away.max():.3f}; same flags {flags}; pressure within {max(pressure):.2f} Pa, "
        f"wind within {max(wind):.1e} m/s"
    )
    return pairs


def compare_tracks(name, mine, theirs, tracks, pairs, rules):
    """Print how many tracks are the same, point by point, end to end and on TECA's candidates."""
    same = {n: int(theirs[k]["storm_id"]) for n, k in pairs}
    a = points(rules.select(mine), [same.get(n, -1) for n in range(len(mine))])
    b = points([int(row["track_id"]) for row in tracks], [int(row["storm_id"]) for row in tracks])
    hours = mine.attrs["hours"]
    table = mine.iloc[:0].reindex(range(len(theirs)))
    for column in ("step", "lat", "lon"):
        table[column] = [row[column] for row in theirs]
    table.attrs["hours"] = hours
    strong = np.array(
        [
            row["surface_wind"] >= 17 and row["have_core_temp"] > 0 and row["have_thickness"] > 0
            for row in theirs
        ]
    )
    numbers = link_candidates(table, strong, LIMITS)
    c = points(numbers, [int(row["storm_id"]) for row in theirs])
    print(
        f"{name}: tracks ours {len(a)}, TECA's {len(b)}, the same in every point "
        f"{len(set(a) & set(b))}; linked from TECA's candidates {len(c)}, "
        f"the same {len(set(c) & set(b))}"
    )


def points(numbers, storms):
    """Storms of each track."""
    tracks = {}
    for number, storm in zip(np.asarray(numbers).tolist(), storms, strict=True):
        if number >= 0:
            tracks.setdefault(number, []).append(storm)
    return [tuple(track) for track in tracks.values()]


def store(folder, settings):
    """Write the tests' inputs and TECA's candidates and tracks for them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "storms.nc"
    write(path, *drawn(12))
    for name in ("default", "super_relaxed"):
        with tempfile.TemporaryDirectory() as out:
            detect(settings.detect, path.resolve(), Path(out), TECA_VARIANTS[name])
            for kind in ("candidates", "tracks"):
                text = Path(out, f"{kind}.csv").read_text()
                (folder / f"{name}_{kind}.csv").write_text(text)


def main():
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--detect", required=True)
    parser.add_argument("--trajectory")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--variants", nargs="+", default=list(TECA_VARIANTS), choices=TECA_VARIANTS)
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--snapshots", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()
    if settings.store:
        store(settings.store, settings)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "in.nc"
        write(path, *climate(settings.height, settings.width, settings.snapshots, settings.seed))
        for variant in settings.variants:
            rules = replace(TECA_VARIANTS[variant], form="exact")
            cpu = detect(settings.detect, path, folder, rules)
            theirs, tracks = rows_of(folder / "candidates.csv"), rows_of(folder / "tracks.csv")
            mine, clock = ours(path, rules)
            pairs = compare_candidates(variant, mine, theirs, rules)
            compare_tracks(variant, mine, theirs, tracks, pairs, rules)
            if settings.trajectory:
                again = folder / "again.csv"
                arguments = ("--candidate_file", str(folder / "candidates.csv"))
                run(settings.trajectory, *arguments, "--track_file", str(again))
                print(
                    f"{variant}: teca_tc_trajectory gives {len(rows_of(again))} points, "
                    f"teca_tc_detect {len(tracks)}"
                )
            each = {key: value / settings.snapshots * 1e3 for key, value in clock.items()}
            cpu *= 1e3 / settings.snapshots
            print(
                f"{variant}: CPU ms a snapshot: teca_tc_detect {cpu:.1f}, "
                f"ours {each['find']:.1f} + reading {each['read']:.1f}"
            )


if __name__ == "__main__":
    main()
