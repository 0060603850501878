"""Runs with checkpoints of known content, for the tests of checkpoints."""

import torch

from exastorm.train.checkpoint import CheckpointSettings, CheckpointStore

FILES = ("state.pt", "manifest.json")
"""What a checkpoint is made of."""


def state_of(step, size=300):
    """A state that can be told from that of another step."""
    return {"step": step, "weights": torch.full((size,), float(step))}


def store_of(run, **settings):
    """A store that has written when `save` returns."""
    return CheckpointStore(run, CheckpointSettings(asynchronous=False, **settings))


def save_two(run):
    """Give a run checkpoints of steps 1 and 2, the latter the latest."""
    with store_of(run) as store:
        for step in (1, 2):
            store.save(state_of(step), step)
    return run


def load(run):
    """The step of the checkpoint that is used, after a look at its content."""
    state, step = store_of(run).load()
    assert state["step"] == step
    assert torch.equal(state["weights"], torch.full_like(state["weights"], float(step)))
    return step
