"""Atmospheric rivers by `tempest` beside TempestExtremes itself, on the same files.

    python bench/peers/tempest_rivers.py --detect-blobs .../DetectBlobs [--full] [--store DIR]

Writes vapor transport on several grids (with and without rows on the poles, an odd number of
columns, a region), with rivers across 0/360 and over the poles, runs DetectBlobs with three sets of
parameters and ours on it, and prints how much the masks overlap and how much CPU time each takes.
`--full` adds 768 x 1152, where the set-up of DetectBlobs takes minutes. `--store` writes instead
the small inputs and the masks by DetectBlobs that the tests compare with.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import netCDF4
import numpy as np

from exastorm.labels.rivers.tempest import TempestRiverRules
from exastorm.physics import laplacian
from exastorm.physics.surroundings import Surroundings
from exastorm.readers.synthetic.climate import synthetic_dataset
from exastorm.readers.synthetic.settings import SyntheticSettings

SETS = {
    "-20000 15 850000": TempestRiverRules(),
    "-30000 20 400000": TempestRiverRules(
        max_laplacian=-30000.0, min_lat_deg=20.0, min_area_km2=400000.0
    ),
    "6 points, 7 deg": TempestRiverRules(
        num_points=6, distance_deg=7.0, max_laplacian=-25000.3, min_lat_deg=10.0,
        min_area_km2=300000.0, corners_touch=True,
    ),
}  # fmt: skip


def grids():
    """Name, latitudes, longitudes and number of snapshots of each grid."""
    yield "96 x 144, poles", np.linspace(-90, 90, 96), np.arange(144) * 2.5, 60
    yield "90 x 180, no poles", np.arange(90) * 2.0 - 89.0, np.arange(180) * 2.0 + 1.0, 60
    yield "45 x 91, odd", np.arange(45) * 4.0 - 88.0, np.arange(91) * 360.0 / 91, 40
    yield "region 61 x 81", 15.0 + np.arange(61) * 1.0, 170.0 + np.arange(81) * 1.25, 60
    yield "polar region", 55.0 + np.arange(36) * 1.0, np.arange(120) * 2.0, 20


def bands(lat, lon, step):
    """Vapor transport (2, H, W) of great-circle bands that wander, and a ragged background."""
    random = np.random.default_rng(step)
    phi, lam = np.radians(lat)[:, None], np.radians(lon)[None, :]
    places = [
        (50.0, 0.0),
        (-48.0, 358.0),
        (84.0, 30.0),
        (-85.0, 200.0),
        (40.0, 200.0),
        (62.0, 230.0),
    ]
    places += list(zip(random.uniform(-75, 75, 8), random.uniform(0, 360, 8), strict=True))
    total = np.zeros((2, lat.size, lon.size))
    for lat0, lon0 in places:
        phi0, lam0 = np.radians(lat0), np.radians(lon0 + 3.0 * step)
        tilt = random.uniform(0, np.pi)
        east = np.cos(phi) * np.sin(lam - lam0)
        north = np.sin(phi) * np.cos(phi0) - np.cos(phi) * np.cos(lam - lam0) * np.sin(phi0)
        up = np.sin(phi) * np.sin(phi0) + np.cos(phi) * np.cos(lam - lam0) * np.cos(phi0)
        along = np.arctan2(east * np.cos(tilt) + north * np.sin(tilt), up)
        across = np.arcsin(np.clip(-east * np.sin(tilt) + north * np.cos(tilt), -1, 1))
        size, width = random.uniform(0.1, 0.35), random.uniform(0.03, 0.08)
        bell = random.uniform(200, 900) * np.exp(-((along / size) ** 2) - (across / width) ** 2)
        total += bell * np.array([np.cos(tilt), np.sin(tilt)])[:, None, None]
    return total + 60.0 * random.standard_normal(total.shape)


def write(path, lat, lon, snapshots, compression=None):
    """A file as DetectBlobs reads it, from snapshots (2, H, W)."""
    with netCDF4.Dataset(path, "w") as file:
        for name, values in (("time", np.arange(len(snapshots)) * 6.0), ("lat", lat), ("lon", lon)):
            file.createDimension(name, None if name == "time" else values.size)
            file.createVariable(name, "f8", (name,))[:] = values
        file["time"].setncatts({"units": "hours since 2000-01-01 00:00:00", "calendar": "noleap"})
        for name, values in zip(("IVTX", "IVTY"), np.moveaxis(snapshots, 1, 0), strict=True):
            chunks = (1, lat.size, lon.size)
            file.createVariable(
                name, "f4", ("time", "lat", "lon"), chunksizes=chunks, compression=compression
            )[:] = values


def command(rules, wraps):
    """Arguments of DetectBlobs that say the same as a set of thresholds."""
    ring = f"_LAPLACIAN{{{rules.num_points},{rules.distance_deg}}}"
    flags = [] if wraps else ["--regional"]
    flags += ["--diag_connect"] if rules.corners_touch else []
    return [
        "--thresholdcmd", f"{ring}(_VECMAG(IVTX,IVTY)),<=,{rules.max_laplacian},0",
        "--minabslat", str(rules.min_lat_deg),
        "--geofiltercmd", f"area,>=,{rules.min_area_km2}km2",
        *flags,
    ]  # fmt: skip


def cpu_seconds(pid):
    """CPU time of a process (Linux), None of one that has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return (int(words[11]) + int(words[12])) / 100.0


