import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from freelm.errors import DataError
from freelm.eval.comparison import (
    Comparison,
    compare_folders,
    compare_predictions,
)
from freelm.eval.items import JudgedRow
from freelm.eval.measure import Setting
from freelm.eval.suites.language import perplexity as language
from freelm.eval.suites.language.perplexity import evaluate_perplexity
from freelm.tasks import default_registry

TOPIC = default_registry().get("miniworld_topic")
KEY = {"model": "m", "prompt": None, "task": "miniworld_topic", "version": TOPIC.version}
KEY |= {"split": "test", "phrasing": TOPIC.phrasings[0].name}


def items_of(answers, targets, digest="d"):
    """Items of a four-way task that answer as told."""
    return [
        JudgedRow(f"miniworld_topic/test/{i}", float(t), [float(j == a) for j in range(4)], digest)
        for i, (a, t) in enumerate(zip(answers, targets, strict=True))
    ]


def write_items(folder, items, name="a", **changes):
    (folder / "items").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"key": KEY | changes})]
    lines += [
        json.dumps({"id": i.id, "target": i.target, "margins": i.margins, "digest": i.digest})
        for i in items
    ]
    (folder / "items" / f"{name}.jsonl").write_text("\n".join([*lines, ""]))
    return folder


# -- tests -----------------------------------------------------------------------------------------


def test_a_model_against_itself_differs_by_nothing():
    items = items_of([0, 1, 2, 3, 0], [0, 1, 1, 3, 2])
    for comparison in compare_predictions(TOPIC, "test", items, items):
        assert (comparison.difference, comparison.low, comparison.high) == (0, 0, 0)
        assert not comparison.is_significant
        assert "no significant difference" in comparison.sentence


def test_a_much_better_model_is_found_better_and_a_lower_error_is_better():
    targets = [i % 4 for i in range(60)]
    good, bad = items_of(targets, targets), items_of([0] * 60, targets)
    found = {c.metric: c for c in compare_predictions(TOPIC, "test", good, bad)}
    assert found["accuracy"].p_mcnemar < 1e-6
    assert "significantly better" in found["accuracy"].sentence
    assert found["brier"].difference < 0
    assert "significantly better" in found["brier"].sentence
    back = {c.metric: c for c in compare_predictions(TOPIC, "test", bad, good)}
    assert "significantly worse" in back["accuracy"].sentence
    assert found["macro_f1"].p_mcnemar is None


# -- folders ---------------------------------------------------------------------------------------


def test_folders_are_compared_on_the_rows_that_both_answered(tmp_path):
    targets = [i % 4 for i in range(20)]
    ours = write_items(tmp_path / "ours", items_of(targets, targets))
    theirs = write_items(tmp_path / "theirs", items_of([0] * 12, targets[:12]), model="other")
    found = compare_folders(ours, theirs)
    assert {c.n for c in found} == {12}
    assert {c.against for c in found} == {str(theirs)}
    assert (found[0].ours, found[0].theirs) == (1.0, 3 / 12)


def test_answers_to_other_texts_under_one_name_are_not_compared(tmp_path):
    ours = write_items(tmp_path / "ours", items_of([0], [0]))
    theirs = write_items(tmp_path / "theirs", items_of([0], [0], digest="other"))
    said = []
    with pytest.raises(DataError, match="has no answers to the rows"):
        compare_folders(ours, theirs, say=said.append)
    assert "judged different texts or claims" in said[0]


@pytest.mark.parametrize(
    "changes", [{"split": "train"}, {"variant": "opposites"}, {"model": "older"}]
)
def test_what_is_no_figure_of_ours_is_passed_over(tmp_path, changes):
    ours = write_items(tmp_path / "ours", items_of([0], [0]))
    write_items(tmp_path / "ours", items_of([0], [0]), "b", **changes)
    theirs = write_items(tmp_path / "theirs", items_of([0], [0]))
    write_items(tmp_path / "theirs", items_of([0], [0]), "b", **{**changes, "model": "x"})
    found = compare_folders(ours, theirs, model="m")
    assert len(found) == len({c.metric for c in found})


def test_changed_rows_are_named_by_their_change(tmp_path):
    for name in ("ours", "theirs"):
        write_items(tmp_path / name, items_of([0], [0]), variant="lower-case")
        write_items(tmp_path / name, items_of([0], [0]), "b", phrasing="decision")
    found = compare_folders(tmp_path / "ours", tmp_path / "theirs")
    assert {c.variant for c in found} == {"lower-case", "phrasing decision"}


