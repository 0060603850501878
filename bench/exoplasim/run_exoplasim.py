"""Runs ExoPlaSim as an Earth and writes what exastorm reads: one CF netCDF file per 30 days.

ExoPlaSim (Paradise et al. 2022, MNRAS 511, 3272; PyPI `exoplasim`, GPL) is the general circulation
model PlaSim with an interface in Python. It makes its weather from primitive equations, moist
convection, a mixed-layer ocean and the real land and mountains. Its years have 360 days.

Runs in an environment of its own (bench/exoplasim/run.sh), not in exastorm's.
"""

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

DAYS_PER_FILE = 30
HOURS_PER_SNAPSHOT = 6
GRAVITY = 9.80665

EARTH = {
    "obliquity": 23.441,
    "eccentricity": 0.016715,
    "lonvernaleq": 102.7,
    "ozone": True,
    "modeltop": 50.0,
    "vtype": 4,
}
"""Orbit of today (Berger 1978) and ozone: the package's defaults have no tilt of the axis and no
ozone. Levels (vtype 4) and top (50 hPa) are those of its preset for Earth."""

NUM_LOWEST_LEVELS = 5
"""Levels of wind that are kept: from sigma 0.55 down, around 850 hPa whatever the ground."""

COMPILER_OPTIONS = (
    "-O3 -march=native -cpp -ffixed-line-length-132 -ffpe-trap=invalid,zero,overflow"
    " -ffpe-summary=none -finit-real=zero"
)
"""The model's own for gfortran without -fcheck=all, which takes a quarter of the time. Its make
takes them from the environment; its own option for compiler flags edits the wrong line in 3.4.2."""

NUM_LATITUDES = {"T21": 32, "T42": 64, "T63": 96, "T85": 128}

RAW_VARIABLES = ("ts", "tas", "ps", "psl", "pr", "prw", "hus", "ua", "va")
"""What is read of the raw output. A wind must not come first: 3.4.2 stumbles over it."""

FIELDS = {
    "TMQ": ("kg m-2", "water vapor column"),
    "IVT": ("kg m-1 s-1", "magnitude of the vertically integrated vapor transport"),
    "PSL": ("Pa", "sea level pressure"),
    "PS": ("Pa", "surface pressure"),
    "PRECT": ("m s-1", "precipitation rate"),
    "TS": ("K", "surface temperature"),
    "TREFHT": ("K", "air temperature at 2 m"),
    "U": ("m s-1", "eastward wind"),
    "V": ("m s-1", "northward wind"),
}


def own_step_minutes(num_lat: int) -> float:
    """Length of a step that the model chooses where none is given (plasim.f90, readnl).

    The Python interface always gives one, 45 minutes; at T42 jets over 100 m/s then grow from noise
    until the model stops with a floating-point exception (day 35 here; its issue 23, too).
    """
    return 45.0 if num_lat <= 32 else 30.0 * 64 / num_lat


def as_pascal(pressure: np.ndarray) -> np.ndarray:
    """Pressure in Pa, which the model calls hPa whether it is (ps) or not (psl)."""
    return pressure * 100.0 if pressure.mean() < 2000.0 else pressure


def layer_thickness(sigma: np.ndarray) -> np.ndarray:
    """Thickness of each layer (L,) in sigma; a level lies in the middle of its two interfaces."""
    bottom = 0.0
    thickness = []
    for level in sigma:
        thickness.append(2.0 * (level - bottom))
        bottom += thickness[-1]
    if abs(bottom - 1.0) > 1e-3:
        raise SystemExit(f"the lowest layer ends at sigma {bottom:.4f}, not at the ground")
    return np.array(thickness)


