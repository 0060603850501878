"""Where a fault strikes, what is counted as clear and in time, and what came of a trial."""

import re
from dataclasses import dataclass, field

from ranks import OPTIONS, Told

STALL_S, REPLY_S, HANG_S = 2.0, 1.0, 4.0
"""Control settings of the faults that only silence tells of."""

LAST_WORDS_S = 5.0
"""What a main thread may take that is stuck in an exchange (`parallel/watch.py`)."""

MARGIN_S = 3.0
"""For all that takes no stated time: steps under way, the end of a process."""

ENDS_S = {"killed": LAST_WORDS_S + MARGIN_S, "silent": HANG_S + REPLY_S + LAST_WORDS_S + MARGIN_S}
"""How long after a fault all ranks may take to end, where connections are closed, and where only
silence tells."""

QUIET = ["--train.control.stall-s", 60, "--train.control.hang-s", 600]
"""Control settings of the other faults: nothing but a closed connection may end those."""

EARLIEST = 0.75
"""Of `STALL_S`, after which the first report may come: ranks wait since they last heard, which may
be a moment before the fault."""

SAYS, ERROR = "exastorm: ", "exastorm: error: "
RESTART = re.compile(r"exastorm: rank \d+ .*; (all ranks are|not) started again")
STALL = re.compile(r"exastorm: step \d+ has waited [\d.]+ s for ")


@dataclass(frozen=True)
class Expected:
    """What has to be said at the end, as regular expressions of whole lines.

    Attributes:
        errors: One of each error line, behind "exastorm: error: ".
        restart: Of what the supervisor says; "" where there must be nothing.
        is_silent: Whether stall reports come first, which name whom the errors name.
    """

    errors: tuple[str, ...]
    restart: str = ""
    is_silent: bool = False


def died(rank):
    """All but a killed rank lose its connection."""
    how = f"exastorm: rank {rank} was killed by SIGKILL; all ranks are started again .*"
    return Expected((f"rank {rank} died: its connection was closed",), how)


def stopped(rank):
    """A stopped rank does not answer, nor does it heed the supervisor's request to end."""
    how = f"exastorm: rank {rank} did not end when it had to, and was killed; all ranks are .*"
    return Expected((waits_for([rank]),), how, is_silent=True)


def waits_for(ranks):
    """A line that names none but some of these, as silent."""
    one = rf"rank ({'|'.join(map(str, ranks))}) \(gives no answer[^;)]*\)"
    return rf"step \d+ has waited [\d.]+ s for {one}(; {one})*"


def blames_no_rank(text):
    """A line with a text in it that names no rank."""
    return rf"(?!.*\brank \d).*{re.escape(text)}.*"


@dataclass
class Trial:
    """What came of one trial.

    Attributes:
        told: What was said at the end, line by line.
        is_clear: Whether that is one line (of each side, where the network was cut), the right one.
        report_s: Seconds from the fault until the first stall report; None without one.
        ended_s: Seconds from the fault until all ranks had ended.
        is_bounded: Whether that was in time, and so was the stall report, where there must be one.
        problems: What else is wrong.
        is_same: Whether the run went on from its last checkpoint, to the same bits.
        is_other_right: Whether it went on from there with other ranks, and well.
    """

    told: list = field(default_factory=list)
    is_clear: bool = False
    report_s: float | None = None
    ended_s: float = float("nan")
    is_bounded: bool = False
    problems: list = field(default_factory=list)
    is_same: bool = False
    is_other_right: bool = False

    @property
    def is_well(self):
        """Whether all is as it must be."""
        return all(
            (self.is_clear, self.is_bounded, self.is_same, self.is_other_right, not self.problems)
        )


@dataclass
class Case:
    """Where one fault strikes.

    Attributes:
        course: The folder of the trial.
        whole: The run without a fault.
        num_ranks: Of the run.
        num_others: Of the run that goes on with others.
        rank: Which is struck.
        step: When.
        way: How gradients are summed.
    """

    course: object
    whole: object
    num_ranks: int
    num_others: int
    rank: int
    step: int
    way: str

    def words(self, control=QUIET):
        """Options of the run."""
        return [*OPTIONS, "--train.exchange.allreduce.kind", self.way, *control]

    def impatient(self):
        """Options of a run whose ranks wait only a moment for a silent one."""
        patience = self.course.patience
        stall = ["--train.control.stall-s", STALL_S * patience]
        reply = ["--train.control.reply-s", REPLY_S * patience]
        return self.words([*stall, *reply, "--train.control.hang-s", HANG_S * patience])

    def told(self, kind, place="", **others):
        """What its ranks are told."""
        return Told(kind=kind, place=place, rank=self.rank, step=self.step, **others)


def judged(case, ended, limit_s, ended_at, expected):
    """A trial as far as its end goes: what was said since the fault, and how long it took."""
    trial, struck_at = Trial(), case.course.struck_at()
    if struck_at is None:
        trial.told = [line for _, line in ended.lines]
        trial.problems.append("the fault did not strike")
        return trial
    said = [(at - struck_at, line) for at, line in ended.lines if at >= struck_at]
    trial.told = [line for _, line in said]
    trial.is_clear = is_clear(trial.told, expected)
    trial.ended_s = ended_at - struck_at
    patience = case.course.patience
    trial.report_s = min((second for second, line in said if STALL.match(line)), default=None)
    earliest_s, latest_s = EARLIEST * STALL_S, STALL_S + REPLY_S + MARGIN_S
    in_time = trial.report_s is None or earliest_s <= trial.report_s / patience <= latest_s
    trial.is_bounded = None not in ended.code and trial.ended_s <= limit_s * patience and in_time
    return trial


def is_clear(told, expected):
    """Whether all that has to be said was said, and nothing else."""
    errors = [line.removeprefix(ERROR) for line in told if line.startswith(ERROR)]
    reports = [line.removeprefix(SAYS) for line in told if STALL.match(line)]
    restarts = [line for line in told if RESTART.match(line)]
    return (
        len(told) == len(errors) + len(reports) + len(restarts)
        and _is_each(errors, expected.errors)
        and _is_each(restarts, [expected.restart] if expected.restart else [])
        and all(any(re.fullmatch(one, report) for one in expected.errors) for report in reports)
        and bool(reports) == expected.is_silent
    )


def _is_each(lines, patterns):
    """Whether there is one line of each pattern, and no other."""
    found = [[one for one in patterns if re.fullmatch(one, line)] for line in lines]
    return sorted(found) == sorted([one] for one in patterns)
