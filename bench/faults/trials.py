"""One trial of each fault: strike, look at the end, go on with as many ranks and with others."""

import dataclasses
import os
import subprocess

from ends import differences, is_finite, last_state, wrong_with_other
from judging import ENDS_S, STALL, judged
from ranks import BATCH, INTERVAL, NUM_STEPS, Told

from exastorm.errors import InputError
from exastorm.performance.fabric import Fabric
from exastorm.train.checkpoint_files import STATE_NAME, list_steps, step_path

DISK_STATES = 5
"""How many checkpoints the disk that is filled could hold; the run keeps three."""

PORT = 29_417
"""Of the meeting point in a network of our own."""


def kill(case, place):
    """SIGKILL of a rank; the others hear of it by closed connections, and all are started again."""
    if place == "checkpoint":
        case = dataclasses.replace(case, rank=0)  # the first writes them
    return restarted(case, case.told("kill", place), case.words(), ENDS_S["killed"])


def stop(case):
    """SIGSTOP of a rank: only its silence tells."""
    place = ("forward", "backward", "exchange")[case.step % 3]
    trial = restarted(case, case.told("stop", place), case.impatient(), ENDS_S["silent"])
    stalls = [line for line in trial.told if STALL.match(line) and f"rank {case.rank} " in line]
    if not stalls:
        trial.problems.append("no stall report names the rank")
    return trial


def restarted(case, told, words, limit_s):
    """A trial whose ranks the supervisor starts again."""
    course = case.course
    ended = course.launch(case.num_ranks, told, *words)
    mark = course.notes / "ended"
    trial = judged(case, ended, limit_s, mark.stat().st_mtime if mark.exists() else ended.at)
    if ended.code != (0,):
        trial.problems.append(f"exit code {ended.code[0]}, expected 0")
        return trial
    trial.is_same = not differences(course.run, case.whole)
    go_on_with_others(case, trial)
    return trial


def go_on_with_others(case, trial, *words):
    """Go on with another number of ranks from where the fault left the run."""
    course = case.course
    ended = course.launch(
        case.num_others, Told(part="other"), *words, run=course.other, max_restarts=0
    )
    wrong = f"exit code {ended.code[0]}" if ended.code != (0,) else ""
    wrong = wrong or wrong_with_other(course, case.whole, case.num_others, BATCH)
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
    different = differences(case.course.run, whole)
    trial.is_same = not different
    if different:
        trial.problems.append(f"differs: {', '.join(sorted(different)[:5])}")


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
    trial = judged(case, ended, ENDS_S["killed"], ended.at, named=f"time {sample}: ")
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
        trial = judged(case, ended, ENDS_S["silent"], ended.at, num_lines=2)
        course.keep()
        fabric.mend(node)
        again = course.listen(list(commands()), Told(part="again"), course.run, 120.0)
    if set(again.code) != {0}:
        said = " / ".join(line for _, line in again.lines)
        trial.problems.append(f"exit codes {again.code} on going on: {said}")
        return trial
    trial.is_same = not differences(course.run, case.whole)
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
        trial = judged(case, ended, ENDS_S["killed"], ended.at, named="No space left on device")
        if ended.code != (2,):
            trial.problems.append(f"exit code {ended.code[0]}, expected 2")
            return trial
        trial.is_clear = trial.is_clear and any(f"{folder}/step_" in line for line in trial.told)
        kept = list_steps(folder)
        if not kept or last_state(course.run)["step"] != kept[0]:
            trial.problems.append("no whole checkpoint is left")
        (folder / "filler").unlink()
        course.keep()
        go_on(case, trial, case.whole)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
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
