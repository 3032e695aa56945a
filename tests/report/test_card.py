import json
from dataclasses import replace
from pathlib import Path

import pytest

from freelm.errors import DataError
from freelm.eval.references import load_references
from freelm.eval.results import Result, write_results
from freelm.model.calibration import ChoiceTemperature
from freelm.model.saving import ModelFacts
from freelm.report.card import Origin, model_card, read_verdicts, stated_origins
from freelm.report.page import as_markdown

RUN = {
    "name": "second", "steps": 300, "teacher_tokens": 5000, "language_tokens": 700, "seconds": 120,
    "seed": 3, "code": {"commit": "0123456789"}, "corpora": ["novels"], "families": ["entailment"],
    "tasks": {"rte": {"family": "entailment", "version": 1, "rows": 2390}},
    "overlaps_dropped": {"rte": 4, "wnli": 3},
}  # fmt: skip

RESULTS = [
    Result(
        "rte", "entailment", "validation", "accuracy", 0.66, 277, 0.61, 0.71, 0.527,
        gain_low=0.06, gain_high=0.21,
    ),
    Result("rte", "entailment", "validation", "ece", 0.04, 277, 0.03, 0.06, 0.0),
    Result(
        "wnli", "coreference", "validation", "accuracy", 0.5, 71, 0.4, 0.6, 0.563,
        gain_low=-0.2, gain_high=0.1,
    ),
    Result(
        "cola", "acceptability", "validation", "mcc", 0.2, 1043, 0.1, 0.3, 0.0,
        gain_low=0.1, gain_high=0.3,
    ),
    Result("cola", "acceptability", "validation", "accuracy", 0.72, 1043, 0.7, 0.74, 0.69),
    Result("novels", "language", "test", "perplexity", 20.51, 99, 19.0, 21.0, None, "language"),
]  # fmt: skip

VERDICTS = [
    {"context": ["It rained."], "claim": "It was dry.", "truth": False, "probability": 0.9},
    {"context": ["It rained."], "claim": "It was wet.", "truth": True, "probability": 0.45},
    {"context": ["It rained."], "claim": "Rain fell.", "truth": True, "probability": 0.99},
]


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    folder = tmp_path / "evaluation"
    write_results(RESULTS, folder)
    write_facts(folder, RUN)
    return folder


def write_facts(folder: Path, record) -> None:
    facts = {"command": "freelm eval second --suite seen", "record": record}
    (folder / "evaluation.json").write_text(json.dumps(facts))


def card(evaluation: Path, verdicts=(), origins=None, **changes) -> str:
    facts = ModelFacts(
        "adapter",
        "base/some",
        None,
        {},
        1.25,
        ChoiceTemperature(1.75, 0.5),
        record={**RUN, **changes},
    )
    if changes:
        write_facts(evaluation, facts.record)
    page = model_card(
        "toy", facts, [evaluation], verdicts, origins or {}, load_references()
    )  # fmt: skip
    return as_markdown(page)


def test_figures_have_intervals_and_published_ones_of_the_same_task_and_measure(evaluation):
    text = card(evaluation)
    [rte] = [line for line in text.splitlines() if line.startswith("| rte | validation")]
    assert "66.0 (61.0 - 71.0) | 52.7 | 277 |" in rte
    assert "GPT-3 175B (zero-shot) 63.5" in rte
    assert "each in its own setting" in text
    against = "- Against GPT-3 175B (zero-shot). Where ours was trained on the training split"
    assert against in text
    # The mean of the paper takes the accuracy of CoLA, its own measure is another one.
    assert "| cola | validation | mcc | 20.0" in text
    assert "| cola | validation | accuracy | 72.0" in text
    assert "| novels | test | 20.51 (19.000 - 21.000) | 99 |" in text


def test_card_lists_weaknesses_and_only_confident_errors(evaluation):
    text = card(evaluation, VERDICTS)
    assert "Not better than an answer without the text: wnli (accuracy 50.0 (40.0 - 60.0))." in text
    assert "Of 3 propositions written for this card, 2 are judged wrongly, 1 of them" in text
    assert "with a confidence of 0.7 or more:" in text
    assert "| It rained. | It was dry. | no | 0.90 |" in text
    assert "It was wet." not in text


