"""An explanation as text that fits a terminal."""

import math
import shutil
import textwrap

from exastorm.labels.explanation import Explained, Explanation
from exastorm.labels.moments import time_text
from exastorm.labels.rule_sets import Check

NARROW, WIDE = 72, 100
"""Fewest and most columns of the table; in between it is as wide as the terminal."""
INDENT = 5

KINDS = {"cyclones": "tropical cyclone", "rivers": "atmospheric river"}


def place_text(lat: float, lon: float) -> str:
    """A place such as 17.5N 105W."""
    signed = (lon + 180.0) % 360.0 - 180.0
    north, east = ("S" if lat < 0 else "N"), ("W" if signed < 0 else "E")
    return f"{abs(round(lat, 2)):g}{north} {abs(round(signed, 2)):g}{east}"


def number_text(value: float) -> str:
    """A number with four digits; "missing" for what could not be measured."""
    if math.isnan(value):
        return "missing"
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e8 else f"{value:.4g}"


def explanation_text(told: Explanation) -> str:
    """All candidates with their criteria, the verdict, and what is left out and why."""
    here = f"{place_text(told.lat, told.lon)} on {time_text(told.time)}"
    lines = [f"Candidates within {told.within_deg:g} degrees of {here}"]
    for kind, rule_set in told.rules.items():
        lines += ["", f"{KINDS[kind].capitalize()}s, rule set {rule_set}"]
        lines += _candidates(told, kind)
    if told.notes:
        lines += ["", "Left out or replaced"]
        for topic, note in told.notes.items():
            text = f"{topic.replace('_', ' ')}: {note}"
            lines += textwrap.wrap(text, _columns(), initial_indent="  ", subsequent_indent="    ")
    lines += ["", f"Label at {here}: {told.class_name.replace('_', ' ')}"]
    return "\n".join(lines)


def _candidates(told: Explanation, kind: str) -> list[str]:
    """The candidates of one kind, or where the next one is."""
    near = told.candidates[kind]
    if not near:
        beyond = told.beyond.get(kind)
        if beyond is None:
            return ["  none near, nor within four times that distance"]
        lines = [f"  none near; the nearest, with --within {math.ceil(beyond.distance_deg)}:"]
        return lines + _candidate(beyond, kind, "")
    lines = []
    for number, one in enumerate(near, start=1):
        lines += _candidate(one, kind, f"{number}. ")
    return lines


def _candidate(one: Explained, kind: str, number: str) -> list[str]:
    """One candidate: what and where it is, what became of it, and its criteria."""
    verdict = one.verdict
    head = (
        f"{number}{verdict.candidate} at {place_text(verdict.lat, verdict.lon)},"
        f" {one.distance_deg:.1f} degrees away: {outcome_text(one, kind)}"
    )
    lines = textwrap.wrap(head, _columns(), initial_indent="  ", subsequent_indent=" " * INDENT)
    lines += [_check(check) for check in verdict.checks]
    if one.track is not None:
        first, last = time_text(one.track.first_time), time_text(one.track.last_time)
        more = "" if one.track.is_whole else ", and longer than was looked at"
        points = f"{one.track.num_points} point{'s' if one.track.num_points > 1 else ''}"
        lines.append(f"     its track: {points}, {first} to {last}{more}")
    return lines + [_check(check) for check in one.lasting]


def outcome_text(one: Explained, kind: str) -> str:
    """What became of a candidate, in words."""
    if one.is_labeled:
        return KINDS[kind].upper()
    if one.is_found:
        return "found, but does not count" + ("" if one.track is None else ": its track fails")
    return f"no {KINDS[kind]}"


def _columns() -> int:
    """Columns of the table."""
    return min(max(shutil.get_terminal_size((WIDE, 24)).columns, NARROW), WIDE)


def _check(check: Check) -> str:
    """One criterion: what is measured, value, comparison, threshold, pass or fail."""
    numbers = (
        f"{number_text(check.value):>10} {check.comparison:<2} {number_text(check.threshold):<9}"
        f" {'pass' if check.passed else 'FAIL'}"
    )
    room = _columns() - INDENT - len(numbers)
    *above, last = textwrap.wrap(check.criterion, room - 1)
    return textwrap.indent("\n".join([*above, f"{last:<{room}}{numbers}"]), " " * INDENT)
