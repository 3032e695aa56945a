"""Pages: a list of blocks, written as one HTML file without network and as Markdown."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from freelm.errors import DataError

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: .2rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1rem 0; } figcaption { font-size: .85rem; opacity: .8; }
svg { max-width: 100%; height: auto; background: white; border-radius: .5rem; }
pre, code { background: var(--soft); border-radius: .2rem; }
code { padding: .1rem .3rem; } pre { padding: .6rem; overflow-x: auto; white-space: pre-wrap; }
.summary { background: var(--soft); border-radius: .5rem; padding: .4rem 1.2rem; }
"""


@dataclass(frozen=True)
class Heading:
    """A heading of the second level."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Sentences."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences; `summary` sets it off from the rest."""

    items: Sequence[str]
    summary: bool = False


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        head: Column names.
        rows: Cells as text.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Plot:
    """A plot as SVG.

    Attributes:
        name: Name of its file beside the Markdown page.
        svg: The drawing.
        caption: What it shows, written below it and read to those who cannot see it.
    """

    name: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Code:
    """Text as it is."""

    text: str


Block = Heading | Paragraph | Bullets | Grid | Plot | Code


@dataclass
class Page:
    """A title and the blocks below it."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    def add(self, *blocks: Block) -> None:
        """Add blocks at the end."""
        self.blocks += blocks


def as_html(page: Page) -> str:
    """The page as one HTML file; nothing is fetched when it is opened."""
    body = "\n".join(_html(block) for block in page.blocks)
    title = html.escape(page.title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )


def as_markdown(page: Page) -> str:
    """The page as Markdown; plots are files beside it."""
    return "\n\n".join([f"# {page.title}", *map(_markdown, page.blocks)]) + "\n"


def write_page(page: Page, folder: Path, name: str = "report") -> None:
    """Write `name.html`, `name.md` and the plots of the latter.

    Raises:
        DataError: If the folder cannot be written.
    """
    try:
        (folder / "plots").mkdir(parents=True, exist_ok=True)
        for block in page.blocks:
            if isinstance(block, Plot):
                (folder / "plots" / f"{block.name}.svg").write_text(block.svg, encoding="utf-8")
        (folder / f"{name}.html").write_text(as_html(page), encoding="utf-8")
        (folder / f"{name}.md").write_text(as_markdown(page), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror})") from None


_NUMBER = re.compile(r"[-+]?[\d.,]*\d%?( ± [\d.,]+)?( (-|to) [-+]?[\d.,]+)?( ms)?")


def _html(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Bullets(items, summary):
            listed = "".join(f"<li>{html.escape(item)}</li>" for item in items)
            return f'<ul class="summary">{listed}</ul>' if summary else f"<ul>{listed}</ul>"
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Plot(_, svg, caption):
            label = html.escape(caption, quote=True)
            drawing = f'<div role="img" aria-label="{label}">{svg}</div>'
            return f"<figure>{drawing}<figcaption>{label}</figcaption></figure>"
        case Grid(head, rows):
            return _html_table(head, rows)
    raise AssertionError(block)


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    numeric = [
        all(_NUMBER.fullmatch(row[i]) or not row[i] for row in rows) and any(r[i] for r in rows)
        for i in range(len(head))
    ]

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = (' class="number"' if number else "" for number in numeric)
        made = (
            f"<{tag}{kind}>{html.escape(cell)}</{tag}>"
            for cell, kind in zip(cells, kinds, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join([line(head, "th"), *(line(row, "td") for row in rows)])
    return f'<div class="scroll"><table>{body}</table></div>'


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {text}"
        case Paragraph(text):
            return text
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Code(text):
            return "\n".join(f"    {line}" for line in text.splitlines())
        case Plot(name, _, caption):
            return f"![{caption}](plots/{name}.svg)"
        case Grid(head, rows):
            lines = [head, ["---"] * len(head), *rows]
            return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
    raise AssertionError(block)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
