"""The door in the shell: `exastorm COMMAND`, and what its errors look like."""

import io
import os
import sys
import warnings
from importlib import import_module
from pathlib import Path

from exastorm import __version__
from exastorm.cli.command import answer, parse, tell_error
from exastorm.config import suggestion
from exastorm.errors import ExchangeError, InputError

COMMANDS: dict[str, tuple[str, str, str]] = {
    "synthesize": ("synthesize", "Synthesize", "write a made-up climate with known storms"),
    "inspect": ("inspect", "Inspect", "say what an archive holds and which jobs it allows"),
    "label": ("label", "Label", "mark tropical cyclones and atmospheric rivers by heuristics"),
    "explain": ("explain", "Explain", "tell why a place is labeled or not, criterion by criterion"),
    "prepare": ("prepare", "Prepare", "turn an archive and its labels into training shards"),
    "convert": ("convert", "Convert", "turn samples into another form: shards, DeepCAM, npy, Zarr"),
    "stage": ("stage", "Stage", "bring samples to the nodes' own storage, read once"),
    "train": ("train", "Train", "train a segmentation network"),
    "plan": ("plan", "Plan", "say what a training on many nodes will do"),
    "launch": ("launch", "Launch", "train with several ranks on this machine, past lost ones"),
    "evaluate": ("evaluate", "Evaluate", "score a network or masks against labels"),
    "segment": ("segment", "Segment", "apply a trained network to an archive"),
    "census": ("census", "Census", "count and measure the storms in masks"),
    "report": ("report", "Report", "draw maps and one self-contained page"),
    "demo": ("demo", "Demo", "all of the above on the made-up climate, in minutes"),
    "experiment": ("experiment", "Experiment", "compare ways to train on the made-up climate"),
    "export": ("export", "Export", "write a trained network as torch.export program or ONNX"),
    "operations": ("operations", "Operations", "count a network's operations, layer by layer"),
    "bench": ("bench", "Bench", "measure speed against physical limits"),
}
"""Subcommand to its module in `cli/`, its class, and what it does, in the order the data flows."""

USAGE_ERROR = 2

LOST = 1
"""Exit code where other ranks are gone; a supervisor then starts all of them again."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""

QUIET = ("TORCH_CPP_LOG_LEVEL", "ERROR")
"""Torch reads it when it is imported; a user may set another. With warnings, a rank whose question
the store did not live to answer would show torch's stack beside the line that says why all end."""


def overview() -> str:
    """What `exastorm --help` prints."""
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {text}" for name, (_, _, text) in COMMANDS.items()]
    return "\n".join(
        [
            f"exastorm {__version__}: finds extreme weather in climate data.",
            "",
            "usage: exastorm COMMAND PATH... [--section.key value]... [--config FILE] [--json]",
            "",
            "Commands, in the order the data flows:",
            *rows,
            "",
            "'exastorm COMMAND --help' shows a command's options and an example.",
        ]
    )


def run(argv: list[str]) -> int:
    """Run one command and print what it did; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview() + "\n")
        return 0
    if argv[0] == "--version":
        sys.stdout.write(f"exastorm {__version__}\n")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        raise InputError(f"unknown command {name!r}{suggestion(name, COMMANDS)}")
    if name == "bench":
        import_module("exastorm.cli.bench").main(argv[1:])
        return 0
    if name == "launch":
        return int(import_module("exastorm.cli.launch").main(argv[1:]))
    module, cls, _ = COMMANDS[name]
    command = parse(getattr(import_module(f"exastorm.cli.{module}"), cls), name, argv[1:])
    answer(command.run(), command.json)
    return 0


def warning_text(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """What a warning says, in one line, without the place in the code."""
    return f"exastorm: warning: {' '.join(str(message).split())}\n"


def _drop_output() -> None:
    """Send what is still to be printed nowhere, so that the end of Python does not fail on it."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns 0 when done, 2 for a mistake in what was given.

    Ctrl-C gives 130, and another rank that is gone 1. Anything else is a fault of exastorm and ends
    with its traceback and code 1.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A locale without "²" gets "?" for it, rather than nothing at all.
        sys.stdout.reconfigure(errors="replace")
    warnings.formatwarning = warning_text
    os.environ.setdefault(*QUIET)
    code = 0
    try:
        code = run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads the output has had enough (`| head`); what was asked for is done.
        _drop_output()
    except (InputError, OSError, ExchangeError) as error:
        # Of all ranks one tells.
        if not getattr(error, "is_told", False):
            tell_error(error)
        return LOST if isinstance(error, ExchangeError) else USAGE_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("exastorm: stopped\n")
        return INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
