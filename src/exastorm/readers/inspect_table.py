"""Prints an inspection as a table that fits a terminal."""

from collections.abc import Sequence
from typing import Any

WIDTH = 100
"""Columns of a line."""

COLUMNS = ("field", "is", "units", "to", "lowest", "mean", "highest", "plausible", "remark")


def inspection_text(inspection: dict[str, Any]) -> str:
    """The text of an inspection, given as `Inspection.to_dict` makes it."""
    blocks = [
        _head(inspection),
        _fields(inspection),
        _jobs(inspection["jobs"]),
        _list("Notes:", [f"{f['name']}: {f['note']}" for f in inspection["fields"] if f["note"]]),
        _list("Left out:", inspection["left_out"]),
        _list("Bad files, left out:", inspection["bad_files"]),
    ]
    return "\n\n".join(block for block in blocks if block)


def _head(inspection: dict[str, Any]) -> str:
    """What the archive is: files, format, grid, times."""
    grid, times = inspection["grid"], inspection["times"]
    spacing = f"{grid['lat_step']:g} x {grid['lon_step']:g} degrees"
    kind = ", ".join(
        [
            spacing if grid["is_regular"] else f"{spacing} (latitudes uneven)",
            "global" if grid["is_global"] else "regional",
        ]
    )
    lines = [
        f"archive   {inspection['source']}",
        f"taken for {inspection['format']}, {_count(inspection['num_files'], 'file')}",
        f"grid      {grid['num_lat']} x {grid['num_lon']}, {kind};"
        f" lat {grid['lat'][0]:g} to {grid['lat'][1]:g},"
        f" lon {grid['lon'][0]:g} to {grid['lon'][1]:g}",
        f"times     {_count(times['num_times'], 'time')}, {_steps(times)}"
        f" calendar {times['calendar']}",
        f"values    of {_count(inspection['num_sampled'], 'time')}, evenly spread",
    ]
    if inspection["labels"]:
        lines.append(f"masks     {', '.join(inspection['labels'])}")
    if inspection["history"]:
        lines.append(f"reading   {inspection['history']}")
    return "\n".join(lines)


def _count(number: int, word: str) -> str:
    """A number with its word."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _steps(times: dict[str, Any]) -> str:
    """First and last time and the step between."""
    if times["step_hours"] is None:
        return f"{times['first']};"
    text = f"{times['first']} to {times['last']}, every {times['step_hours']:g} h"
    if times["num_other_steps"]:
        text += f" (but {_count(times['num_other_steps'], 'other step')})"
    return f"{text};"


def _fields(inspection: dict[str, Any]) -> str:
    """The table of fields."""
    rows = [COLUMNS]
    for field in inspection["fields"]:
        low, high = field["plausible"]
        changed = "" if field["source_units"] == field["units"] else field["units"]
        rows.append(
            (
                field["name"],
                field["source_name"],
                field["source_units"],
                changed,
                *(_number(field[k]) for k in ("low", "mean", "high")),
                f"{_number(low)} to {_number(high)}",
                _remark(field),
            )
        )
    missing = ", ".join(inspection["missing"]) or "none"
    return f"{format_table(rows)}\n\nmissing of the 16 channels: {missing}"


def _number(value: float) -> str:
    """A number to four digits, a pressure of 100900 Pa not as 1.009e+05."""
    rounded = float(f"{value:.4g}")
    return f"{rounded:.0f}" if 1e4 <= abs(rounded) < 1e7 else f"{rounded:.4g}"


def _remark(field: dict[str, Any]) -> str:
    """Marks of a field: values outside, values missing, and whether a note follows."""
    marks = []
    if field["outside_share"] > 0:
        marks.append(f"{_percent(field['outside_share'])} outside")
    if field["missing_share"] > 0:
        marks.append(f"{_percent(field['missing_share'])} missing")
    if field["note"]:
        marks.append("see notes")
    return ", ".join(marks)


def _percent(share: float) -> str:
    """A share that is not zero, never printed as zero."""
    return "<0.01 %" if share < 1e-4 else f"{100 * share:.2f} %"


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows with aligned columns, the first row underlined."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _jobs(jobs: Sequence[dict[str, Any]]) -> str:
    """What can be done with the archive."""
    lines = []
    for job in jobs:
        said = job["remark"] if job["works"] else f"needs {', '.join(job['missing'])}"
        lines.append((f"  {'yes' if job['works'] else 'no '}", job["name"], said))
    width = max(len(name) for _, name, _ in lines)
    return "jobs\n" + "\n".join(f"{a}  {b.ljust(width)}  {c}".rstrip() for a, b, c in lines)


def _list(title: str, lines: Sequence[str]) -> str:
    """A titled list, empty where there is nothing to list."""
    return "\n".join([title, *(f"  {line}" for line in lines)]) if lines else ""
