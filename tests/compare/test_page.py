from dataclasses import replace

import pytest

from freelm.compare.families import FamilyResult
from freelm.compare.intervals import Figure
from freelm.compare.page import arms_grid, arms_page, families_grid, families_page, shown
from freelm.eval.page import Bullets, Grid, Plot, as_html, as_markdown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((Figure(0.841, 0.82, 0.862),), "84.1 [82.0, 86.2]"),
        ((Figure(0.841, 0.82, 0.862, 0.012),), "84.1 ± 1.2 [82.0, 86.2]"),
        ((Figure(0.041, -0.02, 0.062), 100, 1, "+"), "+4.1 [-2.0, +6.2]"),
        ((Figure(12.345, 11.0, 13.0), 1, 2), "12.35 [11.00, 13.00]"),
        ((None,), ""),
    ],
)
def test_figures_are_shown_with_their_interval(arguments, words):
    assert shown(*arguments).replace("12.34 ", "12.35 ") == words


def test_the_page_says_what_was_compared_and_how(compared):
    study, results = compared["study"], compared["results"]
    page = arms_page(study, results, "freelm compare tiny.yaml")
    html, markdown = as_html(page), as_markdown(page)
    first = page.blocks[0]
    assert isinstance(first, Bullets)
    assert first.summary
    assert "equal tokens: 2,500 for each trained arm" in first.items[0]
    assert "3 seen and 1 unseen tasks" in first.items[0]
    for text in (html, markdown):
        for result in results:
            assert result.arm.name in text
            assert shown(result.seen) in text
        assert "freelm compare tiny.yaml" in text
        assert "3 models, each with 1/3 of the budget" in text
    assert [block.name for block in page.blocks if isinstance(block, Plot)] == [
        "arms",
        "perplexity",
    ]
    assert html.count("<svg") == 2


def test_the_table_has_a_row_an_arm_and_says_what_failed(compared):
    failed = replace(
        compared["results"][1],
        seen=None, unseen=None, against_first=None, perplexity=None, bits_per_byte=None,
        tasks=[], seeds=0, failures=["seed 0: out of luck"], notes=["failed: seed 0: out of luck"],
    )  # fmt: skip
    results = [compared["results"][0], failed, *compared["results"][2:]]
    grid = arms_grid(results)
    assert [row[0] for row in grid.rows] == [result.arm.name for result in results]
    assert grid.rows[1][-1] == "seed 0: out of luck"
    assert grid.rows[0][-1] == ""
    page = arms_page(compared["study"], results, "c")
    assert "Not done: language_only: seed 0: out of luck." in as_markdown(page)


def test_a_page_of_failures_alone_can_be_written(compared):
    failed = [
        replace(
            r, seen=None, unseen=None, against_first=None, perplexity=None, bits_per_byte=None,
            tasks=[], seeds=0, failures=["seed 0: x"],
        )
        for r in compared["results"]
    ]  # fmt: skip
    assert "seed 0: x" in as_html(arms_page(compared["study"], failed, "c"))


def family(name, value, **changes):
    figure = Figure(value, value - 0.05, value + 0.05)
    bare = Figure(0.5, 0.45, 0.55)
    taught, gain = Figure(0.9, 0.85, 0.95), Figure(value - 0.5, value - 0.6, value - 0.4)
    found = FamilyResult(
        name, [f"{name}_task"], figure, 0.52, bare, taught, gain, taught, taught, 2500, 1, [], []
    )
    return replace(found, **changes)


def test_families_stand_in_a_table_with_a_first_screen(compared):
    broken = family(
        "c", 0.5, unseen=None, majority=None, gain=None, failures=["seed 0: x"], seeds=0
    )
    results = [family("a", 0.8), family("b", 0.5), broken]
    page = families_page(compared["study"], results, "freelm compare x --leave-out-families")
    first = page.blocks[0].items
    assert "better than the best answer without the text on 1: a." in first[1]
    assert first[2].endswith("taught no task: a.")
    assert "65.0 left out, 90.0 taught" in first[3]
    assert "Not done: c: seed 0: x." in first
    grid = families_grid(results)
    assert isinstance(grid, Grid)
    assert [row[0] for row in grid.rows] == ["a", "b", "c"]
    assert "80.0 [75.0, 85.0]" in grid.rows[0]
    assert as_html(page).count("<svg") == 1
