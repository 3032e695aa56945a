from typing import Any

import pytest

from freelm.tasks.soundness import problems
from toy_tasks import CHOICE, OPTIONS, PREDICATE, SCORE, TEMPLATE, make


@pytest.mark.parametrize("base", [CHOICE, TEMPLATE, PREDICATE, SCORE, OPTIONS])
def test_a_sound_definition_has_no_problems(base: dict[str, Any]) -> None:
    assert problems(make(base)) == []


def claims(**changes: str | None) -> dict[str, str]:
    """The first phrasing's claims with changes; None takes a label out."""
    changed = {**CHOICE["phrasings"][0]["claims"], **changes}
    return {label: claim for label, claim in changed.items() if claim is not None}


PLAIN = {"name": "plain", "claims": claims()}
ABOUT = {"name": "about", "template": "It is {label}."}
TRUE_IDS = {"false": 0, "true": True}


@pytest.mark.parametrize(
    ("base", "changes", "problem"),
    [
        (
            CHOICE,
            {"context": ["{txt}"]},
            "context part 1: unknown field 'txt'; available: text",
        ),
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(bad="{label} is bad.")}]},
            "phrasing 'p': unknown field 'label'; available: text",
        ),
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(), "opposites": claims(bad="{x}")}]},
            "phrasing 'p': unknown field 'x'",
        ),
        (
            TEMPLATE,
            {"phrasings": [{"name": "p", "template": "{label} in {option}"}]},
            "phrasing 'p': unknown field 'option'; available: label, text",
        ),
        (
            OPTIONS,
            {"phrasings": [{"name": "p", "template": "{filled}"}]},
            "phrasing 'p': unknown field 'filled'; available: option, text",
        ),
        (CHOICE, {"context": ["{text.upper}"]}, "context part 1: template '{text.upper}': only"),
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(bad="{")}]},
            "phrasing 'p': template '{'",
        ),
        (CHOICE, {"context": ["a fixed text"]}, "context: no part uses a field"),
        (CHOICE, {"words": {"txt": {"a": "b"}}}, "words: unknown field 'txt'; available: text"),
        # labels
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(fair=None)}]},
            "phrasing 'p': label 'fair' is missing in claims",
        ),
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(awful="It is awful.")}]},
            "phrasing 'p': unknown label 'awful' in claims",
        ),
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(), "opposites": {"bad": "Not."}}]},
            "phrasing 'p': label 'fair' is missing in opposites",
        ),
        (CHOICE, {"label__ids": {"bad": 0}}, "label.ids: at least two labels are needed"),
        (
            PREDICATE,
            {"label__ids": {"false": 1, "true": True}},
            "label.ids: two labels have the same value",
        ),
        (
            CHOICE,
            {"label__ids": {"bad": 0, "fair": "1", "good": 1.0}},
            "label.ids: two labels have the same value",
        ),
        (
            PREDICATE,
            {"label__ids": {"no": 0, "yes": 1}},
            "label.ids: a predicate has exactly the labels 'true' and 'false'",
        ),
        (
            PREDICATE,
            {"label__ids": {"false": 0, "true": 1, "unknown": 2}},
            "label.ids: a predicate has exactly the labels 'true' and 'false'",
        ),
        (
            SCORE,
            {"label__ids": {"low": 0, "middle": 3, "high": 1}},
            "label.ids: the levels of a score need numbers in rising order",
        ),
        (
            SCORE,
            {"label__ids": {"low": "0", "middle": "1", "high": "3"}},
            "label.ids: the levels of a score need numbers in rising order",
        ),
        (
            TEMPLATE,
            {"label__descriptions": {"bad": "a", "good": "b", "ugly": "c"}},
            "label.descriptions: unknown label 'ugly'; available: bad, good",
        ),
        (
            TEMPLATE,
            {"label__descriptions": {"bad": "a bad thing"}},
            "phrasing 'about': label 'good' has no description",
        ),
        # templates
        (
            TEMPLATE,
            {"phrasings": [{"name": "p", "template": "It is good."}]},
            "phrasing 'p': template lacks {label}",
        ),
        (
            TEMPLATE,
            {"phrasings": [{**ABOUT, "opposite_template": "It is not."}]},
            "phrasing 'about': template lacks {label}",
        ),
        (
            TEMPLATE,
            {"phrasings": [{"name": "p"}]},
            "phrasing 'p': give either claims or template",
        ),
        (
            TEMPLATE,
            {"phrasings": [{**ABOUT, "claims": {"bad": "Bad.", "good": "Good."}}]},
            "phrasing 'about': give either claims or template",
        ),
        (
            TEMPLATE,
            {
                "phrasings": [
                    {
                        **ABOUT,
                        "opposites": {"bad": "Good.", "good": "Bad."},
                        "opposite_template": "Not {label}.",
                    }
                ]
            },
            "phrasing 'about': give either opposites or opposite_template",
        ),
        # phrasings
        (CHOICE, {"phrasings": [PLAIN, PLAIN]}, "phrasings: two have the same name"),
        (
            CHOICE,
            {"phrasings": [{**PLAIN, "held_out": True}]},
            "phrasings: all are held out, none is left for training",
        ),
        (
            CHOICE,
            {"phrasings": [{"name": "p", "claims": claims(fair="it  IS bad")}]},
            "phrasing 'p': the claims of 'bad' and 'fair' are equal: 'it  IS bad'",
        ),
        (
            TEMPLATE,
            {"label__descriptions": {"bad": "a thing", "good": "A thing!"}},
            "phrasing 'about': the claims of 'bad' and 'good' are equal",
        ),
        (
            CHOICE,
            {
                "phrasings": [
                    PLAIN,
                    {
                        "name": "h",
                        "held_out": True,
                        "claims": claims(bad="it is BAD", fair="So so.", good="Fine."),
                    },
                ]
            },
            "held-out phrasing 'h' repeats a claim of training phrasing 'plain': 'it is bad'",
        ),
        (
            TEMPLATE,
            {
                "phrasings": [
                    ABOUT,
                    {
                        "name": "h",
                        "held_out": True,
                        "claims": {"bad": "It is a bad thing!", "good": "It pleases."},
                    },
                ]
            },
            "held-out phrasing 'h' repeats a claim of training phrasing 'about'",
        ),
        # options
        (OPTIONS, {"options": None}, "options: give either columns or column"),
        (OPTIONS, {"options": {}}, "options: give either columns or column"),
        (
            OPTIONS,
            {"options": {"columns": ["a"], "column": "b"}},
            "options: give either columns or column",
        ),
        (
            OPTIONS,
            {"options__fill": "sentence"},
            "options.fill: unknown field 'sentence'; available: text",
        ),
        (
            OPTIONS,
            {"label__ids": {"a": 0, "b": 1}},
            "label.ids: an options question takes its labels from the row",
        ),
        (
            OPTIONS,
            {"phrasings": [{"name": "p", "claims": {"a": "It is a."}}]},
            "phrasing 'p': an options question needs a template with {option} or {filled}",
        ),
        (
            OPTIONS,
            {"phrasings": [{"name": "p", "template": "The answer to {text}."}]},
            "phrasing 'p': template lacks {option} or {filled}",
        ),
        (
            CHOICE,
            {"options": {"column": "choices"}},
            "options: only for question kind 'options'",
        ),
    ],
)
def test_every_kind_of_problem_is_reported(
    base: dict[str, Any], changes: dict[str, Any], problem: str
) -> None:
    found = problems(make(base, **changes))
    assert any(problem in line for line in found), found
