"""One self-contained HTML page: pictures inside it, no script, no other file, light and dark.

A page is a title, a lead and blocks; each block knows its own HTML. Everything that comes from
data is escaped.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Protocol

from exastorm.report.style import WIDTH_PX

STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --quiet: #52606d; --line: #d9dee4;
  --paper: #ffffff; --card: #f5f7fa; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --quiet: #9aa5b1; --line: #3a4653;
  --paper: #14191f; --card: #1f2730; --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 2.2rem 1.2rem 4rem; }
h1 { font-size: clamp(1.5rem, 4.5vw, 2.1rem); line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .6rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
p { max-width: 50rem; margin: .6rem 0; }
p.lead { font-size: 1.12rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem;
  margin: 1.4rem 0; }
.tile { background: var(--card); border-radius: 10px; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.65rem; line-height: 1.25;
  font-variant-numeric: tabular-nums; }
.tile span { color: var(--quiet); font-size: .88rem; line-height: 1.35; display: block; }
figure { margin: 1.4rem 0; }
figure img { display: block; width: 100%; height: auto; background: #fff; border-radius: 10px;
  border: 1px solid var(--line); padding: .5rem; }
figure.narrow img { max-width: 46rem; }
figcaption, caption { color: var(--quiet); font-size: .93rem; text-align: left;
  max-width: 50rem; margin-top: .5rem; }
.scroll { overflow-x: auto; margin: 1.2rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 60%; }
caption { caption-side: bottom; }
th, td { padding: .42rem .9rem .42rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 11rem; }
thead th { color: var(--quiet); font-weight: 600; font-size: .9rem; white-space: normal;
  vertical-align: bottom; }
details { background: var(--card); border-radius: 10px; padding: .6rem 1rem; margin: .8rem 0; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font-size: .82rem; line-height: 1.45; }
footer { margin-top: 3rem; color: var(--quiet); font-size: .88rem; }
"""


class Block(Protocol):
    """A part of a page."""

    def to_html(self) -> str:
        """The part as HTML."""


@dataclass(frozen=True)
class Heading:
    """Begins a section."""

    text: str

    def to_html(self) -> str:
        """A second-rank heading."""
        return f"<h2>{escape(self.text)}</h2>"


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str

    def to_html(self) -> str:
        """A paragraph."""
        return f"<p>{escape(self.text)}</p>"


@dataclass(frozen=True)
class Tiles:
    """A row of large figures.

    Attributes:
        figures: Pairs of the figure and what it is.
    """

    figures: Sequence[tuple[str, str]]

    def to_html(self) -> str:
        """A grid that folds on narrow screens."""
        tiles = [
            f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
            for value, label in self.figures
        ]
        return f'<div class="tiles">{"".join(tiles)}</div>'


@dataclass(frozen=True)
class Table:
    """A table; its first column is text, the others are figures.

    Attributes:
        head: Column titles.
        rows: Rows of text.
        caption: What to see in it.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def to_html(self) -> str:
        """A table that scrolls within itself on narrow screens."""
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in self.head)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows
        )
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        return (
            f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )


@dataclass(frozen=True)
class Picture:
    """A PNG with a caption.

    Attributes:
        name: Name of the file when it is also saved beside the page, without suffix.
        png: Its bytes.
        caption: What to see in it.
        alt: What it is, for those who cannot see it; the caption by default.
    """

    name: str
    png: bytes
    caption: str
    alt: str = ""

    def to_html(self) -> str:
        """The picture inside the page."""
        data = base64.b64encode(self.png).decode("ascii")
        # The width of a PNG stands in bytes 16 to 19 (PNG specification, IHDR).
        is_narrow = int.from_bytes(self.png[16:20], "big") < WIDTH_PX
        kind = ' class="narrow"' if is_narrow else ""
        return (
            f'<figure{kind}><img alt="{escape(self.alt or self.caption)}" '
            f'src="data:image/png;base64,{data}"><figcaption>{escape(self.caption)}</figcaption>'
            "</figure>"
        )


@dataclass(frozen=True)
class Details:
    """Preformatted text that opens on a click."""

    title: str
    text: str

    def to_html(self) -> str:
        """A folded block."""
        return (
            f"<details><summary>{escape(self.title)}</summary>"
            f"<pre>{escape(self.text)}</pre></details>"
        )


def write_page(
    out: str | Path, title: str, lead: str, blocks: Sequence[Block], footer: str = ""
) -> Path:
    """Write the page, and its pictures as files of their own in the folder `figures` beside it.

    Args:
        out: Path of the page, .html.
        title: Its title.
        lead: One paragraph: what was done and what came out.
        blocks: What follows.
        footer: A last line.

    Returns:
        Path of the page.
    """
    out = Path(out)
    figures = out.parent / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for block in blocks:
        if isinstance(block, Picture):
            (figures / f"{block.name}.png").write_bytes(block.png)
    body = "\n".join(block.to_html() for block in blocks)
    html = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n{body}\n'
        f"<footer>{escape(footer)}</footer>\n</main>\n</body>\n</html>\n"
    )
    partial = out.with_name(out.name + ".partial")
    partial.write_text(html, encoding="utf-8")
    partial.replace(out)
    return out
