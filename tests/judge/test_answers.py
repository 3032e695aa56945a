import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from freelm.judge.answers import Check, Classification, Ranked, Score, Verdict

VERDICT = Verdict("It is good.", 0.75, False)
CHOICE = Classification(
    label="b",
    probability=0.5,
    probabilities={"a": 0.2, "b": 0.5, "c": 0.2, "d": 0.1},
    verdicts={"a": 0.5, "b": 0.75, "c": 0.5, "d": 0.25},
    truncated=True,
    labels=("b",),
)
SCORE = Score(3.4, "good", {"bad": 0.25, "good": 0.75}, False)
CHECK = Check(
    "It rains.", "supported", {"supported": 0.6, "contradicted": 0.3, "not_stated": 0.1}, False
)
RANKED = Ranked(2, "A document.", 0.9)


@pytest.mark.parametrize(("probability", "expected"), [(0.5, True), (0.4999, False), (1.0, True)])
def test_verdict_is_true_from_one_half(probability, expected):
    assert Verdict("c", probability, False).is_true is expected


def test_the_verdict_is_that_of_the_label_or_else_the_highest():
    assert dataclasses.replace(CHOICE, label="c").verdict == 0.5
    assert dataclasses.replace(CHOICE, label=None).verdict == 0.75


def test_top_is_sorted_with_equals_by_name():
    assert CHOICE.top(3) == [("b", 0.5), ("a", 0.2), ("c", 0.2)]
    assert len(CHOICE.top(99)) == 4
    assert CHOICE.top(0) == CHOICE.top(-1) == []
    turned = dataclasses.replace(CHOICE, probabilities=dict(reversed(CHOICE.probabilities.items())))
    assert turned.top(4) == CHOICE.top(4)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            VERDICT,
            '{"claim": "It is good.", "is_true": true, "probability": 0.75, "truncated": false, '
            '"windows": 1}',
        ),
        (
            CHOICE,
            '{"label": "b", "labels": ["b"], "probability": 0.5, "verdict": 0.75, '
            '"probabilities": {"a": 0.2, "b": 0.5, "c": 0.2, "d": 0.1}, '
            '"verdicts": {"a": 0.5, "b": 0.75, "c": 0.5, "d": 0.25}, "truncated": true, '
            '"windows": 1}',
        ),
        (
            SCORE,
            '{"value": 3.4, "level": "good", "probabilities": {"bad": 0.25, "good": 0.75}, '
            '"truncated": false, "windows": 1}',
        ),
        (
            CHECK,
            '{"claim": "It rains.", "result": "supported", "probabilities": {"supported": 0.6, '
            '"contradicted": 0.3, "not_stated": 0.1}, "truncated": false, "windows": 1}',
        ),
        (
            RANKED,
            '{"index": 2, "document": "A document.", "probability": 0.9, "truncated": false, '
            '"windows": 1}',
        ),
    ],
)
def test_as_dict_is_json_in_a_fixed_order(answer, text):
    assert json.dumps(answer.as_dict()) == text


def test_numpy_values_become_json():
    half = np.float32(0.5)
    answers = [
        Verdict("c", half, np.bool_(True)),
        Classification("a", half, {"a": half}, {"a": half}, np.bool_(False)),
        Score(half, "a", {"a": half}, False),
        Ranked(np.int64(1), "d", half),
    ]
    for answer in answers:
        assert "0.5" in json.dumps(answer.as_dict())


@pytest.mark.parametrize("answer", [VERDICT, CHOICE, SCORE, CHECK, RANKED])
def test_answers_are_frozen_and_have_slots(answer):
    name = dataclasses.fields(answer)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(answer, name, "other")
    assert not hasattr(answer, "__dict__")


def test_changing_the_dictionary_leaves_the_answer():
    CHOICE.as_dict()["probabilities"]["a"] = 9.0
    assert CHOICE.probabilities["a"] == 0.2


@pytest.mark.parametrize("module", ["answers", "probabilities", "questions", "validation"])
def test_nothing_heavy_is_imported(module):
    code = (
        f"import sys, freelm.judge.{module}\n"
        "print([m for m in ('torch', 'transformers', 'sklearn') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