def read_raw(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Fields by exastorm's names, sigma levels, latitudes and longitudes of a raw snapshot file."""
    from exoplasim import pyburn

    log = str(path) + ".log"
    raw = pyburn.dataset(str(path), RAW_VARIABLES, gravity=GRAVITY, gascon=287.0, logfile=log)
    got = {name: np.asarray(raw[name][0]) for name in (*RAW_VARIABLES, "lev", "lat", "lon")}
    surface = as_pascal(got["ps"])
    mass = layer_thickness(got["lev"])[:, None, None] * surface[:, None] / GRAVITY
    transport = [(mass * got["hus"] * got[wind]).sum(axis=1) for wind in ("ua", "va")]
    fields = {
        "TMQ": got["prw"],
        "IVT": np.hypot(*transport),
        "PSL": as_pascal(got["psl"]),
        "PS": surface,
        "PRECT": got["pr"],
        "TS": got["ts"],
        "TREFHT": got["tas"],
        "U": got["ua"][:, -NUM_LOWEST_LEVELS:],
        "V": got["va"][:, -NUM_LOWEST_LEVELS:],
    }
    return fields, got["lev"][-NUM_LOWEST_LEVELS:], got["lat"], got["lon"]


def write_file(path: Path, raw: Path, first_day: float, title: str) -> int:
    """Write the snapshots of a raw file as CF netCDF; sigma levels as CAM's hybrid ones."""
    fields, sigma, lat, lon = read_raw(raw)
    num_times = len(fields["TMQ"])
    axes = {
        "time": np.arange(1, num_times + 1) * HOURS_PER_SNAPSHOT / 24.0 + first_day,
        "lev": 1000.0 * sigma,
        "lat": lat,
        "lon": lon,
    }
    attributes = {
        "time": {"units": "days since 0001-01-01", "calendar": "360_day"},
        "lev": {"standard_name": "atmosphere_hybrid_sigma_pressure_coordinate", "units": "level"},
        "lat": {"units": "degrees_north"},
        "lon": {"units": "degrees_east"},
    }
    part = path.with_suffix(".part")
    with netCDF4.Dataset(part, "w") as file:
        file.setncatts({"title": title, "Conventions": "CF-1.8"})
        for name, values in axes.items():
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
            file[name].setncatts(attributes[name])
        for name, values in (("hyam", 0.0 * sigma), ("hybm", sigma)):
            file.createVariable(name, "f8", ("lev",))[:] = values
        file.createVariable("P0", "f8")[:] = 1.0e5
        file["P0"].units = "Pa"
        for name, values in fields.items():
            dims = ("time", "lev", "lat", "lon") if values.ndim == 4 else ("time", "lat", "lon")
            chunks = (1, *values.shape[1:])
            variable = file.createVariable(
                name, "f4", dims, zlib=True, complevel=2, shuffle=True, chunksizes=chunks
            )
            variable[:] = values
            variable.units, variable.long_name = FIELDS[name]
    part.replace(path)
    return num_times


def make_model(options: argparse.Namespace, restart: Path | None) -> Any:
    """The model, compiled and set up as an Earth, from rest or from the state of a restart file."""
    os.environ["MOST_F90_OPTS"] = COMPILER_OPTIONS
    import exoplasim

    # The name of the compiled model does not tell its precision, so it is always compiled anew.
    # In single precision the raw output of 3.4.2 has next to no humidity.
    model = exoplasim.Model(
        resolution=options.resolution,
        layers=10,
        ncpus=1,
        precision=8,
        recompile=True,
        workdir=str(options.out / "model"),
        modelname="earth",
    )
    steps_per_day = round(24 * 60 / options.step_minutes)
    model.configure(
        **EARTH,
        timestep=options.step_minutes,
        runsteps=steps_per_day * DAYS_PER_FILE,
        snapshots=steps_per_day * HOURS_PER_SNAPSHOT // 24,
        restartfile=None if restart is None else str(restart),
    )
    return model


def last_restart(folder: Path) -> tuple[int, Path | None]:
    """The day up to which an earlier call ran, and the state it left; 0 and None if it did not."""
    states = sorted(folder.glob("day*"))
    return (int(states[-1].name[3:]), states[-1]) if states else (0, None)


def run(options: argparse.Namespace) -> None:
    """Spin the model up, run it and write file by file; goes on where an earlier call ended."""
    begun = time.monotonic()
    work, output, states = (options.out / name for name in ("model", "output", "restart"))
    for folder in (output, states):
        folder.mkdir(parents=True, exist_ok=True)
    first_day, restart = last_restart(states)
    model = make_model(options, restart)
    title = (
        f"ExoPlaSim 3.4.2, Earth, {options.resolution}L10, from rest at day 0,"
        f" instants every {HOURS_PER_SNAPSHOT} h"
    )
    for day in range(first_day, options.spinup_days + options.days, DAYS_PER_FILE):
        model.currentyear = day // DAYS_PER_FILE
        try:
            model.run(years=1, postprocess=False, clean=False)
        except RuntimeError as error:
            raise SystemExit(
                f"the model stopped after day {day}: {error}; a shorter --step-minutes may help"
            ) from error
        told = "spin-up"
        if day >= options.spinup_days:
            path = output / f"exoplasim_day{day:04d}.nc"
            raw = work / f"MOST_SNAP.{day // DAYS_PER_FILE:05d}"
            told = f"{path}, {write_file(path, raw, float(day), title)} snapshots"
        for left in (*work.glob("MOST*.?????*"), *states.glob("day*")):
            left.unlink()
        shutil.copy2(work / "plasim_restart", states / f"day{day + DAYS_PER_FILE:04d}")
        minutes = (time.monotonic() - begun) / 60
        print(f"days {day} to {day + DAYS_PER_FILE}: {told}, {minutes:.1f} min so far", flush=True)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the model and its output")
    parser.add_argument("--resolution", default="T42", choices=NUM_LATITUDES, help="default T42")
    parser.add_argument("--step-minutes", type=float, help="default: the model's own rule")
    parser.add_argument("--spinup-days", type=int, default=60, help="left out; default 60")
    parser.add_argument("--days", type=int, default=210, help="written; default 210")
    options = parser.parse_args()
    if options.step_minutes is None:
        options.step_minutes = own_step_minutes(NUM_LATITUDES[options.resolution])
    for name in ("spinup_days", "days"):
        if getattr(options, name) % DAYS_PER_FILE:
            parser.error(f"{name} must be a multiple of {DAYS_PER_FILE}")
    if options.step_minutes <= 0 or (HOURS_PER_SNAPSHOT * 60) % options.step_minutes:
        parser.error(f"step_minutes must divide {HOURS_PER_SNAPSHOT} hours")
    options.out = options.out.resolve()
    run(options)


if __name__ == "__main__":
    main()
