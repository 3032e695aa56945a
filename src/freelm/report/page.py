"""The one page mechanism: data in sections, rendered by templates as HTML and as Markdown.

The HTML page is a single file that fetches nothing. Evaluation reports, comparisons, the demo and
model cards are all pages.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from freelm.errors import DataError
from freelm.eval.sections import Block, Bullets, Paragraph, PlotData, Table, Verbatim
from freelm.io.atomic import atomic_write
from freelm.report.plots import Plot, draw_plot

NO_PLOTS = (
    "Plots are missing because matplotlib is not installed: pip install 'freelm[train]', then run "
    "the command again."
)


Content = Paragraph | Bullets | Table | Verbatim | Plot
"""A block with its plot drawn."""


@dataclass(frozen=True)
class Section:
    """A heading and the blocks below it."""

    title: str
    blocks: Sequence[Content]


@dataclass
class Page:
    """A page.

    Attributes:
        title: Its heading.
        summary: The bulleted first screen.
        intro: A paragraph above the summary.
        sections: The rest.
    """

    title: str
    summary: Sequence[str] = ()
    intro: str = ""
    sections: list[Section] = field(default_factory=list)

    def add(self, title: str, *blocks: Block | None) -> None:
        """Add a section and draw its plots; without blocks that are not None, add nothing."""
        present = [
            draw_plot(block) if isinstance(block, PlotData) else block
            for block in blocks
            if block is not None
        ]
        if present:
            self.sections.append(Section(title, present))

    @property
    def plots(self) -> list[Plot]:
        """All plots on the page."""
        return [b for section in self.sections for b in section.blocks if isinstance(b, Plot)]

    @property
    def lacks_plots(self) -> bool:
        """Whether plots could not be drawn."""
        return any(not plot.svg for plot in self.plots)


def as_html(page: Page) -> str:
    """The page as one HTML file."""
    return _environment(autoescape=True).get_template("page.html").render(page=page)


def as_markdown(page: Page) -> str:
    """The page as Markdown; its plots are separate files."""
    text = _environment(autoescape=False).get_template("page.md").render(page=page)
    return text.strip() + "\n"


def write_page(page: Page, folder: Path, name: str = "report") -> None:
    """Write `name.html`, `name.md` and the plots that the Markdown page shows.

    Raises:
        DataError: If the folder cannot be written.
    """
    files = {f"plots/{plot.name}.svg": plot.svg for plot in page.plots if plot.svg}
    files |= {f"{name}.html": as_html(page), f"{name}.md": as_markdown(page)}
    write_files(files, folder)


def write_files(files: Mapping[str, str], folder: Path) -> None:
    """Write text files, by their names in a folder.

    Raises:
        DataError: If one cannot be written.
    """
    for name, text in files.items():
        try:
            atomic_write(folder / name, text)
        except OSError as error:
            raise DataError(f"{folder / name}: cannot be written ({error.strerror})") from None


@cache
def _environment(autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("freelm.report"),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.globals["no_plots"] = NO_PLOTS
    environment.filters |= {
        "kind": lambda block: type(block).__name__,
        "numeric_columns": numeric_columns,
        "table_cell": _table_cell,
    }
    return environment


_NUMBER = re.compile(r"[-+]?[\d.,]*\d%?( ± [\d.,]+)?( (-|to) [-+]?[\d.,]+)?( ms)?")


def numeric_columns(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Which columns hold numbers, and are aligned as such."""
    return [
        any(column) and all(not cell or _NUMBER.fullmatch(cell) for cell in column)
        for column in zip(*rows, strict=True)
    ]


def without_empty_columns(table: Table) -> Table:
    """The table without columns that are empty in every row."""
    used = [i for i in range(len(table.head)) if any(row[i] for row in table.rows)]
    return Table([table.head[i] for i in used], [[row[i] for i in used] for row in table.rows])


def _table_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
