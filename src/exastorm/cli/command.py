"""What all subcommands share: their two common options, parsing, answers and errors."""

import contextlib
import dataclasses
import inspect
import io
import json
import os
import sys
from typing import Annotated, Any, ClassVar, TypeVar

import tyro

from exastorm.cli.settings import SECTIONS, load_sections
from exastorm.errors import InputError


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        line: One line: what was done and where it is; empty where the text says it all.
        figures: The same and more, JSON-able, for `--json`.
        text: A table to print before the line.
    """

    line: str
    figures: dict[str, Any]
    text: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """Base of every subcommand: a dataclass whose fields are its arguments."""

    example: ClassVar[str] = ""
    """One line that can be pasted, shown by --help."""

    default_config: ClassVar[str | None] = None
    """Settings file that is read where --config names none."""

    short_options: ClassVar[dict[str, str]] = {}
    """Options of this command that can be given without their section, over `SHORT_OPTIONS`."""

    config: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Read settings from this YAML file, or a shipped one by name (demo, channels16); options given
    on the command line win."""

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the figures as JSON."""

    @classmethod
    def preset_sections(cls, name: str | None) -> dict[str, Any]:
        """Settings that a preset stands for, by section; options and settings files win over it."""
        assert name is None or not hasattr(cls, "preset"), f"{cls.__name__} lacks its presets"
        return {}

    @classmethod
    def config_of(cls, argv: list[str]) -> str | None:
        """The settings file to read: --config, or the command's own."""
        return option_value(argv, "--config") or cls.default_config

    def run(self) -> Outcome | None:
        """Do the work."""
        raise AssertionError(f"{type(self).__name__} lacks run()")


SHORT_OPTIONS = {
    "--skip-bad": "--read.skip-bad",
    "--tc": "--label.cyclones",
    "--ar": "--label.rivers",
    "--scheduler": "--label.scheduler",
    "--soft": "--label.soft",
}
"""Options that can be given without their section."""

AnyCommand = TypeVar("AnyCommand", bound=Command)

Paths = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
"""One or more paths, globs or stores, given first."""

OnePath = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
"""One path, given first."""


def long_option(word: str, own: dict[str, str] | None = None) -> str:
    """An option with its section, where it was given without, with or without `=value`."""
    name, equals, value = word.partition("=")
    return (SHORT_OPTIONS | (own or {})).get(name, name) + equals + value


def option_value(argv: list[str], option: str) -> str | None:
    """The value of an option in an argument list, before the rest is parsed."""
    for i, word in enumerate(argv):
        if word == option and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(f"{option}="):
            return word.split("=", 1)[1]
    return None


def defaults(
    cls: type[AnyCommand], config: str | None, preset: dict[str, Any] | None = None
) -> AnyCommand:
    """A command with its defaults: sections from a settings file, and under those from a preset."""
    sections = tuple(f.name for f in dataclasses.fields(cls) if f.name in SECTIONS)
    values: dict[str, Any] = load_sections(config, sections, preset or {})
    for field in dataclasses.fields(cls):
        has_default = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        if field.name not in values and not has_default:
            values[field.name] = tyro.MISSING
    return cls(**values)


def parse(cls: type[AnyCommand], name: str, argv: list[str]) -> AnyCommand:
    """Parse the arguments of one subcommand.

    Raises:
        InputError: For a settings file that is wrong, wrong options (with a suggestion), or no path
            where one is needed.
        SystemExit: With code 0 after --help.
    """
    box = io.StringIO()
    config = cls.config_of(argv)
    try:
        with contextlib.redirect_stderr(box):
            command = tyro.cli(
                cls,
                prog=f"exastorm {name}",
                args=[long_option(word, cls.short_options) for word in argv],
                default=defaults(cls, config, cls.preset_sections(option_value(argv, "--preset"))),
                description=f"{inspect.getdoc(cls)}\n\nExample: {cls.example}",
                console_outputs=True,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(f"{box_text(box.getvalue())}; try 'exastorm {name} --help'") from None
    for field in dataclasses.fields(cls):
        if getattr(command, field.name) == () and field.default is dataclasses.MISSING:
            raise InputError(f"{name} needs at least one PATH; try 'exastorm {name} --help'")
    return command


def box_text(box: str) -> str:
    """What tyro's box around an error says, without frame and title, in one line."""
    lines = [line.strip("│╭╮╰╯─ ") for line in box.splitlines()[1:]]
    # Where the terminal has no Unicode, the frame is made of hyphens, which options begin with.
    text = " ".join(line for line in lines if line.strip("-"))
    return text.split(" For full helptext")[0].split(" Argument helptext")[0].rstrip(".")


def figures_text(figures: dict[str, Any], indent: str = "") -> str:
    """Nested figures as lines of text, four digits each."""
    lines = []
    for name, value in figures.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", figures_text(value, indent + "  ")]
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            lines.append(f"{indent}{name:<32} {shown}")
    return "\n".join(lines)


def answer(outcome: Outcome | None, as_json: bool) -> None:
    """Print what a command did, as JSON or for people; None is for others to tell."""
    if outcome is None:
        return
    if as_json:
        sys.stdout.write(json.dumps(outcome.figures, indent=2, allow_nan=False) + "\n")
        return
    if outcome.text:
        sys.stdout.write(outcome.text.rstrip() + "\n")
    if outcome.line:
        sys.stdout.write(outcome.line + "\n")


def error_text(error: Exception) -> str:
    """What an error says, the file first if the system says which."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return where + error.strerror
    return str(error)


def tell_error(error: Exception) -> None:
    """Tell what is wrong, in one line."""
    sys.stderr.write(f"exastorm: error: {' '.join(error_text(error).split())}\n")
    sys.stderr.flush()
