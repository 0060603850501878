"""CPU time of TempestExtremes' programs, beside our rule sets of its names, on the same files.

Its programs are asked for the same thresholds as ours have. What they do once is told from what
each time step costs: DetectNodes is run on one step and on all of them. DetectBlobs, whose set-up
takes minutes on a fine grid, is run once; it writes a line when a step begins, and the CPU time
that it has used by then is read. Its first step holds what is made once, such as the Laplacian's
operator, so set-up is all up to the second step less one of the others.
"""

import resource
import subprocess
from pathlib import Path
from typing import Any

from exastorm.errors import InputError
from exastorm.labels.cyclones.tempest import TempestCamRules, TempestEra5Rules
from exastorm.labels.rivers.tempest import TempestRiverRules

TICKS_PER_S = 100
"""Unit of CPU times in /proc (proc_pid_stat(5): sysconf(_SC_CLK_TCK), 100 on Linux)."""


def tempest_figures(
    programs: Path, path: Path, num_steps: int, folder: Path, ours: dict[str, tuple[float, float]]
) -> dict[str, Any]:
    """Run the programs that stand for our rule sets.

    Args:
        programs: Folder with DetectNodes and DetectBlobs.
        path: File of the benchmark.
        num_steps: Time steps in it, two or more.
        folder: Where their output goes.
        ours: CPU seconds per snapshot of our rule sets, without and with reading; programs of
            those that are not there are not run.

    Returns:
        For each of our rule sets `program`, `setup_cpu_s`, `cpu_s` per time step, and this over
        ours without (`times_ours`) and with reading (`times_ours_with_reading`; the program reads
        too).

    Raises:
        InputError: If there is a single time step, or a program is not there or fails.
    """
    if num_steps < 2:
        raise InputError(f"a file must have two time steps, got {num_steps}", file=path)
    figures = {}
    for name, (program, arguments) in _commands(path, folder).items():
        if name not in ours:
            continue
        measure = run_twice if program == "DetectNodes" else run_once
        setup, each = measure(programs / program, arguments, num_steps)
        alone, with_reading = ours[name]
        figures[name] = {
            "program": program,
            "setup_cpu_s": setup,
            "cpu_s": each,
            "times_ours": each / alone,
            "times_ours_with_reading": each / with_reading,
        }
    return figures


def _commands(path: Path, folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Program and arguments for each of our rule sets."""
    cam, era5, river = TempestCamRules(), TempestEra5Rules(), TempestRiverRules()
    nodes = ["--in_data", str(path), "--out", str(folder / "nodes.txt"), "--searchbymin", "PSL"]
    nodes += ["--logdir", str(folder)]
    cores = {
        "cyclones tempest-cam": (cam, "_AVG(T200,T500)", cam.min_core_fall),
        "cyclones tempest-era5": (era5, "_DIFF(Z300,Z500)", era5.min_core_fall),
    }
    commands = {}
    for name, (rules, core, fall) in cores.items():
        pressure = f"PSL,{rules.min_pressure_rise_pa},{rules.pressure_radius_deg},0"
        warm = f"{core},{-fall},{rules.core_radius_deg},{rules.core_search_deg}"
        output = f"PSL,min,0;_VECMAG(U10,V10),max,{rules.wind_reach_deg};PHIS,min,0"
        asked = ["--closedcontourcmd", f"{pressure};{warm}", "--mergedist", str(rules.merge_deg)]
        commands[name] = ("DetectNodes", [*nodes, *asked, "--outputcmd", output])
    ring = f"_LAPLACIAN{{{river.num_points},{river.distance_deg}}}(_VECMAG(TUQ,TVQ))"
    blobs = ["--in_data", str(path), "--out", str(folder / "blobs.nc")]
    blobs += ["--thresholdcmd", f"{ring},<=,{river.max_laplacian},0"]
    blobs += ["--minabslat", str(river.min_lat_deg)]
    blobs += ["--geofiltercmd", f"area,>=,{river.min_area_km2}km2"]
    return {**commands, "rivers tempest": ("DetectBlobs", blobs)}


def run_twice(program: Path, arguments: list[str], num_steps: int) -> tuple[float, float]:
    """CPU seconds of set-up and of each time step, from a run of one step and one of all."""
    one = _run(program, [*arguments, "--timestride", str(num_steps)])[0]
    each = max(0.0, (_run(program, arguments)[0] - one) / (num_steps - 1))
    return max(0.0, one - each), each


def run_once(program: Path, arguments: list[str], num_steps: int) -> tuple[float, float]:
    """CPU seconds of set-up and of each time step, from the lines that a program writes."""
    total, begun = _run(program, arguments)
    if len(begun) != num_steps:
        raise InputError(f"must tell of {num_steps} time steps, got {len(begun)}", file=program)
    each = (total - begun[1]) / (num_steps - 1)
    return max(0.0, begun[1] - each), each


def _run(program: Path, arguments: list[str]) -> tuple[float, list[float]]:
    """CPU seconds of a run, and of it up to each line that tells of a time step.

    Raises:
        InputError: If it is not there or fails.
    """
    before = _children_cpu()
    begun: list[float] = []
    last = ""
    try:
        with subprocess.Popen(
            [str(program), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                last = line.strip() or last
                if line.lstrip("- ").startswith("Time "):
                    begun.append(_cpu_so_far(process.pid))
    except OSError as error:
        raise InputError(f"can't be run: {error.strerror}", file=program) from None
    if process.returncode or "EXCEPTION" in last:
        raise InputError(f"failed: {last}", file=program)
    return _children_cpu() - before, begun


def _children_cpu() -> float:
    """CPU seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_so_far(process: int) -> float:
    """CPU seconds of a running process."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    # Fields 14 and 15, user and system time; two stand before the bracket.
    return (int(words[11]) + int(words[12])) / TICKS_PER_S
