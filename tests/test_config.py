"""Settings round-trip through YAML, and every mistake is told with its path."""

from dataclasses import dataclass

import pytest

from exastorm.config import from_dict, load_settings, read_yaml, save_settings, to_dict
from exastorm.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Inner:
    threshold: float = 24.0

    def __post_init__(self):
        if self.threshold <= 0:
            raise ValueError(f"threshold must be positive, got {self.threshold}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    seed: int = 0
    names: tuple[str, ...] = ("TMQ",)
    inner: Inner = Inner()


def test_round_trip(tmp_path):
    settings = Outer(seed=3, names=("U850", "V850"), inner=Inner(threshold=21.0))
    save_settings(settings, tmp_path / "s.yaml")
    assert load_settings(Outer, tmp_path / "s.yaml") == settings


def test_plain_values():
    assert to_dict(Outer()) == {"seed": 0, "names": ["TMQ"], "inner": {"threshold": 24.0}}


def test_left_out_keys_keep_their_defaults():
    assert from_dict(Outer, {"inner": {"threshold": 18}}) == Outer(inner=Inner(threshold=18.0))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sed": 1}, "unknown key 'sed'; did you mean 'seed'"),
        ({"inner": {"treshold": 1}}, "unknown key 'inner.treshold'; did you mean 'threshold'"),
        ({"zzz": 1}, "known are inner, names, seed"),
        ({"seed": "many"}, "seed: .* got 'many'"),
        ({"inner": {"threshold": -1}}, "inner: threshold must be positive, got -1"),
        ({"inner": 3}, "inner must be a mapping, got int"),
        ({"seed": "a", "names": 3}, "seed: .*; names: "),
    ],
)
def test_mistakes_are_told_with_their_path(values, words):
    with pytest.raises(InputError, match=words):
        from_dict(Outer, values)


@pytest.mark.parametrize(
    ("text", "words"), [("a: [1", "valid YAML"), ("- 1", "must be a mapping"), (None, "readable")]
)
def test_bad_files(tmp_path, text, words):
    path = tmp_path / "s.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_yaml(path)


def test_an_empty_file_is_all_defaults(tmp_path):
    (tmp_path / "s.yaml").write_text("")
    assert load_settings(Outer, tmp_path / "s.yaml") == Outer()
