"""Settings files: sections, shipped ones, and what is said of mistakes."""

import pytest

from exastorm.cli.command import parse
from exastorm.cli.settings import (
    SECTIONS,
    find_config,
    load_sections,
    section_class,
    shipped_configs,
)
from exastorm.cli.train import Train
from exastorm.errors import InputError


def test_shipped_settings_are_found_by_name():
    assert {"demo", "channels16"} <= set(shipped_configs())
    assert find_config("demo").name == "demo.yaml"


def test_every_section_has_defaults():
    for name in SECTIONS:
        section_class(name)()


def test_only_wanted_sections_are_built(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("synthesize: {seed: 5}\nprepare: {gap_hours: 48}\n")
    sections = load_sections(str(path), ("synthesize",))
    assert list(sections) == ["synthesize"]
    assert sections["synthesize"].seed == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trian: {}", "unknown section 'trian'; did you mean 'train'"),
        ("synthesize: {sed: 1}", "unknown key 'sed'; did you mean 'seed'"),
        ("synthesize: 3", "must be a mapping"),
    ],
)
def test_mistakes_in_a_file(tmp_path, text, words):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        load_sections(str(path))


def test_a_settings_file_that_is_not_there():
    with pytest.raises(InputError, match=r"got 'demoo'; did you mean 'demo'"):
        find_config("demoo")


@pytest.mark.parametrize("in_file", [True, False])
def test_a_flag_can_be_given_whatever_the_file_says(tmp_path, in_file):
    path = tmp_path / "settings.yaml"
    path.write_text(f"train: {{compute: {{deterministic: {str(in_file).lower()}}}}}")
    for word, value in (("deterministic", True), ("no-deterministic", False)):
        argv = ["samples", "--config", str(path), f"--train.compute.{word}"]
        assert parse(Train, "train", argv).train.compute.deterministic is value
