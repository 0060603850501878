"""Cyclones by `tempest-era5` and `tempest-cam` beside TempestExtremes itself, on the same files.

    python bench/peers/tempest_cyclones.py --detect-nodes DetectNodes --stitch-nodes StitchNodes

Writes a made-up climate with hard cases drawn in (storms that cross 0/360, storms near and over
the poles, pairs within and just beyond the merge distance), runs both programs and ours on it, and
prints how many candidates and tracks are the same and how much CPU time each takes. Files live in
a temporary folder, a day or so at a time. `--no-hard` leaves the drawn storms out, for times on
usual fields.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import cftime
import netCDF4
import numpy as np

from exastorm.constants import STANDARD_GRAVITY
from exastorm.grid import longitude_difference
from exastorm.labels.cyclones.centers import center_table
from exastorm.labels.cyclones.stitching import stitch
from exastorm.labels.cyclones.tempest import TempestCamRules, TempestEra5Rules
from exastorm.physics.surroundings import Surroundings
from exastorm.readers.synthetic.climate import synthetic_dataset
from exastorm.readers.synthetic.settings import EPOCH, SyntheticSettings

FIELDS = ("PSL", "Z300", "Z500", "T200", "T500", "U10", "V10")
CONTOURS = {
    "tempest-era5": "PSL,200.0,5.5,0;_DIFF(Z300,Z500),-6.0,6.5,1.0",
    "tempest-cam": "PSL,300.0,4.0,0;_AVG(T200,T500),-0.6,4.0,1.0",
}
RULES = {"tempest-era5": TempestEra5Rules(), "tempest-cam": TempestCamRules()}
OUTPUT = "PSL,min,0;_VECMAG(U10,V10),max,2;ZS,min,0"
STITCH = (
    "--in_fmt lon,lat,slp,wind,zs --range 8.0 --mintime 54h --maxgap 24h --caltype noleap "
    "--out_file_format csvnohead --threshold "
    "wind,>=,10.0,10;lat,<=,50.0,10;lat,>=,-50.0,10;zs,<=,150.0,10"
)


def hard_storms(hours):
    """Places (lat, lon, depth Pa) of the drawn storms at an hour."""
    age = hours % 240.0  # each lives ten days, then the next begins
    shift = age * 0.25  # a quarter of a degree an hour, along the parallel
    return [
        (14.0, 330.0 + shift, 3000.0),  # crosses 0/360 eastward
        (-17.0, 30.0 - shift, 2500.0),  # and westward
        (20.0 + 0.02 * age, 0.1, 2000.0),  # along it
        (60.0 + 0.25 * age, 100.0, 2500.0),  # to the North Pole, and beyond
        (-88.0, 3.0 * shift, 2500.0),  # round the South Pole
        (-76.0, 200.0 + shift, 1500.0),
        (10.0, 120.0 + shift, 2500.0),  # a pair: 3 to 8 degrees apart
        (10.0, 123.0 + shift + 5.0 * age / 240.0, 2400.0),
        (-12.0, 240.0 - shift, 2000.0),  # a pair as deep as each other, 5.9 degrees apart
        (-6.1, 240.0 - shift, 2000.0),
    ]


def draw(fields, lat, lon, hours):
    """Add the hard cases: Gaussians of 1.5 degrees, with a turning wind."""
    for lat0, lon0, depth in hard_storms(hours):
        if lat0 > 90.0:
            lat0, lon0 = 180.0 - lat0, lon0 + 180.0
        dlon = np.radians(longitude_difference(lon, lon0))[None, :]
        phi0, phi = np.radians(lat0), np.radians(lat)[:, None]
        chord = np.sin(phi0) * np.sin(phi) + np.cos(phi0) * np.cos(phi) * np.cos(dlon)
        distance = np.degrees(np.arccos(np.clip(chord, -1.0, 1.0)))
        bell = np.exp(-0.5 * (distance / 1.5) ** 2)
        fields["PSL"] -= depth * bell
        fields["Z300"] += depth / 60.0 * bell
        for name in ("T200", "T500"):
            fields[name] += depth / 600.0 * bell
        east = np.cos(phi) * np.sin(dlon)
        north = np.cos(phi0) * np.sin(phi) - np.sin(phi0) * np.cos(phi) * np.cos(dlon)
        speed = (
            depth
            / 100.0
            * bell
            * np.sign(lat0)
            / np.maximum(np.radians(1.5), np.hypot(east, north))
        )
        fields["U10"] -= speed * north
        fields["V10"] += speed * east


def write(path, dataset, steps, hard):
    """Some snapshots as DetectNodes reads them."""
    part = dataset[[*FIELDS, "PHIS"]].isel(time=steps).compute()
    hours = cftime.date2num(part["time"].values, EPOCH, calendar="noleap")
    lat, lon = part["lat"].values, part["lon"].values
    with netCDF4.Dataset(path, "w") as file:
        for name, values in (("time", hours), ("lat", lat), ("lon", lon)):
            file.createDimension(name, None if name == "time" else values.size)
            file.createVariable(name, "f8", (name,))[:] = values
        file["time"].setncatts({"units": EPOCH + " 00:00:00", "calendar": "noleap"})
        for name in (*FIELDS, "ZS"):
            file.createVariable(
                name, "f4", ("time", "lat", "lon"), chunksizes=(1, lat.size, lon.size)
            )
        for step, hour in enumerate(hours):
            fields = {name: part[name].values[step].astype(np.float64) for name in FIELDS}
            if hard:
                draw(fields, lat, lon, float(hour - hours_of(dataset)[0]))
            fields["ZS"] = part["PHIS"].values.astype(np.float64) / STANDARD_GRAVITY
            for name, values in fields.items():
                file[name][step] = values.astype(np.float32)


def hours_of(dataset):
    return cftime.date2num(dataset["time"].values, EPOCH, calendar="noleap")


def run(program, *arguments):
    """CPU seconds of a program."""
    before = os.times()
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    after = os.times()
    if done.returncode or "EXCEPTION" in done.stdout:
        raise SystemExit(f"{program} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


def theirs(text, first_step):
    """Candidates of DetectNodes: rows of step, row, column, lat, lon, pressure, wind, height."""
    rows, step = [], first_step - 1
    for line in text.splitlines():
        words = line.split()
        if line.startswith("\t"):
            column, row, lon, lat, *values = words
            rows.append((step, int(row), int(column), float(lat), float(lon), *map(float, values)))
        else:
            step += 1
    return rows


def ours(path, rules, first_step, clock):
    """Candidates by ours, and the CPU time of reading and of finding added to a clock."""
    rows = []
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        grid = Surroundings.of(file["lat"][:], file["lon"][:])
        for step in range(len(file["time"])):
            start = time.process_time()
            names = rules.plan({*FIELDS, "PHIS"}).fields
            fields = {name: file[name][step] for name in names if name != "PHIS"}
            fields["PHIS"] = file["ZS"][step] * np.float32(STANDARD_GRAVITY)
            read = time.process_time()
            found = rules.find(fields, grid)
            clock["read"] += read - start
            clock["find"] += time.process_time() - read
            rows += [(first_step + step, center) for center in found]
    return rows


def compare_candidates(name, mine, other):
    """Number of candidates the same, and whether values agree."""
    a = {(step, c.row, c.column): c for step, c in mine}
    b = {row[:3]: row for row in other}
    same = a.keys() & b.keys()
    for key in sorted(a.keys() ^ b.keys()):
        print(f"  {name}: only {'ours' if key in a else 'theirs'}: step, row, column {key}")
    worst = 0.0
    for key in same:
        center, row = a[key], b[key]
        for value, printed in (
            (center.central_pressure_pa, row[5]),
            (center.max_wind_ms, row[6]),
            (center.surface_height_m, row[7]),
        ):
            worst = max(worst, abs(value - printed) / max(1.0, abs(printed)))
    print(
        f"{name}: candidates ours {len(mine)}, theirs {len(other)}, same cell {len(same)}; "
        f"largest relative difference of pressure, wind, height {worst:.1e}"
    )


def compare_tracks(name, mine, text, hours, rules):
    """Tracks the same, point by point."""
    table = center_table([c for _, c in mine], [s for s, _ in mine], hours)
    tracks = stitch(table, rules.tracks)
    steps, rows, columns = (table[n].to_numpy(int) for n in ("step", "row", "column"))
    a = [
        tuple(zip(steps[t].tolist(), rows[t].tolist(), columns[t].tolist(), strict=True))
        for t in tracks
    ]
    b = {}
    first = cftime.num2date(hours[0], EPOCH, calendar="noleap")
    step_of = {round(h - hours[0]): n for n, h in enumerate(hours)}
    for line in text.splitlines():
        words = [word.strip() for word in line.split(",")]
        track, year, month, day, hour, i, j = (int(word) for word in words[:7])
        when = cftime.DatetimeNoLeap(year, month, day, hour) - first
        b.setdefault(track, []).append((step_of[round(when.total_seconds() / 3600)], j, i))
    b = [tuple(points) for points in b.values()]
    numbers = rules.select(table)
    print(
        f"{name}: tracks ours {len(a)}, theirs {len(b)}, same points in the same order "
        f"{sum(one == other for one, other in zip(a, b, strict=False))}; select gives "
        f"{np.unique(numbers[numbers >= 0]).size}"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--detect-nodes", required=True)
    parser.add_argument("--stitch-nodes", required=True)
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--snapshots", type=int, default=208)
    parser.add_argument("--per-file", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hard", action=argparse.BooleanOptionalAction, default=True)
    settings = parser.parse_args()
    dataset = synthetic_dataset(
        SyntheticSettings(
            height=settings.height,
            width=settings.width,
            num_snapshots=settings.snapshots,
            step_hours=6,
            cyclone_rate=3.0,
            start="2000-08-15",
            seed=settings.seed,
        )
    )
    hours = hours_of(dataset)
    found = {name: ([], []) for name in RULES}
    clocks = {name: {"read": 0.0, "find": 0.0, "DetectNodes": 0.0} for name in RULES}
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "in.nc"), Path(folder, "nodes.txt")
        for first in range(0, settings.snapshots, settings.per_file):
            write(path, dataset, slice(first, first + settings.per_file), settings.hard)
            for name, rules in RULES.items():
                clocks[name]["DetectNodes"] += run(
                    settings.detect_nodes,
                    "--in_data",
                    str(path),
                    "--out",
                    str(out),
                    "--searchbymin",
                    "PSL",
                    "--closedcontourcmd",
                    CONTOURS[name],
                    "--mergedist",
                    "6.0",
                    "--outputcmd",
                    OUTPUT,
                    "--timefilter",
                    "6hr",
                    "--logdir",
                    folder,
                )
                text = out.read_text()
                with Path(folder, f"{name}.txt").open("a") as nodes:
                    nodes.write(text)
                found[name][1].extend(theirs(text, first))
                found[name][0].extend(ours(path, rules, first, clocks[name]))
            path.unlink()
        for name, rules in RULES.items():
            mine, other = found[name]
            compare_candidates(name, mine, other)
            nodes, tracks = Path(folder, f"{name}.txt"), Path(folder, "tracks.csv")
            run(settings.stitch_nodes, "--in", str(nodes), "--out", str(tracks), *STITCH.split(" "))
            compare_tracks(name, mine, tracks.read_text(), hours, rules)
            each = {key: value / settings.snapshots * 1e3 for key, value in clocks[name].items()}
            print(
                f"{name}: CPU ms a snapshot: DetectNodes {each['DetectNodes']:.1f}, "
                f"ours {each['find']:.1f} + reading {each['read']:.1f}; ratio "
                f"{each['DetectNodes'] / (each['find'] + each['read']):.1f} with reading, "
                f"{each['DetectNodes'] / each['find']:.1f} without"
            )


if __name__ == "__main__":
    main()
