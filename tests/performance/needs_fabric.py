"""Tests on emulated nodes run where they can; where they must, they fail if they can't.

CI sets EXASTORM_TEST_FABRIC: a fabric test that was skipped shows nothing.
"""

import os

import pytest

from exastorm.errors import InputError
from exastorm.performance.fabric import Fabric
from exastorm.performance.relay import TUN_DEVICE


def what_is_missing():
    """Why there can be no emulated nodes here, in words; empty where there can."""
    try:
        with Fabric(1):
            return "" if TUN_DEVICE.exists() else f"a delayed network needs {TUN_DEVICE}, got none"
    except InputError as error:
        return str(error)


MISSING = what_is_missing()

needs_fabric = pytest.mark.skipif(
    bool(MISSING) and not os.environ.get("EXASTORM_TEST_FABRIC"), reason=MISSING
)
