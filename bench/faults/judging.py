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

ERROR = "exastorm: error: "
RESTART = re.compile(r"exastorm: rank \d+ .*; (all ranks are|not) started again")
STALL = re.compile(r"exastorm: step \d+ has waited [\d.]+ s for ")


@dataclass
class Trial:
    """What came of one trial.

    Attributes:
        told: What was said at the end, line by line.
        is_clear: Whether that is one line (of each side, where the network was cut), the right one.
        ended_s: Seconds from the fault until all ranks had ended.
        is_bounded: Whether that was in time, and so was the stall report, where there must be one.
        problems: What else is wrong.
        is_same: Whether the run went on to the same bits.
        is_other_right: Whether it went on well with other ranks.
    """

    told: list = field(default_factory=list)
    is_clear: bool = False
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


def judged(case, ended, limit_s, ended_at, num_lines=1, named=None):
    """A trial as far as its end goes: what was said since the fault, and how long it took."""
    trial, struck_at = Trial(), case.course.struck_at()
    if struck_at is None:
        trial.told = [line for _, line in ended.lines]
        trial.problems.append("the fault did not strike")
        return trial
    said = [(at - struck_at, line) for at, line in ended.lines if at >= struck_at]
    trial.told = [line for _, line in said]
    errors = [line for line in trial.told if line.startswith(ERROR)]
    calm = [line for line in trial.told if RESTART.match(line) or STALL.match(line)]
    named = f"rank {case.rank} " if named is None else named
    is_named = any(named in line for line in errors)
    is_all = len(trial.told) == len(errors) + len(calm)
    trial.is_clear = len(errors) == num_lines and is_named and is_all
    trial.ended_s = ended_at - struck_at
    patience = case.course.patience
    reports = [second for second, line in said if STALL.match(line)]
    in_time = all(second <= (STALL_S + REPLY_S + MARGIN_S) * patience for second in reports[:1])
    trial.is_bounded = None not in ended.code and trial.ended_s <= limit_s * patience and in_time
    return trial
