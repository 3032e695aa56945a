import re
from html.parser import HTMLParser

import pytest

from freelm.errors import DataError
from freelm.eval.sections import Bullets, Paragraph, Table, Verbatim
from freelm.report.page import (
    Page,
    Plot,
    Section,
    as_html,
    as_markdown,
    write_page,
)

NASTY = '<script>alert("x")</script> & | a'
BLOCKS = [
    Paragraph(NASTY),
    Bullets([NASTY, "b"]),
    Table(["name", "value"], [[NASTY, "12.5 ± 0.1"], ["b", ""]]),
    Plot("p", NASTY, "<svg><g/></svg>"),
    Verbatim(f"{NASTY}\n\n  indented"),
]
PAGE = Page(NASTY, [NASTY], NASTY, [Section(NASTY, BLOCKS)])


class Tags(HTMLParser):
    """Collects tags and checks that they nest."""

    void = ("meta", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_well_formed_and_runs_and_fetches_nothing():
    tags = Tags()
    tags.feed(as_html(PAGE))
    assert tags.open == []
    assert tags.links == []
    assert "script" not in tags.seen
    assert {"table", "svg", "h1", "h2", "ul", "pre"} <= set(tags.seen)
    assert not re.search(r"https?://", as_html(PAGE))


def test_columns_of_numbers_are_set_as_numbers():
    page = as_html(PAGE)
    assert '<td class="number">12.5 ± 0.1</td>' in page
    assert '<td class="number">&lt;script' not in page


def test_markdown_tables_keep_their_columns():
    lines = as_markdown(PAGE).splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert len(table) == 4
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {3}


def test_files(tmp_path):
    write_page(PAGE, tmp_path / "a", "page")
    assert (tmp_path / "a" / "page.html").read_text() == as_html(PAGE)
    assert "](plots/p.svg)" in (tmp_path / "a" / "page.md").read_text()
    assert (tmp_path / "a" / "plots" / "p.svg").read_text() == "<svg><g/></svg>"
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_page(PAGE, tmp_path / "file")


def test_markdown_of_all_blocks():
    page = Page("T", ["a", "b"], "Intro.", [Section("S", BLOCKS[1:3]), Section("V", BLOCKS[4:])])
    cell = NASTY.replace("|", "\\|")
    assert as_markdown(page) == (
        f"# T\n\nIntro.\n\n- a\n- b\n\n## S\n\n- {NASTY}\n- b\n\n"
        f"| name | value |\n| --- | --- |\n| {cell} | 12.5 ± 0.1 |\n| b |  |\n\n"
        f"## V\n\n    {NASTY}\n    \n      indented\n"
    )


def test_sections_without_blocks_are_left_out():
    page = Page("T")
    page.add("empty", None)
    page.add("full", None, Paragraph("x"))
    assert [section.title for section in page.sections] == ["full"]


def test_page_without_matplotlib_names_the_extra_to_install():
    page = Page("T", sections=[Section("S", [Plot("p", "What it shows", "")])])
    for text in (as_html(page), as_markdown(page)):
        assert "freelm[train]" in text
        assert "What it shows" not in text
        assert "svg" not in text.split("</style>")[-1]
    assert "freelm[train]" not in as_html(PAGE)
