"""A page of headings, paragraphs, tables and pictures, as Markdown and as one HTML file that holds its pictures.

Notable: paragraphs know **bold** and `code` and nothing else; everything is escaped, so names of runs may be anything.
"""

from __future__ import annotations

import base64
import html as escaping
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heading:
    """A heading of level 2 or 3."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Lines:
    """A list of points."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; the first column is text, the others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture file, and what it shows."""

    file: Path
    words: str


Block = str | Heading | Lines | Table | Picture

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1080px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.25em; margin-top: 2em; border-bottom: 1px solid #ddd; } h3 { font-size: 1.05em; }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0; }
caption { text-align: left; color: #555; padding-bottom: 4px; }
th, td { padding: 3px 9px; border-bottom: 1px solid #e6e6e6; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; } th { border-bottom: 2px solid #888; }
img { max-width: 100%; } figure { margin: 1em 0; } figcaption { color: #555; font-size: 13px; }
code { background: #f3f3f3; padding: 0 3px; } .wide { overflow-x: auto; }
"""


def _rich(text: str) -> str:
    text = escaping.escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)


def html(title: str, blocks: Sequence[Block]) -> str:
    """The page as one HTML file without any outside."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"<h{block.level}>{_rich(block.text)}</h{block.level}>")
        elif isinstance(block, Lines):
            parts.append("<ul>" + "".join(f"<li>{_rich(item)}</li>" for item in block.items) + "</ul>")
        elif isinstance(block, Table):
            head = "".join(f"<th>{_rich(cell)}</th>" for cell in block.header)
            body = "".join("<tr>" + "".join(f"<td>{_rich(cell)}</td>" for cell in row) + "</tr>" for row in block.rows)
            caption = f"<caption>{_rich(block.caption)}</caption>" if block.caption else ""
            table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            parts.append(f'<div class="wide">{table}</div>')
        elif isinstance(block, Picture):
            data = base64.b64encode(Path(block.file).read_bytes()).decode()
            words = escaping.escape(block.words)
            picture = f'<img alt="{words}" src="data:image/png;base64,{data}">'
            parts.append(f"<figure>{picture}<figcaption>{_rich(block.words)}</figcaption></figure>")
        else:
            parts.append(f"<p>{_rich(block)}</p>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escaping.escape(title)}</title>'
    body = "\n".join([f"<h1>{_rich(title)}</h1>", *parts])
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'


def markdown(title: str, blocks: Sequence[Block], *, root: Path) -> str:
    """The page as Markdown; pictures by their place under `root`, where the page will lie."""
    parts = [f"# {title}"]
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, Lines):
            parts.append("\n".join(f"* {item}" for item in block.items))
        elif isinstance(block, Table):
            rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (block.header, *block.rows)]
            rule = "|---|" + "---:|" * (len(block.header) - 1)
            parts.append("\n".join(([f"{block.caption}\n"] if block.caption else []) + [rows[0], rule, *rows[1:]]))
        elif isinstance(block, Picture):
            parts.append(f"![{block.words}]({Path(block.file).relative_to(root).as_posix()})")
        else:
            parts.append(block)
    return "\n\n".join(parts) + "\n"
