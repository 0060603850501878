"""One trial of each fault: strike, look at the end, go on with as many ranks and with others."""

import dataclasses
import os
import subprocess

from ends import differences, is_finite, kept_step, last_state, wrong_with_other, wrong_with_start
from judging import ENDS_S, Expected, blames_no_rank, died, judged, stopped, waits_for
from ranks import INTERVAL, NUM_STEPS, Told

from exastorm.errors import InputError
from exastorm.performance.fabric import Fabric
from exastorm.train.checkpoint_files import STATE_NAME, step_path

DISK_STATES = 5
"""How many checkpoints the disk that is filled could hold; the run keeps three."""

PORT = 29_417
"""Of the meeting point in a network of our own."""


def kill(case, place):
    """SIGKILL of a rank; the others hear of it by closed connections, and all are started again."""
    if place == "checkpoint":
        case = dataclasses.replace(case, rank=0)  # the first writes them
    expected = died(case.rank)
    return restarted(case, case.told("kill", place), case.words(), ENDS_S["killed"], expected)


def stop(case):
    """SIGSTOP of a rank: only its silence tells."""
    place = ("forward", "backward", "exchange")[case.step % 3]
    expected = stopped(case.rank)
    return restarted(case, case.told("stop", place), case.impatient(), ENDS_S["silent"], expected)


def restarted(case, told, words, limit_s, expected):
    """A trial whose ranks the supervisor starts again."""
    course = case.course
    ended = course.launch(case.num_ranks, told, *words)
    mark = course.notes / "ended"
    ended_at = mark.stat().st_mtime if mark.exists() else ended.at
    trial = judged(case, ended, limit_s, ended_at, expected)
    if ended.code != (0,):
        trial.problems.append(f"exit code {ended.code[0]}, expected 0")
        return trial
    # Copied before they were started again.
    compare(case, trial, kept_by(case), "first-1", case.whole)
    go_on_with_others(case, trial)
    return trial


def kept_by(case):
    """The step at which all must go on, by the copy of what the fault left."""
    step = kept_step(case.course.other, max_unnamed=int(case.rank == 0))
    # A write may be under way, and the next one then waits for it.
    assert case.step - step <= 2 * INTERVAL, f"step {step} is too old for a fault at {case.step}"
    return step


def compare(case, trial, kept, name, whole):
    """Whether a run went on where it had to, and came to the same bits as another."""
    wrong = wrong_with_start(case.course.notes, name, case.num_ranks, kept)
    different = differences(case.course.run, whole)
    if different:
        wrong += f" differs: {', '.join(sorted(different)[:5])}"
    trial.is_same = not wrong
    if wrong:
        trial.problems.append(wrong)


def go_on_with_others(case, trial, *words):
    """Go on with another number of ranks from where the fault left the run."""
    course, kept = case.course, kept_by(case)
    ended = course.launch(
        case.num_others, Told(part="other"), *words, run=course.other, max_restarts=0
    )
    wrong = f"exit code {ended.code[0]}" if ended.code != (0,) else ""
    wrong = wrong or wrong_with_start(course.notes, "other-0", case.num_others, kept)
    wrong = wrong or wrong_with_other(course, case.whole, case.num_ranks, case.num_others)
    trial.is_other_right = not wrong
    if wrong:
        said = " / ".join(line for _, line in ended.lines)
        trial.problems.append(f"with {case.num_others} ranks: {wrong} {said}")


def go_on(case, trial, whole, *words):
    """Go on with as many ranks; a run that has to end by itself is not started again."""
    ended = case.course.launch(case.num_ranks, Told(part="again"), *words, max_restarts=0)
    if ended.code != (0,):
        said = " / ".join(line for _, line in ended.lines)
        trial.problems.append(f"exit code {ended.code[0]} on going on: {said}")
        return
    compare(case, trial, kept_by(case), "again-0", whole)


def nan(case):
    """One sample is no number on one rank: all skip the step, and here that ends the run.

    It goes on past it, and must come to the same as a run that skips the step because of another
    rank, and is not ended by it.
    """
    course, skips = case.course, ["--train.max-bad-steps", 10]
    told = case.told("nan")
    words = [*case.words(), "--train.max-bad-steps", 1]
    ended = course.launch(case.num_ranks, told, *words)
    sample = (course.notes / "struck").read_text() if course.struck_at() else "?"
    expected = Expected((blames_no_rank(f"time {sample}: "),))
    trial = judged(case, ended, ENDS_S["killed"], ended.at, expected)
    if ended.code != (2,):
        trial.problems.append(f"exit code {ended.code[0]}, expected 2")
        return trial
    course.keep()
    skipping = course.run.with_name("skipping")
    elsewhere = Told(
        kind="nan", rank=(case.rank + 1) % case.num_ranks, step=case.step, part="skipping"
    )
    course.launch(case.num_ranks, elsewhere, *case.words(), *skips, run=skipping)
    go_on(case, trial, skipping, *skips)
    state = last_state(course.run)
    if state["stepper"]["counts"][0] != 1 or not is_finite(state):
        trial.problems.append(f"counts {state['stepper']['counts']}, expected one skipped step")
    go_on_with_others(case, trial, *skips)
    return trial


