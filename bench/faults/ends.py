"""What runs came to: the same bits; or, with other ranks, every sample once and a like loss.

A run that begins anew comes to the same bits as well: so each must begin at its last checkpoint.
"""

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping

import torch
from ranks import BATCH

from exastorm.samples.shards import SampleStore
from exastorm.train.checkpoint_files import latest_step, list_steps, read_state, what_is_wrong

UNLIKE = ("minutes", "settings")
"""What may differ in a state: the clock, and settings that a resumed run may change."""

LOSS_RATIO = 1.5
"""Batches of another size take another course; their losses, means of the last `NUM_LAST` steps,
must not be further apart than this."""
NUM_LAST = 6


def last_state(run):
    """The state in the last checkpoint of a run."""
    folder = run / "checkpoints"
    step = latest_step(folder)
    assert step is not None, f"{folder} holds no checkpoint"
    wrong = what_is_wrong(folder, step)
    assert not wrong, wrong
    return read_state(folder, step)


def kept_step(run, max_unnamed):
    """The step that a run must go on from: of the last checkpoint, which must be whole.

    Args:
        run: Its folder, as the fault left it.
        max_unnamed: How many whole ones may be newer: one where the rank that writes them was
            struck, perhaps before it made `latest` name it.
    """
    folder, step = run / "checkpoints", last_state(run)["step"]
    newer = [other for other in list_steps(folder) if other > step]
    whole = [other for other in newer if not what_is_wrong(folder, other)]
    assert len(whole) <= max_unnamed, f"checkpoints {whole} are newer than the last, {step}"
    assert step > 0, "the last checkpoint is of step 0"
    return step


def wrong_with_start(notes, name, num_ranks, kept):
    """What is wrong with where ranks went on, by what they noted; empty if nothing is."""
    files = sorted(notes.glob(f"{name}-*.jsonl"))
    begun = [json.loads(file.read_text().splitlines()[0])[0] for file in files]
    if begun != [kept] * num_ranks:
        return f"{num_ranks} ranks went on at steps {begun}, the last checkpoint is of {kept}"
    return ""


def differences(run, whole):
    """What differs between the last states of two runs: all but time must be the same bits.

    That is weights, the optimizer's moments, gradients in flight, position, counts, best weights.
    """
    mine, theirs = digests(last_state(run)), digests(last_state(whole))
    return [name for name in theirs.keys() | mine.keys() if mine.get(name) != theirs.get(name)]


def digests(value, name=""):
    """A hash of each tensor and plain value of a state, by where it is."""
    if isinstance(value, Mapping):
        items = {f"{name}.{key}": item for key, item in value.items() if key not in UNLIKE}
    elif isinstance(value, list | tuple):
        items = {f"{name}[{number}]": item for number, item in enumerate(value)}
    else:
        text = repr(value).encode()
        if isinstance(value, torch.Tensor):
            # Elements in the order of indices, whatever their order in memory.
            text = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return {name: hashlib.sha256(text).hexdigest()}
    return {key: digest for part in items for key, digest in digests(items[part], part).items()}


def is_finite(state):
    """Whether all weights are numbers."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in state["network"].values())


def last_loss(run):
    """Mean loss of the last steps."""
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    losses = [line["loss"] for line in lines if "loss" in line][-NUM_LAST:]
    return sum(losses) / len(losses) if losses else math.nan


def wrong_with_other(course, whole, num_before, num_ranks):
    """What is wrong with a run that went on with another number of ranks; empty if nothing is.

    Checked are: its last step; that its weights are numbers; its loss; and that in each epoch no
    sample was seen twice, and none was left out but those that fill no batch of all ranks.
    """
    state = last_state(course.other)
    if state["step"] != last_state(whole)["step"]:
        return f"ended at step {state['step']}"
    if not is_finite(state):
        return "weights are no numbers"
    ratio = last_loss(course.other) / last_loss(whole)
    if not 1 / LOSS_RATIO < ratio < LOSS_RATIO:
        return f"its loss is {ratio:.2f} times that of the whole run"
    before, after = read_notes(course.notes, "first-0"), read_notes(course.notes, "other-0")
    begun = min(step for step, _, _ in after)
    kept = [row for row in before if row[0] < begun]
    num_samples = len(SampleStore(course.samples).indices("train"))
    batches = BATCH * num_before, BATCH * num_ranks
    return (
        wrong_with_steps(kept, range(begun), batches[0])
        or wrong_with_steps(after, range(begun, state["step"]), batches[1])
        or wrong_with_samples(kept, after, batches, num_samples)
    )


def read_notes(notes, name):
    """Step, epoch and hashes of samples that each rank noted in each step."""
    files = sorted(notes.glob(f"{name}-*.jsonl"))
    # A rank that was killed may have been amid a line.
    texts = [file.read_text().rpartition("\n")[0] for file in files]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def wrong_with_steps(rows, steps, batch):
    """What is wrong with how far ranks went: each step must have a whole batch."""
    sizes = Counter()
    for step, _, hashes in rows:
        sizes[step] += len(hashes)
    wrong = [step for step in sizes.keys() | set(steps) if sizes[step] != (step in steps) * batch]
    return f"steps {sorted(wrong)} are not of {batch} samples" if wrong else ""


def wrong_with_samples(before, after, batches, num_samples):
    """What is wrong with who saw what: steps before ranks became others, and after.

    An epoch ends when what is left of the training split's samples fills no batch of all ranks,
    before and after; the last one may end sooner.
    """
    seen, num_before = defaultdict(Counter), Counter()
    for _, epoch, hashes in before:
        num_before[epoch] += len(hashes)
    for _, epoch, hashes in [*before, *after]:
        seen[epoch].update(hashes)
    num_seen, last = len(set().union(*seen.values())), max(seen)
    if num_seen > num_samples:
        return f"{num_seen} samples were seen, the training split has {num_samples}"
    if len(seen) != last + 1:
        return f"only the epochs {sorted(seen)} were seen"
    for epoch, counts in sorted(seen.items()):
        num_again = counts.total() - len(counts)
        if num_again:
            return f"{num_again} samples were seen again in epoch {epoch}"
        num_full = num_samples - _tail_of(epoch, num_before, batches, num_samples)
        if epoch != last and len(counts) != num_full:
            return f"{len(counts)} samples of {num_samples} were seen in epoch {epoch}"
    return ""


def _tail_of(epoch, num_before, batches, num_samples):
    """Samples that nobody sees, in all epochs but the last."""
    if epoch < max(num_before, default=0):
        return num_samples % batches[0]
    return (num_samples - num_before[epoch]) % batches[1]
