"""Processes of a test, forked from one that has imported what they need: that takes seconds each.

All tests share that one; it starts with the first process that is asked for.
"""

import multiprocessing
import os
import runpy
import sys
from pathlib import Path

context = multiprocessing.get_context("forkserver")

# The latter, which every optimizer of torch imports, takes longer than many a run.
context.set_forkserver_preload(["exastorm.cli.train", "torch._dynamo"])


class Fork:
    """One process, which ends with what an act returns or raises; what it says is kept in files."""

    def __init__(self, act, arguments, folder, variables=None):
        """Start.

        Args:
            act: A function of a module, which returns an exit code or None.
            arguments: Of it.
            folder: Of the process alone.
            variables: Its whole environment; None for that of this process.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._output, self._errors = folder / "output.txt", folder / "errors.txt"
        environment = dict(os.environ if variables is None else variables)
        self._process = context.Process(
            target=_be, args=(act, arguments, self._output, self._errors, environment)
        )
        self._process.start()

    def end(self, limit_s=None):
        """Wait for its end; returns the exit code, and what it wrote as output and as errors.

        It is killed if that takes longer.
        """
        self._process.join(limit_s)
        self.kill()
        return self._process.exitcode, self._output.read_text(), self._errors.read_text()

    def kill(self):
        """Make sure that it has ended."""
        self._process.kill()
        self._process.join()


def run_program(words):
    """What python does that is started with a path and arguments."""
    sys.argv = [str(word) for word in words]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    runpy.run_path(sys.argv[0], run_name="__main__")


def _be(act, arguments, output, errors, environment):
    for path, number in ((output, 1), (errors, 2)):
        with path.open("w") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    if "OMP_NUM_THREADS" in environment:
        # It was read when torch was imported.
        import torch

        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.exit(act(*arguments))