def cut(case):
    """The link of a node is cut: each side must say whom it lost. Then it is mended."""
    course, half = case.course, -(-case.num_ranks // 2)
    node = case.rank // half
    with Fabric(-(-case.num_ranks // half)) as fabric:

        def commands():
            shared = {"WORLD_SIZE": case.num_ranks, "MASTER_ADDR": fabric.address(0)}
            shared |= {"MASTER_PORT": PORT, "LOCAL_WORLD_SIZE": half}
            own = course.rank_command(*case.impatient())
            for rank in range(case.num_ranks):
                place = {"RANK": rank, "LOCAL_RANK": rank % half}
                yield [*fabric.prefix(rank // half), *own], _texts(shared | place)

        def strike():
            course.wait_for_mark()
            fabric.cut(node)

        ended = course.listen(list(commands()), case.told("cut"), course.run, 120.0, strike)
        ranks = list(range(case.num_ranks))
        lost = waits_for(ranks[:half]), waits_for(ranks[half:])
        expected = Expected(lost, is_silent=True)
        trial = judged(case, ended, ENDS_S["silent"], ended.at, expected)
        course.keep()
        fabric.mend(node)
        again = course.listen(list(commands()), Told(part="again"), course.run, 120.0)
    if set(again.code) != {0}:
        said = " / ".join(line for _, line in again.lines)
        trial.problems.append(f"exit codes {again.code} on going on: {said}")
        return trial
    compare(case, trial, kept_by(case), "again-0", case.whole)
    go_on_with_others(case, trial)
    return trial


def full_disk(case):
    """The disk with the checkpoints fills up; later there is room again."""
    case = dataclasses.replace(case, rank=0)
    course = case.course
    folder = course.run / "checkpoints"
    folder.mkdir(parents=True)
    state = step_path(case.whole / "checkpoints", NUM_STEPS) / STATE_NAME
    size = f"size={DISK_STATES * state.stat().st_size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", str(folder)], check=True)
    try:
        ended = course.launch(case.num_ranks, case.told("fill"), *case.words())
        expected = Expected((blames_no_rank("No space left on device"),))
        trial = judged(case, ended, ENDS_S["killed"], ended.at, expected)
        if ended.code != (2,):
            trial.problems.append(f"exit code {ended.code[0]}, expected 2")
            return trial
        trial.is_clear = trial.is_clear and any(f"{folder}/step_" in line for line in trial.told)
        (folder / "filler").unlink()
        course.keep()
        go_on(case, trial, case.whole)
    finally:
        # What is still open there is let go of later.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    go_on_with_others(case, trial)
    return trial


def _texts(variables):
    return {name: str(value) for name, value in variables.items()}


FAULTS = {
    "kill-forward": lambda case: kill(case, "forward"),
    "kill-backward": lambda case: kill(case, "backward"),
    "kill-exchange": lambda case: kill(case, "exchange"),
    "kill-checkpoint": lambda case: kill(case, "checkpoint"),
    "stop": stop,
    "nan": nan,
    "cut": cut,
    "full-disk": full_disk,
}


def missing_for(fault):
    """Why a fault can't be tried here; empty if it can."""
    if fault == "full-disk" and os.geteuid() != 0:
        return "needs root"
    if fault == "cut":
        try:
            with Fabric(1):
                pass
        except InputError as error:
            return str(error)
    return ""


def draw(chance, num_ranks):
    """A rank, a step, and a number of other ranks."""
    return {
        "rank": chance.randrange(num_ranks),
        # After the first checkpoint, and so that a fault of one step later still is amid the run.
        "step": chance.randrange(INTERVAL + 2, NUM_STEPS - 2 * INTERVAL),
        "num_others": num_ranks + chance.choice((-1, 1)) if num_ranks > 1 else 2,
        "way": chance.choice(("flat", "hierarchical")) if num_ranks == 2 else "flat",
    }
