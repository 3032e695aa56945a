from dataclasses import replace

import pytest

from freelm.compare.families import FamilyResult
from freelm.compare.intervals import Estimate
from freelm.compare.page import (
    arms_page,
    arms_table,
    families_page,
    families_table,
    format_estimate,
)
from freelm.report.page import Plot, as_html, as_markdown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((Estimate(0.841, 0.82, 0.862),), "84.1 [82.0, 86.2]"),
        ((Estimate(0.841, 0.82, 0.862, 0.012),), "84.1 ± 1.2 [82.0, 86.2]"),
        ((Estimate(0.041, -0.02, 0.062), 100, 1, "+"), "+4.1 [-2.0, +6.2]"),
        ((Estimate(12.345, 11.0, 13.0), 1, 2), "12.35 [11.00, 13.00]"),
        ((None,), ""),
    ],
)
def test_figures_are_shown_with_their_interval(arguments, words):
    assert format_estimate(*arguments).replace("12.34 ", "12.35 ") == words


def test_page_states_what_was_compared_and_how(compared):
    study, results = compared["study"], compared["results"]
    page = arms_page(study, results, "freelm compare tiny.yaml")
    html, markdown = as_html(page), as_markdown(page)
    assert "equal tokens: 2,500 for each trained arm" in page.summary[0]
    assert "3 seen and 1 unseen tasks" in page.summary[0]
    for text in (html, markdown):
        for result in results:
            assert result.arm.name in text
            assert format_estimate(result.seen) in text
        assert "freelm compare tiny.yaml" in text
        assert "3 models, each with 1/3 of the budget" in text
    assert [plot.name for plot in page.plots] == ["arms", "perplexity", "learning"]
    assert html.count("<svg") == 3