def test_it_names_data_licences_and_the_runs_that_one_went_on_from(evaluation):
    first = {**RUN, "name": "first", "seed": 0}
    text = card(
        evaluation, origins={"rte": Origin("unclear", 2490, ("a/b", "c/d"))}, went_on_from=first
    )
    assert "| rte | entailment | 2,390 | 2,490 | unclear | a/b, c/d |" in text
    assert "| novels | raw text |  |  | not stated |  |" in text
    assert "7 rows that occur in another task's evaluation split" in text
    assert "run second: 300 steps, 5,000 tokens of the teacher signal" in text
    assert "resumed from run first" in text
    assert text.index("train configs/first.yaml") < text.index("train configs/second.yaml")
    assert "freelm eval second --suite seen" in text


def test_it_states_temperatures_and_the_error_of_probabilities(evaluation):
    text = card(evaluation)
    assert "temperature of 1.250" in text
    assert "1.750 for two options, approaching 0.500 for many" in text
    assert "0.040 on average over 1 tasks, at worst 0.040 (rte)" in text


def test_origins_come_from_the_manifest(tmp_path):
    files = [
        {"task": "rte", "split": "validation", "licence": None, "source": [{"repository": "e/f"}]},
        {"task": "rte", "split": "train", "licence": "free", "published_rows": 2490,
         "source": [{"repository": "c/d"}, {"repository": "a/b"}, {"repository": "c/d"}]},
        {"task": "mnli", "licence": "free"},
    ]  # fmt: skip
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"files": files}))
    assert stated_origins(tmp_path) == {
        "rte": Origin("free; not stated", 2490, ("a/b", "c/d")),
        "mnli": Origin("free"),
    }


def test_the_licence_of_a_base_that_is_fetched_is_named(tmp_path):
    write_results(RESULTS, tmp_path)
    write_facts(tmp_path, RUN)
    facts = ModelFacts("adapter", "base/smollm2-135m", None, {}, record=RUN)
    text = as_markdown(model_card("toy", facts, [tmp_path], [], {}, load_references()))
    assert "SmolLM2-135M-Instruct.Q4_1.gguf" in text
    assert "the base is under Apache-2.0" in text
    assert "replace toy by runs/second/model" in text


def test_evaluation_without_a_gain_is_rejected(evaluation):
    bare = [replace(result, gain_low=None, gain_high=None) for result in RESULTS]
    write_results(bare, evaluation)
    with pytest.raises(DataError, match="rte: has no interval of the gain"):
        card(evaluation)


def test_an_evaluation_of_another_model_is_refused(evaluation):
    write_facts(evaluation, {**RUN, "seed": 4})
    with pytest.raises(DataError, match="evaluation of another model"):
        card(evaluation)


def test_an_evaluation_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        card(tmp_path / "nowhere")


def test_a_model_without_stored_verdicts_has_none(tmp_path):
    assert read_verdicts(tmp_path / "verdicts.jsonl") == []


def test_refitted_temperatures_are_reported_and_outputs_recomputed(evaluation):
    assert "freelm calibrate" not in card(evaluation)
    text = card(evaluation, calibrated_on={"snli": 1200, "stsb": 34})
    assert "fitted on 1,234 rows of 2 tasks that are not reported on, nor was this run" in text
    assert "trained on them. Expected" in text
    lines = text.splitlines()
    again = lines.index(f"    freelm calibrate runs/{RUN['name']}/model --limit 1200 --data DIR")
    assert lines[again - 1] == f"    freelm train configs/{RUN['name']}.yaml --data DIR"


def test_rows_that_an_earlier_run_may_have_drawn_are_not_called_untouched(evaluation):
    text = card(evaluation, went_on_from={**RUN, "name": "first"})
    assert "trained on them; an earlier one may have drawn a few. Expected" in text


def test_what_an_evaluation_is_compared_with_is_evaluated_before_it(evaluation, tmp_path):
    base = tmp_path / "of-the-base"
    base.mkdir()
    (base / "evaluation.json").write_text(json.dumps({"command": "freelm eval base/some"}))
    command = f"freelm eval second --out here --against {base}"
    facts = {"command": command, "record": RUN}
    (evaluation / "evaluation.json").write_text(json.dumps(facts))
    lines = card(evaluation).splitlines()
    assert lines.index("    freelm eval base/some") == lines.index(f"    {command}") - 1
