from typing import Any

import pytest

from freelm.tasks.definition import Definition
from freelm.tasks.form_soundness import form_problems
from toy_tasks import CHOICE, OPTIONS, PREDICATE, SCORE, make

LABELS = {"bad": "Bad.", "fair": "Fair.", "good": "Good."}
PAIR: dict[str, Any] = {
    "fields": {"premise": "premise", "hypothesis": "hypothesis"},
    "context": ["{premise}", "{hypothesis}"],
}
STATEMENT: dict[str, Any] = {"context": "premise", "claim": "hypothesis", "true": "good"}
CHECK = {"supported": "good", "contradicted": "bad", "not_stated": "fair"}


def found(base: dict[str, Any], **changes: Any) -> list[str]:
    return list(form_problems(make(base, **changes)))


def test_sound_keys_have_no_problems() -> None:
    assert found(CHOICE) == []
    assert (
        found(
            CHOICE,
            **PAIR,
            asks=["How is {premise}?", "How?"],
            asks_if="Is it {label}?",
            names={"bad": ["bad", "poor"], "good": ["good", "fine"]},
            descriptions=LABELS,
            statement={**STATEMENT, "check": CHECK},
            symmetric=["premise", "hypothesis"],
            without_forms="label",
        )
        == []
    )


@pytest.mark.parametrize(
    ("base", "changes", "problem"),
    [
        (CHOICE, {"asks": "How is {it}?"}, "asks: unknown field 'it'"),
        (CHOICE, {"asks": "How is it"}, "does not end with a question mark"),
        (CHOICE, {"asks": "How is {text!r}?"}, "only {field} with a plain name"),
        (PREDICATE, {"asks_if": "Is it {label}?"}, "asks_if: only for question kind 'choice'"),
        (CHOICE, {"asks_if": "Is it?"}, "asks_if: the template lacks {label}"),
        (CHOICE, {"asks_if": {"bad": "Bad?"}}, "asks_if: label 'fair' is missing"),
        (CHOICE, {"asks_if": LABELS}, "'Bad.' does not end with a question mark"),
        (CHOICE, {"names": {"mean": "x"}}, "names: unknown label 'mean'"),
        (CHOICE, {"names": {"bad": "{x}"}}, "needs a name without braces"),
        (CHOICE, {"names": {"bad": " "}}, "needs a name without braces"),
        (CHOICE, {"names": {"bad": "Good"}}, "two labels have the same name: Good, fair, good"),
        (CHOICE, {"names": {"bad": ["poor", "good"]}}, "two labels have the same name"),
        (OPTIONS, {"names": {"bad": "x"}}, "the options of the row are the names"),
        (CHOICE, {"descriptions": {"bad": "x"}}, "descriptions: label 'fair' is missing"),
        (CHOICE, {"descriptions": {**LABELS, "x": "y"}}, "descriptions: unknown label 'x'"),
        (CHOICE, {"descriptions": {**LABELS, "bad": "good"}}, "two labels have the same words"),
        (CHOICE, {"descriptions": {**LABELS, "bad": "{x}"}}, "descriptions: unknown field 'x'"),
        (OPTIONS, {"descriptions": LABELS}, "descriptions: only for question kinds"),
        (SCORE, {"statement": STATEMENT}, "statement: only for question kinds"),
        (CHOICE, {"statement": STATEMENT}, "statement: unknown field 'premise'"),
        (
            CHOICE,
            {**PAIR, "statement": {**STATEMENT, "claim": "premise"}},
            "field 'premise' is both context and claim",
        ),
        (
            CHOICE,
            {**PAIR, "statement": {**STATEMENT, "true": "yes"}},
            "statement.true: unknown label 'yes'",
        ),
        (
            CHOICE,
            {**PAIR, "statement": {**STATEMENT, "check": {"supported": "good"}}},
            "statement.check: give labels for each of supported, contradicted, not_stated",
        ),
        (
            CHOICE,
            {**PAIR, "statement": {**STATEMENT, "check": {**CHECK, "not_stated": "bad"}}},
            "statement.check: name each label exactly once",
        ),
        (CHOICE, {"symmetric": ["text", "other"]}, "symmetric: unknown field 'other'"),
        (CHOICE, {"symmetric": ["text", "text"]}, "symmetric: give two different fields"),
        (CHOICE, {"without_forms": "labels"}, "without_forms: unknown form 'labels'"),
        (CHOICE, {"without_forms": "sentence"}, "without_forms: every task has sentences"),
    ],
)
def test_problems_are_named(base: dict[str, Any], changes: dict[str, Any], problem: str) -> None:
    assert any(problem in line for line in found(base, **changes)), found(base, **changes)


@pytest.mark.parametrize("weight", [0, -1, float("inf")])
def test_a_weight_is_a_positive_number(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        make(CHOICE, weight=weight)


def test_single_values_stand_for_lists_of_one() -> None:
    task: Definition = make(CHOICE, asks="How?", names={"bad": "poor"})
    assert task.asks == ["How?"]
    assert task.name_sets == [{"bad": "poor", "fair": "fair", "good": "good"}]
