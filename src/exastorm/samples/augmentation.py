"""How a sample is turned before a network sees it: rolled in longitude, its hemispheres swapped.

A turned globe is as good a globe. A roll shows every storm in every place and costs nothing where
the network wraps. A mirror image swaps north and south, in which the laws of motion stay as they
are if northward components and vorticity change sign: what turns counterclockwise in the north
turns clockwise in the south. Land and the seasons are not alike in both hemispheres, so a mirrored
sample is a globe that could be, not one that is.

Both are pure functions of (seed, epoch, sample), so neither who reads a sample nor when changes
what a network sees.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from exastorm.samples.sampler import random_word
from exastorm.variables import VARIABLES

ROLL_STREAM = 1
"""Counter word of the rolls' random numbers; the shuffles of all samples have 0 there."""

MIRROR_STREAM = 3
"""Counter word of the mirrors' random numbers; label sets have 2 there."""

Scalar = TypeVar("Scalar", bound=np.generic)


class Turn(NamedTuple):
    """How one read of a sample is turned.

    Attributes:
        roll: Grid columns by which it is turned to the east.
        is_mirrored: Whether north and south are swapped.
    """

    roll: int = 0
    is_mirrored: bool = False


def drawn_turn(
    seed: int, epoch: int, sample: int, *, num_lon: int, roll: bool, mirror: bool
) -> Turn:
    """The turn of a sample in an epoch.

    Args:
        seed: Of the run.
        epoch: From 0.
        sample: Number of the sample in its store.
        num_lon: Columns of the grid, all of which are equally likely to come first.
        roll: Whether to roll at all.
        mirror: Whether to mirror with a probability of 1/2.
    """
    columns = random_word(seed, epoch, sample, ROLL_STREAM) % num_lon if roll else 0
    return Turn(columns, mirror and random_word(seed, epoch, sample, MIRROR_STREAM) % 2 == 1)


def turned(maps: NDArray[Scalar], turn: Turn) -> NDArray[Scalar]:
    """Maps without a sign (..., H, W), such as classes, turned; a view where none is rolled."""
    if turn.is_mirrored:
        maps = maps[..., ::-1, :]
    return np.roll(maps, turn.roll, axis=-1) if turn.roll else maps


def signs_of_mirrored(channels: Sequence[str]) -> NDArray[np.float64]:
    """What each channel is multiplied by in a mirror image (C,): -1 or 1."""
    return np.array([-1.0 if VARIABLES[c].flips_with_hemisphere else 1.0 for c in channels])