def theirs(program, path, out, rules, wraps):
    """Masks by DetectBlobs, its set-up, and its CPU time for each snapshot after the first."""
    begun, before = [], os.times()
    arguments = [program, "--in_data", str(path), "--out", str(out), *command(rules, wraps)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "EXCEPTION" in line:
                raise SystemExit(f"{program} failed: {line}")
            if line.lstrip("- ").startswith("Time "):
                begun.append(cpu_seconds(process.pid))
    after = os.times()
    end = after.children_user + after.children_system
    end -= before.children_user + before.children_system
    second = end if begun[1] is None else begun[1]
    each = (end - second) / (len(begun) - 1)
    with netCDF4.Dataset(out) as file:
        return file["binary_tag"][:].astype(bool), second - each, each


def ours(path, rules):
    """Masks by ours, its set-up, and its CPU time for each snapshot after the first; reads too."""
    laplacian._stencil.cache_clear()
    masks, times = [], []
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        grid = Surroundings.of(file["lat"][:], file["lon"][:])
        for step in range(len(file["time"])):
            start = time.process_time()
            fields = {name: file[name][step] for name in ("IVTX", "IVTY")}
            masks.append(rules.find(fields, grid).mask)
            times.append(time.process_time() - start)
    each = float(np.mean(times[1:]))
    return np.array(masks), times[0] - each, each


def compare(program, folder, name, lat, lon, snapshots, sets):
    """Run both on one grid and print a row for each set of parameters."""
    path = Path(folder) / "transport.nc"
    write(path, lat, lon, snapshots)
    wraps = Surroundings.of(lat, lon).wraps
    for label, rules in sets.items():
        one, setup1, each1 = theirs(program, path, Path(folder) / "blobs.nc", rules, wraps)
        two, setup2, each2 = ours(path, rules)
        overlap = (one & two).sum() / max(1, (one | two).sum())
        same = sum(bool((a == b).all()) for a, b in zip(one, two, strict=True))
        print(
            f"{name:20} {label:18} {same:4d}/{len(one):<4d} {one.sum():9d} {overlap:10.6f}"
            f" {setup1:9.2f} {setup2:7.2f} {1000 * each1:9.1f} {1000 * each2:8.2f}",
            flush=True,
        )


def store(program, folder):
    """Write small inputs, each with the masks by DetectBlobs, for the tests."""
    small = {
        "poles": (np.linspace(-90, 90, 46), np.arange(90) * 4.0, range(6)),
        "odd": (np.arange(45) * 4.0 - 88.0, np.arange(91) * 360.0 / 91, range(6)),
        # Snapshots with rivers on the first or last column.
        "region": (25.0 + np.arange(31) * 1.5, 180.0 + np.arange(41) * 2.0, range(14, 28)),
    }
    for name, (lat, lon, steps) in small.items():
        path, out = Path(folder) / f"{name}.nc", Path(folder) / "blobs.nc"
        # Whole numbers are packed well, and touch the thresholds as other numbers do.
        snapshots = np.array([bands(lat, lon, step).round() for step in steps])
        write(path, lat, lon, snapshots, "zlib")
        wraps = Surroundings.of(lat, lon).wraps
        for n, rules in enumerate(SETS.values()):
            masks = theirs(program, path, out, rules, wraps)[0]
            with netCDF4.Dataset(path, "a") as file:
                tag = file.createVariable(
                    f"tag{n}", "i1", ("time", "lat", "lon"), compression="zlib"
                )
                tag[:] = masks
                tag.arguments = " ".join(command(rules, wraps))
        out.unlink()


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detect-blobs", required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--folder", default=None)
    parser.add_argument("--store", default=None)
    arguments = parser.parse_args()
    if arguments.store:
        store(arguments.detect_blobs, arguments.store)
        return
    print(
        f"{'grid':20} {'parameters':18} identical {'cells':>9} {'IoU':>10}"
        f" {'set-up s':>9} {'ours':>7} {'ms each':>9} {'ours':>8}"
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name, lat, lon, number in grids():
            snapshots = np.array([bands(lat, lon, step) for step in range(number)])
            compare(arguments.detect_blobs, folder, name, lat, lon, snapshots, SETS)
        sizes = [(181, 360, 24)] + ([(768, 1152, 6)] if arguments.full else [])
        for height, width, number in sizes:
            settings = SyntheticSettings(
                height=height, width=width, num_snapshots=number, step_hours=24.0,
                optional_fields=True,
            )  # fmt: skip
            made = synthetic_dataset(settings)[["IVTX", "IVTY"]].compute()
            lat, lon = made["lat"].values, made["lon"].values
            snapshots = np.stack([made["IVTX"].values, made["IVTY"].values], axis=1)
            snapshots = snapshots + [bands(lat, lon, step) * 0.3 for step in range(number)]
            sets = SETS if width < 1000 else dict(list(SETS.items())[:1])
            name = f"climate {height} x {width}"
            compare(arguments.detect_blobs, folder, name, lat, lon, snapshots, sets)


if __name__ == "__main__":
    main()
