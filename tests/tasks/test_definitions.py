"""Every shipped task definition: it loads, and renders a stored row to the stored propositions.

The rows in `definition_rows/` are invented in the style of each data set. `forms` has, for each
form that the definition has words for, claims of its first wording with their truth: all true
claims and any number of the false ones.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from freelm.tasks.forms import FORMS, render_form, wordings
from freelm.tasks.proposition import normalise
from freelm.tasks.registry import default_registry
from freelm.tasks.soundness import problems
from freelm.tasks.task import Phrasing, Task

ROWS = Path(__file__).parent / "definition_rows"
NAMES = default_registry().names()
MAX_CLAIM_WORDS = 40
ANSWER_FORMS = [form for form in FORMS if form not in ("sentence", "opposite")]


def stored(name: str) -> dict[str, Any]:
    """The stored row of a task with what it must become."""
    folder = ROWS / "ni" if is_ni(name) else ROWS
    content: dict[str, Any] = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def is_ni(name: str) -> bool:
    """Whether a task is one of the small Super-NaturalInstructions tasks."""
    path = default_registry().get(name).path
    return path is not None and path.parent.name == "ni"


def stated_claims(task: Task, phrasing: Phrasing) -> dict[str, str]:
    """Label -> claim with its fields unfilled; an options question has one claim for all."""
    if phrasing.template is None:
        return dict(phrasing.claims)
    if task.question == "options":
        return {"": phrasing.template}
    words = task.label.descriptions
    return {name: phrasing.template.replace("{label}", words[name]) for name in task.label.ids}


def phrasing_named(task: Task, name: str) -> Phrasing:
    return next(phrasing for phrasing in task.phrasings if phrasing.name == name)


def test_each_definition_has_a_stored_row_and_each_row_a_definition() -> None:
    assert sorted(path.stem for path in ROWS.rglob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_definition_loads_without_problems(name: str) -> None:
    assert problems(default_registry().get(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_a_private_task_may_leave_out_is_stated(name: str) -> None:
    task = default_registry().get(name)
    assert {"version", "reference", "metrics"} <= task.model_fields_set
    assert task.reference


@pytest.mark.parametrize("name", NAMES)
def test_phrasings_suffice_for_training_and_holding_out(name: str) -> None:
    task = default_registry().get(name)
    assert len(task.training_phrasings) >= 2
    assert task.asks
    if not is_ni(name):
        assert len(task.held_out_phrasings) >= 1


@pytest.mark.parametrize("name", NAMES)
def test_stored_row_becomes_the_stored_propositions(name: str) -> None:
    task, expected = default_registry().get(name), stored(name)
    example = task.example(expected["row"], name, phrasing_named(task, expected["phrasing"]))
    assert [proposition.text for proposition in example.propositions()] == expected["propositions"]
    assert example.target == expected["target"]
    if "truths" in expected:
        assert example.truths == pytest.approx(expected["truths"])


@pytest.mark.parametrize("name", NAMES)
def test_stored_row_becomes_the_stored_claims_of_each_form(name: str) -> None:
    task, expected = default_registry().get(name), stored(name)
    first = {form: wordings(task, form)[0] for form in ANSWER_FORMS if wordings(task, form)}
    assert list(expected.get("forms", {})) == list(first)
    for form, claims in expected.get("forms", {}).items():
        example = render_form(task, expected["row"], name, first[form])
        assert example.truths is not None
        rendered = dict(zip(example.claims, example.truths, strict=True))
        assert claims == {claim: rendered.get(claim) for claim in claims}, form
        assert {c for c, truth in rendered.items() if truth} <= set(claims), form


@pytest.mark.parametrize("name", NAMES)
def test_every_wording_of_a_form_gives_each_label_a_claim_of_its_own(name: str) -> None:
    task, row = default_registry().get(name), stored(name)["row"]
    for wording in (wording for form in FORMS for wording in wordings(task, form)):
        example = render_form(task, row, name, wording)
        assert example.context
        assert len(set(map(normalise, example.claims))) == len(example.claims)
        assert example.truths is not None
        assert len(example.truths) == len(example.claims)


@pytest.mark.parametrize("name", NAMES)
def test_all_phrasings_render_the_stored_row_in_short_claims(name: str) -> None:
    task, row = default_registry().get(name), stored(name)["row"]
    for phrasing in task.phrasings:
        example = task.example(row, name, phrasing)
        for claim in (*example.claims, *example.opposites):
            assert len(claim.split()) <= MAX_CLAIM_WORDS, (phrasing.name, claim)
        assert len(set(map(normalise, example.claims))) == len(example.claims), phrasing.name


@pytest.mark.parametrize("name", NAMES)
def test_an_opposite_differs_from_the_claim_it_denies(name: str) -> None:
    task, row = default_registry().get(name), stored(name)["row"]
    for phrasing in task.phrasings:
        example = task.example(row, name, phrasing)
        for claim, opposite in zip(example.claims, example.opposites, strict=False):
            assert normalise(claim) != normalise(opposite), phrasing.name


def test_no_task_trains_on_a_claim_that_another_holds_out() -> None:
    tasks = default_registry().get_all(NAMES)
    trained = {
        normalise(claim): task.name
        for task in tasks
        for phrasing in task.training_phrasings
        for claim in (*stated_claims(task, phrasing).values(), *phrasing.opposites.values())
    }
    trained |= {normalise(words): t.name for t in tasks for words in t.descriptions.values()}
    for task in tasks:
        for phrasing in task.held_out_phrasings:
            for claim in stated_claims(task, phrasing).values():
                where = f"{task.name}/{phrasing.name}"
                assert normalise(claim) not in trained, (where, trained.get(normalise(claim)))


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_never_reported_on_training_rows(name: str) -> None:
    assert default_registry().get(name).report_split != "train"
