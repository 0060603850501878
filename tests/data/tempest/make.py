"""Makes the inputs in this folder and runs TempestExtremes on them; see README.md.

python tests/data/tempest/make.py DetectNodes StitchNodes
"""

import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np

HERE = Path(__file__).parent
STEPS = {"PSL": 8.0, "Z300": 0.5, "Z500": 0.5, "T200": 0.0625, "T500": 0.0625}
CALM = {"PSL": 101200.0, "Z300": 9400.0, "Z500": 5700.0, "T200": 220.0, "T500": 266.0}
CONTOURS = {
    "era5": "PSL,200.0,5.5,0;_DIFF(Z300,Z500),-6.0,6.5,1.0",
    "cam": "PSL,300.0,4.0,0;_AVG(T200,T500),-0.6,4.0,1.0",
}
OUTPUT = "PSL,min,0;_VECMAG(U10,V10),max,2;ZS,min,0"
FORMAT = ["--in_fmt", "lon,lat,slp,wind,zs"]
LIMITS = "wind,>=,10.0,10;lat,<=,50.0,10;lat,>=,-50.0,10;zs,<=,150.0,10"
STITCH = ["--range", "8.0", "--mintime", "54h", "--maxgap", "24h", "--threshold", LIMITS]


def lows(rng, lat, lon):
    """Random lows: latitude, longitude, drift in both, depth (Pa), warmth, size (degrees)."""
    num = 45
    return np.column_stack(
        [
            rng.uniform(lat[0] - 2, lat[-1] + 2, num),
            rng.uniform(lon[0] - 2, lon[-1] + 2, num),
            rng.uniform(-0.5, 0.5, num),
            rng.uniform(-1.5, 1.5, num),
            rng.uniform(150, 1500, num),
            rng.uniform(0, 3, num),
            rng.uniform(1.5, 4.0, num),
        ]
    )


HARD = np.array(
    [
        (14.0, 352.0, 0.0, 1.5, 3000.0, 3.0, 2.0),  # crosses 0/360
        (-16.0, 8.0, 0.2, -1.5, 2500.0, 3.0, 2.5),
        (72.0, 100.0, 1.6, 0.0, 2500.0, 3.0, 3.0),  # to the pole
        (-90.0, 0.0, 0.7, 0.0, 2000.0, 3.0, 3.0),  # from the other one
        (12.0, 150.0, 0.0, 1.0, 2500.0, 3.0, 1.8),  # two within the merge distance, parting
        (12.0, 154.0, 0.0, 1.5, 2300.0, 3.0, 1.8),
        (-14.0, 220.0, 0.0, 2.0, 2000.0, 3.0, 1.6),  # two as deep, 6 degrees apart
        (-20.0, 220.0, 0.0, 2.0, 2000.0, 3.0, 1.6),
    ]
)


def snapshot(lat, lon, storms, step):
    """Fields of one time."""
    fields = {name: np.full((lat.size, lon.size), value) for name, value in CALM.items()}
    u, v = np.zeros((2, lat.size, lon.size))
    phi = np.radians(lat)[:, None]
    for lat0, lon0, north, east, depth, warmth, size in storms:
        phi0, dlon = np.radians(lat0 + north * step), np.radians(lon - lon0 - east * step)[None]
        cosine = np.sin(phi0) * np.sin(phi) + np.cos(phi0) * np.cos(phi) * np.cos(dlon)
        bell = np.exp(-0.5 * (np.degrees(np.arccos(np.clip(cosine, -1, 1))) / size) ** 2)
        fields["PSL"] -= depth * bell
        fields["Z300"] += 12.0 * warmth * bell
        fields["T200"] += warmth * bell
        fields["T500"] += warmth * bell
        u -= depth / 30.0 * bell * np.sin(phi - phi0) / np.radians(size)
        v += depth / 30.0 * bell * np.sin(dlon) * np.cos(phi) / np.radians(size)
    fields = {name: np.round(f / STEPS[name]) * STEPS[name] for name, f in fields.items()}
    return fields | {"U10": np.round(u, 0), "V10": np.round(v, 0)}