def test_a_folder_without_answers_is_named(tmp_path):
    write_items(tmp_path / "ours", items_of([0], [0]))
    with pytest.raises(DataError, match="nowhere: holds no answers"):
        compare_folders(tmp_path / "ours", tmp_path / "nowhere")


# -- texts -----------------------------------------------------------------------------------------

FACTS = {
    "perplexity": {"corpus": "novels", "file": "f", "window": 512, "tokens": "t"} | {},
    "last-word": {"corpus": "lambada", "file": "f"},
    "endings": {"task": "hellaswag", "split": "test", "version": 1, "margins": "both"},
}
FILES = {"perplexity": "novels.test", "last-word": "lambada.test", "endings": "hellaswag.test"}


def write_text(folder, measured, pieces, **changes):
    (folder / "texts").mkdir(parents=True, exist_ok=True)
    key = {"model": "m", **FACTS[measured], "measured": measured} | changes
    lines = [{"key": {k: v for k, v in key.items() if v is not None}}, *pieces]
    path = folder / "texts" / f"{FILES[measured]}.{measured}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def windows(nats, targets=100):
    return [{"nats": float(n), "targets": targets, "num_bytes": 4 * targets} for n in nats]


def words(right):
    return [{"right": bool(r)} for r in right]


def endings(answers, targets, digest="d"):
    """Rows whose likeliest ending is as told, and whose likeliest per byte is the first one."""
    return [
        {
            "id": f"hellaswag/test/{i}",
            "target": float(t),
            "margins": [*(float(j == a) for j in range(4)), 1.0, 0.0, 0.0, 0.0],
            "digest": digest,
        }
        for i, (a, t) in enumerate(zip(answers, targets, strict=True))
    ]


def compared_texts(tmp_path, measured, ours, theirs, said=None, **changes):
    """Paired tests of two folders that hold texts alone; `changes` are in the other's key."""
    write_text(tmp_path / "ours", measured, ours)
    write_text(tmp_path / "theirs", measured, theirs, **{"model": "other", **changes})
    say = said.append if said is not None else pytest.fail
    return compare_folders(tmp_path / "ours", tmp_path / "theirs", model="m", say=say)


def test_the_same_windows_are_compared_by_perplexity_and_bits_per_byte(tmp_path):
    rng = np.random.default_rng(0)
    theirs = rng.uniform(200, 400, 50)
    ours = theirs - rng.uniform(0, 4, 50)  # 2 nats of 300 a window less, far below its spread
    found = {
        c.metric: c for c in compared_texts(tmp_path, "perplexity", windows(ours), windows(theirs))
    }
    assert list(found) == ["perplexity", "bits_per_byte"]
    perplexity, bits = found.values()
    assert perplexity.ours == pytest.approx(math.exp(ours.sum() / 5000))
    assert bits.theirs == pytest.approx(theirs.sum() / 5000 / math.log(2) / 4)
    for one in found.values():
        assert (one.task, one.split, one.n, one.p_mcnemar) == ("novels", "test", 50, None)
        assert one.difference == one.ours - one.theirs
        assert one.low < one.difference < one.high < 0
        assert one.standing == "significantly better"
    gains = (ours - theirs) / (400 * math.log(2))  # bits of a window's 400 bytes
    half = 1.96 * gains.std() / math.sqrt(50)
    assert (bits.low, bits.high) == pytest.approx(
        (gains.mean() - half, gains.mean() + half), rel=0.05
    )
    assert {c.against for c in found.values()} == {str(tmp_path / "theirs")}


def test_a_model_is_no_better_on_windows_than_itself(tmp_path):
    pieces = windows([300, 310, 290, 305, 299, 300, 350])
    for one in compared_texts(tmp_path, "perplexity", pieces, pieces):
        assert (one.difference, one.low, one.high) == (0, 0, 0)
        assert not one.is_significant


def test_only_the_windows_that_both_measured_are_compared(tmp_path):
    found = compared_texts(tmp_path, "perplexity", windows([300] * 9), windows([310] * 7))
    assert {c.n for c in found} == {7}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"file": "g"}, "measured different files"),
        ({"window": 256}, "windows of different lengths"),
        ({"tokens": "u"}, "split the text differently"),
        ({"tokens": None}, "does not state its 'tokens'; run it again"),
    ],
)
def test_windows_of_another_text_length_or_tokenizer_are_refused(tmp_path, changes, words):
    said, pieces = [], windows([300] * 9)
    with pytest.raises(DataError, match="has no answers to the rows or texts"):
        compared_texts(tmp_path, "perplexity", pieces, pieces, said, **changes)
    (line,) = said
    assert line.startswith("novels.test.perplexity.jsonl: not compared: ")
    assert words in line


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (windows([300] * 5), windows([310] * 5), "5 windows of text are too few; measure 6"),
        (windows([300] * 9), windows([300] * 9, 99), "predict different numbers of tokens"),
        (windows([300] * 9), [], "no token that follows"),
        (windows([300] * 9), [{"nats": -1.0, "targets": 3, "num_bytes": 9}], "has a damaged line"),
    ],
)
def test_windows_that_cannot_be_paired_are_reported(tmp_path, ours, theirs, words):
    said = []
    with pytest.raises(DataError, match="has no answers"):
        compared_texts(tmp_path, "perplexity", ours, theirs, said)
    assert words in said[0]


