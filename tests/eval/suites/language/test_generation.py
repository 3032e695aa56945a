import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freelm.eval.measure import Setting
from freelm.eval.suites.language import generation
from freelm.eval.suites.language.generation import (
    distinct_n,
    evaluate_generation,
    repetition,
    words_of,
)

LOOP = ["the", "cat", "sat", "on", "the", "mat"] * 2
FRESH = ["one", "two", "three", "four", "five", "six", "seven", "eight"]


def test_distinct_n_by_hand():
    assert distinct_n([["a", "b", "a"]], 1) == pytest.approx(2 / 3)
    assert distinct_n([["a", "b"], ["a", "b"]], 2) == pytest.approx(1 / 2)
    assert distinct_n([FRESH], 3) == 1.0
    assert distinct_n([["a"]], 2) == 0.0


def test_repetition_by_hand():
    assert repetition([FRESH]) == 0.0
    assert repetition([FRESH, FRESH]) == 0.0  # within a text, not between texts
    # 9 four-grams of 12 words; the last 3 stood before
    assert repetition([LOOP]) == pytest.approx(3 / 9)
    assert repetition([["a"] * 50]) == pytest.approx(46 / 47)
    assert repetition([["a"]]) == 0.0


def test_words_have_no_case_and_no_punctuation():
    assert words_of("The cat, THE mat!") == ["the", "cat", "the", "mat"]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(generation, "WRITTEN_TOKENS", 6)


def test_scores_of_each_decoding_and_of_the_human_text(model, world, small):
    told = []
    found = evaluate_generation(
        model, ["miniworld"], Setting(world, limit=2, seeds=2, detail=told.append)
    )
    variants = list(dict.fromkeys(r.variant for r in found))
    assert variants == ["what really followed", "greedy", "sampled"]
    metrics = {r.metric for r in found}
    assert metrics == {"distinct_1", "distinct_2", "distinct_3", "repetition", "words"}
    assert {r.seeds for r in found if r.variant == "sampled"} == {2}
    assert {r.n for r in found} == {2}
    assert {d["way"] for d in told} == {"greedy", "sampled"}
    assert all(len(d["prompt"].split()) == generation.PROMPT_WORDS for d in told)


def test_constant_model_is_detected(model, world, monkeypatch):
    monkeypatch.setattr(type(model), "generate", lambda self, *a, **k: "so so " * 40)
    found = evaluate_generation(model, ["miniworld"], Setting(world, limit=2))
    values = {(r.metric, r.variant): r.value for r in found}
    assert values["repetition", "greedy"] > 0.9 > values["repetition", "what really followed"]


def test_corpus_of_short_documents_is_reported(model, tmp_path):
    path = tmp_path / "language" / "short" / "test.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"text": ["Too short.", "This too."]}), path)
    said = []
    assert evaluate_generation(model, ["short"], Setting(tmp_path, skip=said.append)) == []
    assert "short: generation skipped: " in said[0]


def test_written_pieces_are_cached_and_extended(model, world, small, tmp_path, monkeypatch):
    corpora, shown, told = ["miniworld"], [], []
    whole = evaluate_generation(model, corpora, Setting(world, limit=3, seeds=2))
    setting = Setting(
        world, limit=3, seeds=2, out=tmp_path, detail=shown.append,
        progress=lambda *step: told.append(step),
    )  # fmt: skip
    written, own = [], type(model).generate

    def generate(self, *arguments, **options):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(arguments)
        return own(self, *arguments, **options)

    monkeypatch.setattr(type(model), "generate", generate)
    with pytest.raises(KeyboardInterrupt):
        evaluate_generation(model, corpora, setting)
    assert told[-1] == ("miniworld (sampled text, seed 0)", 2, 3)
    written.clear()
    assert evaluate_generation(model, corpora, setting) == whole
    assert len(written) == 3 + 6 - 5
    shown.clear()
    monkeypatch.setattr(type(model), "generate", None)
    assert evaluate_generation(model, corpora, setting) == whole
    assert len(shown) == 6  # the report shows samples of what is kept too


def test_texts_that_continue_other_prompts_are_not_believed(model, world, small, tmp_path):
    said = []
    setting = Setting(world, limit=2, seeds=1, out=tmp_path, skip=said.append)
    evaluate_generation(model, ["miniworld"], setting)
    file = tmp_path / "texts" / "miniworld.test.greedy-seed-0.jsonl"
    head, *lines = file.read_text().splitlines()
    file.write_text("\n".join([head, *reversed(lines), ""]))
    assert evaluate_generation(model, ["miniworld"], setting) == []
    assert "continues other prompts; delete it and run again" in said[0]
