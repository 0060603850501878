"""The map of modules in the README, made from the modules' own docstrings.

`python docs/readme_map.py` prints it; with `--write` it is put into the README between its marks.
"""

import argparse
import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "exastorm"
README = ROOT / "README.md"
BEGIN, END = "<!-- map: begin (make map) -->", "<!-- map: end -->"

# In the order in which the data flows.
ORDER = (
    "constants", "errors", "progress", "config", "variables", "grid", "land", "regions", "linking",
    "readers", "physics", "labels", "samples", "networks", "parallel", "train", "predict", "storms",
    "performance", "report", "cli",
)  # fmt: skip


def first_sentence(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line, up to its first full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".") + "."


def folder_lines(folder: Path) -> list[str]:
    """One line for a folder and one for each module in it."""
    name = folder.relative_to(PACKAGE).as_posix()
    lines = [f"| **`{name}/`** | {first_sentence(folder / '__init__.py')} |"]
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (path / "__init__.py").exists():
            lines += folder_lines(path)
        elif path.suffix == ".py" and path.name != "__init__.py":
            lines.append(f"| `{path.relative_to(PACKAGE).as_posix()}` | {first_sentence(path)} |")
    return lines


def make_map() -> str:
    """The whole map as a Markdown table."""
    lines = ["| module | what it is for |", "|---|---|"]
    for name in ORDER:
        path = PACKAGE / name
        if path.is_dir():
            lines += folder_lines(path)
        else:
            lines.append(f"| `{name}.py` | {first_sentence(path.with_suffix('.py'))} |")
    return "\n".join(lines)


def readme_with_map() -> str:
    """The README as it should be."""
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{make_map()}\n{END}{after}"


def main() -> None:
    """Print the map, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the map into the README")
    if parser.parse_args().write:
        README.write_text(readme_with_map(), encoding="utf-8")
    else:
        print(make_map())


if __name__ == "__main__":
    main()
