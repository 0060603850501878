"""Read, check and save run settings: frozen dataclasses in Python, YAML on disk.

A settings file has one section for each stage (`label:`, `train:`, ...); a section is the
dataclass that stands beside the code it configures. Every wrong key and value is reported with
its path, and an unknown key with the nearest known one. No check needs a rank or a disk.
"""

import dataclasses
import difflib
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from exastorm.errors import InputError

Settings = TypeVar("Settings")


def suggestion(word: str, known: Any) -> str:
    """A hint for a mistyped word, such as "; did you mean 'seed'?", or the list of known words."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(sorted(known))}"


def check_keys(cls: Any, values: Any, path: str = "", file: str | Path | None = None) -> None:
    """Refuse keys that the dataclass does not have, at any depth.

    Args:
        cls: A dataclass type.
        values: What was read for it.
        path: Dotted path so far, for the message.
        file: Where the values come from, for the message.

    Raises:
        InputError: At the first unknown key or a section that is no mapping.
    """
    if not isinstance(values, dict):
        got = type(values).__name__
        raise InputError(f"{path or 'settings'} must be a mapping, got {got}", file=file)
    hints = typing.get_type_hints(cls)
    for key, value in values.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in hints:
            raise InputError(f"unknown key {where!r}{suggestion(str(key), hints)}", file=file)
        if dataclasses.is_dataclass(hints[key]):
            check_keys(hints[key], value, where, file)


def from_dict(cls: type[Settings], values: Any, file: str | Path | None = None) -> Settings:
    """Build a settings dataclass from nested plain values, strictly.

    Raises:
        InputError: Naming every wrong key or value with its path.
    """
    # Here, not above: a benchmark on a bare machine needs no pydantic.
    from pydantic import TypeAdapter, ValidationError

    check_keys(cls, values, file=file)
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in e['loc']) or cls.__name__}: {_reason(e)}"
            for e in error.errors()
        ]
        raise InputError("; ".join(problems), file=file) from None


def _reason(error: Any) -> str:
    """What is wrong with one value, in words, with what was got."""
    message = str(error["msg"]).removeprefix("Value error, ")
    return message if "got" in message else f"{message}, got {error.get('input')!r}"


def to_dict(settings: Any) -> dict[str, Any]:
    """A settings dataclass as nested plain values that YAML and JSON can hold."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return str(value) if isinstance(value, Path) else value

    return dict(plain(dataclasses.asdict(settings)))


def merge(under: Any, over: Any) -> Any:
    """Nested mappings as one; where both have a value, the one that lies over counts."""
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return {key: merge(under.get(key, {}), over.get(key, under.get(key))) for key in under | over}


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file as a mapping; an empty file is an empty mapping.

    Raises:
        InputError: If it does not exist, is not YAML, or is not a mapping.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"must be a readable YAML file: {error}", file=path) from None
    except yaml.YAMLError as error:
        raise InputError(f"must be valid YAML: {error}", file=path) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"must be a mapping of settings, got {type(values).__name__}", file=path)
    return values


def load_settings(cls: type[Settings], path: str | Path) -> Settings:
    """Read a settings dataclass from a YAML file.

    Raises:
        InputError: As `read_yaml` and `from_dict`.
    """
    return from_dict(cls, read_yaml(path), path)


def save_settings(settings: Any, path: str | Path) -> None:
    """Write a settings dataclass to a YAML file that `load_settings` reads back equal."""
    text = yaml.safe_dump(to_dict(settings), sort_keys=False, allow_unicode=True)
    Path(path).write_text(text, encoding="utf-8")