def write(path, lat, lon, storms, num_steps):
    """A file as DetectNodes reads it."""
    # Two ridges, 400 m high, in the Northern Hemisphere.
    hills = 400.0 * (lat > 0)[:, None] * np.maximum(0, np.sin(np.radians(2 * lon)))[None] ** 8
    with netCDF4.Dataset(path, "w") as file:
        axes = {"time": 6.0 * np.arange(num_steps), "lat": lat, "lon": lon}
        for name, values in axes.items():
            file.createDimension(name, values.size)
            file.createVariable(name, "f8", (name,))[:] = values
        file["time"].setncatts({"units": "hours since 2001-01-01 00:00:00", "calendar": "noleap"})
        for name in (*STEPS, "U10", "V10", "ZS"):
            file.createVariable(name, "f4", ("time", "lat", "lon"), compression="zlib", complevel=9)
        for step in range(num_steps):
            for name, values in (
                snapshot(lat, lon, storms, step) | {"ZS": np.round(hills)}
            ).items():
                file[name][step] = values.astype(np.float32)


def random_nodes(path, rng, hours):
    """Candidates of sixteen wandering storms, crowded enough to compete for the next point."""
    lat, lon = rng.uniform(-55, 55, 16), rng.uniform(0, 360, 16)
    lon[8:] = lon[:8] + rng.uniform(-12, 12, 8)
    lat[8:] = lat[:8] + rng.uniform(-12, 12, 8)
    with path.open("w") as file:
        for hour in hours:
            there = rng.random(16) < 0.75
            day, clock = divmod(int(hour), 24)
            file.write(f"2001\t1\t{1 + day}\t{there.sum()}\t{clock}\n")
            lat, lon = lat + rng.normal(0, 1.2, 16), np.mod(lon + rng.normal(1, 1.5, 16), 360)
            for i in np.flatnonzero(there):
                # Whole degrees, so that some lie as near as others.
                place = f"{round(lon[i]) % 360:.6f}\t{round(lat[i]):.6f}"
                wind, height = rng.uniform(5, 40), rng.choice([0.0, 100.0, 149.99999, 400.0])
                file.write(f"\t{i}\t0\t{place}\t{1e5:.6e}\t{wind:.6e}\t{height:.6e}\n")


def main(detect_nodes, stitch_nodes):
    def detect(name, criterion, *more):
        out = HERE / f"{name}_{criterion}_nodes.txt"
        command = ["--in_data", str(HERE / f"{name}.nc"), "--out", str(out), "--searchbymin", "PSL"]
        command += ["--closedcontourcmd", CONTOURS[criterion], "--mergedist", "6.0"]
        run(detect_nodes, *command, "--outputcmd", OUTPUT, "--logdir", "/tmp", *more)
        return out

    def stitch(nodes, out, *rules):
        common = ["--caltype", "noleap", "--out_file_format", "csvnohead"]
        run(stitch_nodes, "--in", str(nodes), "--out", str(HERE / out), *FORMAT, *common, *rules)

    def run(*command):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    rng = np.random.default_rng(7)
    lat, lon = np.linspace(-90, 90, 91), np.arange(0, 360, 2.0)
    write(HERE / "global.nc", lat, lon, np.concatenate([HARD, lows(rng, lat, lon)]), 12)
    lat, lon = np.arange(5, 30, 0.5), np.arange(120, 160, 0.5)
    write(HERE / "regional.nc", lat, lon, lows(rng, lat, lon), 3)
    for criterion in CONTOURS:
        nodes = detect("global", criterion)
        stitch(nodes, f"global_{criterion}_tracks.csv", *STITCH)
        detect("regional", criterion, "--regional")
    detect("global", "cam", "--mergeequal").rename(HERE / "global_cam_merge_equal_nodes.txt")
    detect("global", "cam")
    uneven = np.concatenate([np.arange(0, 96, 6), np.arange(120, 160, 5), np.arange(190, 250, 3)])
    for name, hours in (("even", 6 * np.arange(32)), ("uneven", uneven)):
        random_nodes(HERE / f"random_{name}_nodes.txt", rng, hours)
        stitch(HERE / f"random_{name}_nodes.txt", f"random_{name}_tracks.csv", *STITCH)
    far = ["--min_endpoint_dist", "6.0", "--min_path_dist", "30.0"]
    stitch(HERE / "random_even_nodes.txt", "random_far_tracks.csv", "--range", "5.0", "--mintime",
           "24h", "--maxgap", "12h", *far)  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
