import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from freelm.errors import DataError
from freelm.eval.harness.tasks import answer_pairs, export_task
from freelm.eval.likelihood import continuation_likelihoods
from freelm.eval.measure import Setting, evaluate_tasks
from freelm.judge.requests import Request
from freelm.tasks import default_registry

TOPIC = default_registry().get("miniworld_topic")
VERDICT = ("A cat. [sep] The text is about food. [cls]", " <|true|>")
PLAIN = ("The film is", " a delight.")


def test_verdicts_and_plain_texts_are_answered_in_their_order(model):
    denied = (VERDICT[0], "<|false|>")
    found = answer_pairs(model, [PLAIN, VERDICT, PLAIN, denied])
    (plain,) = continuation_likelihoods(model.model.network, [PLAIN])
    # Two rows of one batch may be rounded differently, on some machines.
    assert [found[0].log, found[2].log] == pytest.approx([plain.log] * 2, abs=1e-5)
    (judged,) = model.judge_requests([Request(("A cat.",), ("The text is about food.",))])
    assert np.exp(found[1].log) == pytest.approx(judged.probabilities[0], abs=1e-6)
    assert np.exp(found[1].log) + np.exp(found[3].log) == pytest.approx(1.0)
    assert found[1].is_greedy != found[3].is_greedy


def test_a_context_of_several_parts_is_handed_back_as_it_was(model):
    (found,) = answer_pairs(model, [("One. [sep] Two. [sep] So. [cls]", " <|true|>")])
    (judged,) = model.judge_requests([Request(("One.", "Two."), ("So.",))])
    assert np.exp(found.log) == pytest.approx(judged.probabilities[0], abs=1e-6)


@pytest.mark.parametrize("name", ["miniworld_topic", "miniworld_qa", "miniworld_sentiment"])
def test_an_exported_task_has_our_accuracy(model, world, tmp_path, name):
    task = default_registry().get(name)
    path = export_task(task, tmp_path / "tasks", world)
    config = yaml.safe_load(path.read_text())
    (file,) = config["dataset_kwargs"]["data_files"].values()
    rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    hits = []
    for row in rows:
        logs = [
            found.log
            for found in answer_pairs(
                model, [(context, f" {config['doc_to_target']}") for context in row["propositions"]]
            )
        ]
        hits.append(int(np.argmax(logs)) == row[config["doc_to_text"]])
    (ours,) = (r for r in evaluate_tasks(model, [task], Setting(world)) if r.metric == "accuracy")
    assert np.mean(hits) == pytest.approx(ours.value)
    assert len(rows) == ours.n
    assert config["test_split"] == ours.split
    assert path.name == f"{config['task']}.yaml" == f"freelm_{name}.yaml"


def test_the_limit_and_a_folder_that_cannot_be_made(world, tmp_path):
    path = export_task(TOPIC, tmp_path, world, limit=3)
    assert len(path.with_suffix(".jsonl").read_text().splitlines()) == 3
    with pytest.raises(DataError, match="cannot be written"):
        export_task(TOPIC, path / "below", world)


def test_markers_in_the_text_do_not_end_a_part(world, tmp_path, monkeypatch):
    example = TOPIC.example({"text": "A [sep] B", "label": 0}, "x", TOPIC.phrasings[0])
    monkeypatch.setattr("freelm.eval.harness.tasks.labelled_examples", lambda *a: [example])
    path = export_task(TOPIC, tmp_path, world)
    row = json.loads(path.with_suffix(".jsonl").read_text())
    assert all(text.count("[sep]") == 1 for text in row["propositions"])
