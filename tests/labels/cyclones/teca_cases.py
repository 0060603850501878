"""A storm, and one that moves, as the tests of `teca` use them."""

from functools import lru_cache

import numpy as np
from tests.labels.conftest import LAT, LON, add_storm, calm

from exastorm.labels.cyclones.centers import center_table
from exastorm.labels.cyclones.teca import TecaRules
from exastorm.physics.surroundings import Surroundings

GRID = Surroundings.of(LAT, LON)
RULES = TecaRules()
EXACT = TecaRules(form="exact")
FORMS = [RULES, EXACT]


def one_storm(**changes):
    return add_storm(calm(), 18.0, 100.0, **changes)


@lru_cache(maxsize=8)
def _moving(rules, lon0, num):
    found, steps = [], []
    for n in range(num):
        centers = rules.find(add_storm(calm(), 18.0, (lon0 + n * 0.5) % 360), GRID)
        found += centers
        steps += [n] * len(centers)
    return found, steps


def moving(num=12, *, lon0=357.5, rules=RULES):
    """Candidates of a storm that moves eastward by half a degree a snapshot of 6 hours."""
    return center_table(*_moving(rules, lon0, num), np.arange(num) * 6.0)