def test_table_has_a_row_per_arm_and_lists_failures(compared):
    failed = replace(
        compared["results"][1],
        seen=None, held_out=None, unseen=None, against_first=None, seen_gain=None,
        unseen_gain=None, perplexity=None, bits_per_byte=None, code=[],
        tasks=[], seeds=0, failures=["seed 0: out of luck"], notes=["failed: seed 0: out of luck"],
    )  # fmt: skip
    results = [compared["results"][0], failed, *compared["results"][2:]]
    grid = arms_table(results)
    assert [row[0] for row in grid.rows] == [result.arm.name for result in results]
    assert grid.rows[1][-1] == "seed 0: out of luck"
    assert grid.rows[0][-1] == ""
    page = arms_page(compared["study"], results, "c")
    assert "Failed: language_only: seed 0: out of luck." in as_markdown(page)


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without their plots, which take longer than everything else."""
    monkeypatch.setattr("freelm.report.plots.draw", lambda name, *about: Plot(name, "", "<svg/>"))


def first_screen(compared, results):
    return arms_page(compared["study"], results, "c").summary


@pytest.mark.usefixtures("undrawn")
def test_single_seed_is_noted_next_to_claimed_differences(compared):
    results = compared["results"]
    assert first_screen(compared, results)[1].startswith("Everything was trained once, with one se")
    some = [replace(r, seeds=3) if place else r for place, r in enumerate(results)]
    assert first_screen(compared, some)[1].startswith("alternate was trained once, with one seed")
    several = [replace(r, seeds=3) for r in results]
    assert not any("one seed" in line for line in first_screen(compared, several))


@pytest.mark.usefixtures("undrawn")
def test_best_arms_are_compared_with_the_best_answer_without_the_text(compared):
    above, level = Estimate(0.2, 0.1, 0.3), Estimate(0.05, -0.1, 0.2)
    results = [replace(r, seen_gain=above, unseen_gain=above) for r in compared["results"]]
    unseen = [f for f in results[0].tasks if not f.is_seen]
    words = f"the best answer without the text has {100 * unseen[0].majority:.1f}, and every arm is"
    (line,) = (x for x in first_screen(compared, results) if x.startswith("Tasks of families"))
    assert words in line
    results[2] = replace(results[2], seen_gain=level, unseen_gain=level)
    lines = [x for x in first_screen(compared, results) if "without the text" in x]
    assert len(lines) == 2
    assert all(x.endswith("not significantly better than that: mixed-50.") for x in lines)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("steps", "told"), [(150, False), (151, True)])
def test_unequal_steps_of_equal_tokens_are_noted(compared, steps, told):
    own = {"alternate": 100, "mixed-50": steps, "per_task": 900, "in_context-9": 900}
    results = [replace(r, steps=own.get(r.arm.name, 120)) for r in compared["results"]]
    words = "not an equal number of steps: mixed-50 took 151 and alternate 100, so"
    assert (words in as_markdown(arms_page(compared["study"], results, "c"))) == told


@pytest.mark.usefixtures("undrawn")
def test_unequal_treatment_of_arms_is_noted(compared):
    markdown = as_markdown(arms_page(compared["study"], compared["results"], "c"))
    assert "the learning rate, 0.01, was chosen for propositions;" in markdown
    assert "one draw of demonstrations per seed" in markdown
    assert "prompts, chosen on training rows" not in markdown
    trained = [r for r in compared["results"] if r.arm.shots is None]
    assert "demonstrations per seed" not in as_markdown(arms_page(compared["study"], trained, "c"))


@pytest.mark.usefixtures("undrawn")
def test_arms_of_different_code_are_noted(compared):
    old, new = ({"torch": "2", "commit": commit} for commit in ("abc", "def"))
    results = [replace(r, code=[old]) for r in compared["results"]]
    words = "Trained or measured with different"
    assert words not in as_markdown(arms_page(compared["study"], results, "c"))
    results[0] = replace(results[0], code=[old, new])
    text = as_markdown(arms_page(compared["study"], results, "c"))
    assert f"{words} commits: abc for all; def for alternate" in text
    assert "versions of torch" not in text


def test_a_page_of_failures_alone_can_be_written(compared):
    failed = [
        replace(
            r, seen=None, held_out=None, unseen=None, against_first=None, seen_gain=None,
            unseen_gain=None, perplexity=None, bits_per_byte=None, code=[],
            tasks=[], seeds=0, failures=["seed 0: x"],
        )
        for r in compared["results"]
    ]  # fmt: skip
    assert "seed 0: x" in as_html(arms_page(compared["study"], failed, "c"))


def family(name, value, **changes):
    figure = Estimate(value, value - 0.05, value + 0.05)
    bare = Estimate(0.5, 0.45, 0.55)
    taught, gain = Estimate(0.9, 0.85, 0.95), Estimate(value - 0.5, value - 0.6, value - 0.4)
    above = Estimate(value - 0.52, value - 0.56, value - 0.48)
    found = FamilyResult(
        name, [f"{name}_task"], figure, 0.52, above, bare, taught, gain, taught, taught,
        2500, 1, [], [], [],
    )  # fmt: skip
    return replace(found, **changes)


def test_families_page_has_a_table_and_a_summary(compared):
    broken = family(
        "c", 0.5, unseen=None, majority=None, over_constant=None, gain=None, seeds=0,
        failures=["seed 0: x"],
    )  # fmt: skip
    results = [family("a", 0.8), family("b", 0.5), broken]
    page = families_page(compared["study"], results, "freelm compare x --leave-out-families")
    first = page.summary
    assert first[1].startswith("Everything was trained once, with one seed")
    assert "better than the best answer without the text on 1: a." in first[2]
    assert first[3].endswith("taught no task: a.")
    assert "65.0 left out, 90.0 taught" in first[4]
    assert "Failed: c: seed 0: x." in first
    grid = families_table(results)
    assert [row[0] for row in grid.rows] == ["a", "b", "c"]
    assert "80.0 [75.0, 85.0]" in grid.rows[0]
    assert as_html(page).count("<svg") == 1


def test_better_than_without_the_text_is_decided_on_the_same_items(compared):
    """The figure's own interval takes the other side for known."""
    close = family("a", 0.8, over_constant=Estimate(0.28, -0.01, 0.6))
    far = family("b", 0.55, over_constant=Estimate(0.03, 0.01, 0.05))
    first = families_page(compared["study"], [close, far], "c").summary
    assert "without the text on 1: b." in first[2]
