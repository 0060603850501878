"""The budgets of the house: file length, docstrings, the README's map, the settings that ship."""

import ast
import importlib.util
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "exastorm"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 300


def readme_map():
    spec = importlib.util.spec_from_file_location("readme_map", ROOT / "docs" / "readme_map.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_module_tells_one_story(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(text)), "a module says in its docstring what it is for"


def test_readme_map_is_current():
    assert readme_map().readme_with_map() == (ROOT / "README.md").read_text(encoding="utf-8"), (
        "run `make map`"
    )


def test_every_top_level_module_is_in_the_map():
    names = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert names - {"__init__"} == set(readme_map().ORDER)


def test_pins_satisfy_the_ranges():
    # constraints.txt pins every dependency that pyproject.toml names, torch to exactly 2.13.0.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    pinned = {name.lower().replace("_", "-") for name in pins}
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["test"] + extras["check"] + extras["docs"]
    names = {w.split(">=")[0].split("[")[0].lower().replace("_", "-") for w in wanted}
    assert names <= pinned, f"not pinned: {names - pinned}"
    assert pins["torch"] == "2.13.0"


@pytest.mark.parametrize("path", sorted((PACKAGE / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_settings_load(path):
    from exastorm.cli.settings import load_sections

    assert set(load_sections(str(path))) == set(yaml.safe_load(path.read_text(encoding="utf-8")))
