"""`exastorm launch` whose ranks have a fault built in (`faulty_rank`).

    FAULT='{...}' python faulty_launch.py [arguments of exastorm launch]

When they are started again, the run folder as the fault left it is copied first.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from exastorm.cli import launch
from exastorm.cli.main import main as exastorm

RANK = Path(__file__).with_name("faulty_rank.py")


def main():
    fault = json.loads(os.environ["FAULT"])
    notes, run = Path(fault["notes"]), Path(fault["folder"]).parent
    real, num_starts = launch.command_of, 0

    def command_of(*told):
        nonlocal num_starts
        num_starts += 1
        if num_starts == 2:
            (notes / "ended").touch()
            shutil.copytree(run, run.with_name("other"))
        # Behind the interpreter, -m and exastorm.cli.main.
        return [sys.executable, str(RANK), *real(*told)[3:]]

    launch.command_of = command_of
    return exastorm(["launch", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