def test_last_words_are_compared_as_right_and_wrong(tmp_path):
    ours, theirs = [True] * 30 + [False] * 12, [True] * 18 + [False] * 22
    (found,) = compared_texts(tmp_path, "last-word", words(ours), words(theirs))
    assert (found.task, found.metric, found.n) == ("lambada", "last_word_accuracy", 40)
    assert (found.ours, found.theirs) == (30 / 40, 18 / 40)
    assert found.p_mcnemar == pytest.approx(2 * 0.5**12)
    assert found.standing == "significantly better"
    said = []
    with pytest.raises(DataError, match="has no answers"):
        compared_texts(tmp_path, "last-word", words(ours), words(theirs), said, file="g")
    assert "measured different files" in said[0]


def test_endings_are_compared_row_by_row_by_both_measures(tmp_path):
    targets = [i % 4 for i in range(40)]
    ours, theirs = endings(targets, targets), endings([0] * 40, targets)[::-1]
    found = {c.metric: c for c in compared_texts(tmp_path, "endings", ours, theirs[:24])}
    assert list(found) == ["completion_accuracy", "completion_accuracy_norm"]
    summed, norm = found.values()
    assert (summed.task, summed.split, summed.n) == ("hellaswag", "test", 24)
    assert (summed.ours, summed.theirs) == (1.0, 0.25)
    assert summed.p_mcnemar == pytest.approx(2 * 0.5**18)
    assert (norm.ours, norm.theirs, norm.p_mcnemar) == (0.25, 0.25, 1.0)


@pytest.mark.parametrize(
    ("digest", "changes", "words"),
    [
        ("e", {}, "judged different texts or claims"),
        ("d", {"version": 2}, "asked different versions"),
        ("d", {"margins": None}, "does not state its 'margins'"),
    ],
)
def test_other_endings_are_refused(tmp_path, digest, changes, words):
    said, rows = [], endings([0, 1], [0, 1])
    with pytest.raises(DataError, match="has no answers"):
        compared_texts(tmp_path, "endings", rows, endings([0, 1], [0, 1], digest), said, **changes)
    assert words in said[0]


def test_texts_follow_tasks_and_those_of_other_models_are_ignored(tmp_path):
    for name in ("ours", "theirs"):
        write_items(tmp_path / name, items_of([0], [0]))
        write_text(tmp_path / name, "last-word", words([True, False]))
        write_text(tmp_path / name, "perplexity", windows([300] * 9), model="older")
    found = compare_folders(tmp_path / "ours", tmp_path / "theirs", model="m", say=pytest.fail)
    assert [c.task for c in found][-1] == "lambada"
    assert {c.task for c in found} == {"miniworld_topic", "lambada"}


def test_what_the_suite_keeps_of_texts_is_compared(model, own_model, tmp_path, monkeypatch):
    root = tmp_path / "data"
    for name, texts in (("novels", ["The film is a delight. " * 9]), ("lambada", ["A cat sat."])):
        path = root / "language" / name / "test.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"text": texts}), path)
    monkeypatch.setattr(language, "WINDOW", 8)
    with torch.no_grad():
        own_model.model.network.causal.get_output_embeddings().weight.zero_()
    results = {}
    for name, one in (("ours", model), ("theirs", own_model)):
        results[name] = {
            r.metric: r for r in evaluate_perplexity(one, None, Setting(root, out=tmp_path / name))
        }
    found = compare_folders(tmp_path / "ours", tmp_path / "theirs", say=pytest.fail)
    assert [c.metric for c in found] == ["perplexity", "bits_per_byte", "last_word_accuracy"]
    for one in found:
        assert one.ours == pytest.approx(results["ours"][one.metric].value)
        assert one.theirs == pytest.approx(results["theirs"][one.metric].value)
    assert found[0].difference != 0


def test_as_json():
    one = Comparison("t", "test", "accuracy", 0.5, 0.4, 0.1, 0.02, 0.2, 0.01, 9)
    assert json.loads(one.as_json())["significant"] is True
