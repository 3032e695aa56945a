import json
from pathlib import Path

import numpy as np
import pytest

import freelm
from freelm.errors import InputError
from freelm.eval.measure import Setting
from freelm.eval.sections import Findings
from freelm.eval.suites.claims import SUITE, evaluate_claims, shipped_texts
from freelm.judge.requests import Judgement
from freelm.model.calibration import expected_calibration_error
from freelm.tasks.proposition import normalise


class Oracle:
    """Answers the claims suite from their labels, as far as a test lets it."""

    def __init__(self, answer):
        self.answer = answer
        self.facts = type("Facts", (), {"markers": {"[cls]": 1}})

    def judge_requests(self, requests):
        by_text = {text.text: text for text in shipped_texts()}
        margins = []
        for request in requests:
            labels = {}
            for claim in by_text[request.context[0]].claims:
                labels |= dict.fromkeys((claim.text, *claim.rewordings), claim.label)
                if claim.opposite:
                    labels[claim.opposite] = 1 - claim.label
            answers = [self.answer(claim, labels[claim]) for claim in request.claims]
            margins.append(Judgement(request.claims, np.array(answers, dtype=float)))
        return margins


def figures(answer, **setting):
    found = evaluate_claims(Oracle(answer), None, Setting(**setting))
    return {(r.variant, r.metric): r for r in found}


def test_the_shipped_claims_are_pairs_in_nearly_the_same_words():
    texts = shipped_texts()
    assert len(texts) == 60
    assert sum(len(text.claims) for text in texts) == 480
    for text in texts:
        for kind in {claim.kind for claim in text.claims}:
            assert sorted(c.label for c in text.claims if c.kind == kind) == [0, 1], (text.id, kind)


def test_one_claim_of_each_text_has_three_rewordings_and_an_opposite():
    labels = []
    for text in shipped_texts():
        (claim,) = (claim for claim in text.claims if claim.rewordings)
        labels.append(claim.label)
        wordings = [claim.text, *claim.rewordings, claim.opposite]
        assert len({normalise(wording) for wording in wordings}) == 5, claim.id
        assert all(wording.endswith(".") for wording in wordings)
        others = {normalise(other.text) for other in text.claims if other.label != claim.label}
        assert not others & {normalise(wording) for wording in claim.rewordings}, claim.id
    assert sum(labels) == 30


def test_the_file_is_small():
    folder = Path(freelm.__file__).parent / "eval" / "suites" / "claims"
    assert sum(path.stat().st_size for path in folder.glob("*.*")) < 200_000
    for line in (folder / "claims.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line)


def test_a_model_that_knows_everything():
    found = figures(lambda claim, label: 9 if label else -9)
    for metric in ("accuracy", "true_accepted", "false_rejected", "pair_accuracy"):
        assert found[None, metric].value == 1
        assert (found[None, metric].low, found[None, metric].high) == (1, 1)
    assert found[None, "rewordings_agree"].value == found[None, "all_rewordings_agree"].value == 1
    assert found[None, "opposites_alike"].value == 0
    assert found[None, "ece"].value < 0.001


def test_model_that_accepts_everything():
    found = figures(lambda claim, label: 2)
    assert found[None, "accuracy"].value == 0.5
    assert found[None, "true_accepted"].value == 1
    assert found[None, "false_rejected"].value == 0
    assert found[None, "pair_accuracy"].value == 0.5  # ties
    assert found[None, "opposites_alike"].value == 1
    assert found[None, "all_rewordings_agree"].value == 1


def test_ranking_does_not_need_the_threshold():
    found = figures(lambda claim, label: -1 if label else -2)
    assert found[None, "pair_accuracy"].value == 1
    assert found[None, "accuracy"].value == 0.5


def test_one_rewording_in_three_that_differs():
    odd = {
        claim.rewordings[0] for text in shipped_texts() for claim in text.claims if claim.rewordings
    }
    found = figures(lambda claim, label: (9 if label else -9) * (-1 if claim in odd else 1))
    assert found[None, "rewordings_agree"].value == pytest.approx(2 / 3)
    assert found[None, "rewordings_agree"].n == 180
    assert found[None, "all_rewordings_agree"].value == 0
    assert found[None, "all_rewordings_agree"].n == 60
    assert found[None, "accuracy"].value == 1


def test_calibration_error_equals_the_metric():
    def margin(claim, label):
        return (len(claim) % 13 - 5) / 3

    texts = shipped_texts()
    margins = np.array([margin(claim.text, None) for text in texts for claim in text.claims])
    true = 1 / (1 + np.exp(-margins))
    labels = np.array([claim.label for text in texts for claim in text.claims])
    expected = expected_calibration_error(np.maximum(true, 1 - true), (true > 0.5) == labels)
    assert figures(margin)[None, "ece"].value == pytest.approx(expected)


def test_kinds_and_domains_add_up():
    found = figures(lambda claim, label: 1 if len(claim) % 2 else -1)
    for group in ("kind", "domain"):
        parts = [
            r
            for (variant, metric), r in found.items()
            if metric == "accuracy" and str(variant).startswith(group)
        ]
        assert sum(r.n for r in parts) == 480
        mean = sum(r.n * r.value for r in parts) / 480
        assert mean == pytest.approx(found[None, "accuracy"].value)


def test_a_tiny_model_is_measured_and_reported(model):
    found = evaluate_claims(model, None, Setting(limit=16))
    assert {r.suite for r in found} == {"claims"}
    assert {r.n for r in found if r.metric == "accuracy" and r.variant is None} == {16}
    assert len(SUITE.section(Findings(found))) == 4
    assert "ranked higher" in SUITE.summary(Findings(found))[0]


def test_tasks_are_refused(model):
    with pytest.raises(InputError, match="has no tasks"):
        evaluate_claims(model, [object()], Setting())
