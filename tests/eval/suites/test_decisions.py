import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freelm.errors import InputError
from freelm.eval.measure import Setting
from freelm.eval.suites.decisions import decision_questions, evaluate_decisions
from freelm.judge.requests import Judgement
from freelm.tasks import default_registry
from freelm.tasks.proposition import normalise
from freelm.tasks.soundness import raw_claims

NAMES = ["ag_news", "xnli_en", "emotion", "sst2", "boolq", "banking77", "sst5"]
REGISTRY = default_registry()


def write_rows(root, name, split, **columns):
    path = root / "teacher" / name / f"{split}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


@pytest.fixture
def root(tmp_path):
    """Three of the sets, a few rows each."""
    write_rows(tmp_path, "sst2", "validation", sentence=["Good.", "Bad."], label=[1, 0])
    write_rows(tmp_path, "sst5", "test", text=["Good.", "Bad.", "So so."], label=[3, 1, 2])
    write_rows(
        tmp_path, "boolq", "validation", passage=["It is."], question=["is it"], label=[True]
    )
    return tmp_path


def test_there_is_a_question_for_each_set_with_a_claim_per_label():
    questions = decision_questions()
    assert list(questions) == NAMES
    for name, phrasing in questions.items():
        task = REGISTRY.get(name)
        assert list(phrasing.claims) == list(task.label.ids)
        assert len({normalise(claim) for claim in phrasing.claims.values()}) == len(task.label.ids)
        assert not any("{" in claim for claim in phrasing.claims.values())


def test_no_question_repeats_a_claim_that_training_uses():
    for name, phrasing in decision_questions().items():
        task = REGISTRY.get(name)
        trained = {
            normalise(claim)
            for other in REGISTRY.names()
            for p in REGISTRY.get(other).training_phrasings
            for _, claim in raw_claims(REGISTRY.get(other), p)
            if REGISTRY.get(other).family == task.family
        }
        assert not {normalise(c) for c in phrasing.claims.values()} & trained, name


def test_figures_and_time_of_the_sets_that_are_there(model, root):
    said = []
    found = evaluate_decisions(model, None, Setting(root, skip=said.append))
    assert list(dict.fromkeys(r.task for r in found)) == ["sst2", "boolq", "sst5"]
    for task in ("sst2", "boolq", "sst5"):
        metrics = [r.metric for r in found if r.task == task]
        assert metrics == ["accuracy", "macro_f1", "brier", "ece", "latency_ms"]
    times = [r for r in found if r.metric == "latency_ms"]
    assert all(0 < r.low <= r.value <= r.high for r in times)
    assert all(r.note.startswith("not trained on; the entire split") for r in found)
    assert sum("skipped" in line for line in said) == 4


def test_levels_of_a_score_are_labels_here(model, root, monkeypatch):
    answers = {"Good.": 3, "Bad.": 1, "So so.": 0}
    monkeypatch.setattr(
        model._judge,
        "judge",
        lambda requests: [
            Judgement(r.claims, np.eye(5)[answers[r.context[0]]] * 20) for r in requests
        ],
    )
    found = evaluate_decisions(model, [REGISTRY.get("sst5")], Setting(root))
    values = {r.metric: r.value for r in found}
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["brier"] == pytest.approx(2 / 3, abs=1e-3)


def test_what_was_trained_on_is_said(own_model, root):
    own_model.facts.record["tasks"] = {"sst2": {"family": "sentiment"}}
    found = evaluate_decisions(own_model, [REGISTRY.get("sst2")], Setting(root, limit=1))
    assert found[0].note.startswith("its training split was trained on")
    assert "1 rows drawn at random" in found[0].note


def test_a_task_without_a_question_is_refused(model):
    with pytest.raises(InputError, match="'rte' has no question in the decision suite; available"):
        evaluate_decisions(model, [REGISTRY.get("rte")], Setting())
