import errno
import io
import json
import os
import random
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tiny_files
from freelm.api import FreeLM
from freelm.errors import DataError, InputError, ModelError
from freelm.files import job, work_folder
from freelm.files import reader as table_reader
from freelm.files.columns import AnswerColumns
from freelm.files.job import FileJob
from freelm.files.run import RunResult, judge_file, stream_file
from freelm.judge.questions import choice, parse_questions, score
from freelm.judge.requests import Judgement, Request
from freelm.model.compute.int8 import quantize_linear_layers
from freelm.model.fingerprint import model_identity
from tiny_files import FORMATS, CrcJudge, label_columns, read_rows, some_rows, write_rows
from tiny_runs import run_to_end, start

CRC = {"name": "crc"}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(job, "CHUNK_ROWS", 4)


@pytest.fixture
def source(tmp_path):
    return write_rows(tmp_path / "in.jsonl", some_rows(23))


def judge_rows(source, output, judges=None, columns=None, shard=(1, 1), **options):
    """Judge the column `text` of a file; returns the outcome."""
    long_texts = options.pop("long_texts", "truncate")
    job = FileJob(source, "text", columns or label_columns(), shard, long_texts)
    return judge_file(job, judges or CrcJudge(), options.pop("model", CRC), output, **options)


# -- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_any_format_is_judged_into_any_other(tmp_path, source, target):
    rows = some_rows(11)
    path = write_rows(tmp_path / f"in{source}", rows)
    assert judge_rows(path, tmp_path / f"out{target}") == RunResult(11, 0)
    found = read_rows(tmp_path / f"out{target}")
    answers = label_columns().schema.names
    assert [list(row) for row in found] == [["id", "text", "share", *answers]] * 11
    assert [row["text"] for row in found] == [row["text"] for row in rows]
    assert [str(row["id"]) for row in found] == [str(i) for i in range(11)]
    columns, judge = label_columns(), CrcJudge()
    for row in found:
        judged = judge.judge_requests([Request((row["text"],), columns.claims)])[0]
        cells = columns.cells(judged)
        if "csv" in target:
            cells = [str(c).lower() if isinstance(c, bool) else str(c) for c in cells]
        assert [row[name] for name in answers] == cells


LONG = "The film is a delight from the first scene to the last. " * 60
TEXTS = ["A cat sleeps on the mat.", LONG, *(row["text"] for row in some_rows(7))]


@pytest.fixture
def texts(tmp_path):
    return write_rows(tmp_path / "texts.jsonl", [{"text": text} for text in TEXTS])


def test_labels_equal_those_of_classify_one_by_one(model, texts, tmp_path):
    asked = choice(["film", "village", "dog"], "It is about {}.", threshold=0.5)
    judge_rows(texts, tmp_path / "out.parquet", model, AnswerColumns.of_question(asked, ""))
    for text, row in zip(TEXTS, read_rows(tmp_path / "out.parquet"), strict=True):
        answer = model.classify(
            text, ["film", "village", "dog"], "It is about {}.", threshold=0.5
        ).as_dict()
        assert (row["label"], row["truncated"]) == (answer["label"], answer["truncated"])
        assert row["probability"] == pytest.approx(answer["probability"], abs=1e-5)
        for label, share in answer["probabilities"].items():
            assert row[f"probability_{label}"] == pytest.approx(share, abs=1e-5)


def test_claims_equal_those_of_judge_one_by_one(model, texts, tmp_path):
    claims = ["The film is good.", "A dog sleeps."]
    judge_rows(texts, tmp_path / "out.jsonl", model, AnswerColumns.of_claims(claims, ""))
    for text, row in zip(TEXTS, read_rows(tmp_path / "out.jsonl"), strict=True):
        verdicts = model.judge(text, claims)
        assert row["truncated"] is verdicts[0].truncated
        assert [row[c] for c in claims] == pytest.approx(
            [v.probability for v in verdicts], abs=1e-5
        )


def test_levels_equal_those_of_score_one_by_one(model, texts, tmp_path):
    asked = score("How good is it?", ["bad", "fair", "good"])
    judge_rows(texts, tmp_path / "out.jsonl", model, AnswerColumns.of_question(asked, ""))
    for text, row in zip(TEXTS, read_rows(tmp_path / "out.jsonl"), strict=True):
        answer = model.score(text, "How good is it?", ["bad", "fair", "good"])
        assert row["value"] == pytest.approx(answer.value, abs=1e-5)
        assert (row["level"], row["truncated"]) == (answer.level, answer.truncated)


def test_named_questions_equal_those_of_decide_one_by_one(model, texts, tmp_path):
    questions = {
        "cat": {"claim": "A cat is there."},
        "topic": {"labels": ["film", "dog"]},
        "mood": {"question": "How good is it?", "levels": ["bad", "good"]},
    }
    columns = AnswerColumns.of_named(parse_questions(questions), "")
    judge_rows(texts, tmp_path / "out.jsonl", model, columns)
    for text, row in zip(TEXTS, read_rows(tmp_path / "out.jsonl"), strict=True):
        answers = model.decide(text, questions)
        assert row["cat_probability"] == pytest.approx(answers["cat"].probability, abs=1e-5)
        assert row["topic_label"] == answers["topic"].label
        assert row["mood_value"] == pytest.approx(answers["mood"].value, abs=1e-5)


def test_long_texts_of_a_file_are_read_as_those_of_single_calls(freelm_folder, texts, tmp_path):
    columns = AnswerColumns.of_claims(["The film is good."], "")
    for way in ("truncate", "windows", "error"):
        model = FreeLM.from_pretrained(freelm_folder, long_texts=way)
        job = FileJob(texts, "text", columns, long_texts=way)
        output = tmp_path / f"{way}.jsonl"
        outcome = judge_file(job, model, CRC, output)
        row = read_rows(output)[TEXTS.index(LONG)]
        if way == "error":
            assert (outcome.bad, row["windows"]) == (1, None)
            assert outcome.reasons[0].startswith("row 2: the text is longer than the ")
            continue
        alone = model.judge(LONG, "The film is good.")
        assert (row["truncated"], row["windows"]) == (alone.truncated, alone.windows)
        assert row["The film is good."] == pytest.approx(alone.probability, abs=1e-5)
        assert (outcome.bad, alone.windows > 1) == (0, way == "windows")


def test_an_unknown_way_of_long_texts_is_refused(texts):
    with pytest.raises(InputError, match="long_texts is 'skip'; it must be one of truncate"):
        FileJob(texts, "text", label_columns(), long_texts="skip")


# -- killed and gone on with -----------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_kill_9_before_every_disk_operation(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # slow, and no help against a kill
    rows = [*some_rows(9), {"id": 9, "text": "", "share": 0}]
    source = write_rows(tmp_path / "in.jsonl", rows)
    straight = tmp_path / f"straight{ending}"
    judge_rows(source, straight, errors=tmp_path / "straight.errors")
    kills = 0
    while True:
        output, errors = tmp_path / f"{kills}{ending}", tmp_path / f"{kills}.errors"
        run = (tiny_files.judge_in_child, source, output, errors)
        code = run_to_end(*run, kills + 1)
        killed = code == -9
        assert killed or code == 0
        if killed and (output.exists() is False or (tmp_path / f"{output.name}.partial").exists()):
            assert judge_rows(source, output, errors=errors) == RunResult(
                10, 1, ["row 10: column 'text' is empty"]
            )
        assert output.read_bytes() == straight.read_bytes()
        assert errors.read_bytes() == (tmp_path / "straight.errors").read_bytes()
        assert not (tmp_path / f"{output.name}.partial").exists()
        if not killed:
            break
        kills += 1
    assert kills >= 15  # state, three chunks, output, outcome, errors, renaming, removing


def test_kill_9_of_the_command_at_any_moment(tmp_path, freelm_folder):
    rows = some_rows(60)
    source = write_rows(tmp_path / "in.csv", rows)
    words = ["classify", "--model", str(freelm_folder), "--labels", "film,dog,village"]
    words += ["--input", str(source), "--output"]
    straight, output = tmp_path / "straight.csv", tmp_path / "out.csv"
    command = tiny_files.command_in_child
    assert run_to_end(command, [*words, str(straight)], 3) == 0
    assert [row["text"] for row in read_rows(straight)] == [row["text"] for row in rows]
    rng, done, kills = random.Random(0), [], 0
    work = tmp_path / "out.csv.partial"
    while not output.exists():
        process = start(command, [*words, str(output)], 3)
        begun = len(done)
        while kills < 4 and process.is_alive() and not output.exists():
            process.join(rng.uniform(0.001, 0.03))
            done = sorted(work.glob("chunk-*"))
            if len(done) > begun + rng.randint(0, 4):
                process.kill()
                kills += 1
                break
        process.join(120)
    assert kills
    assert output.read_bytes() == straight.read_bytes()


def test_what_was_answered_is_not_judged_again(source, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 12:
            raise Stop

    first, second, told = CrcJudge(), CrcJudge(), []
    with pytest.raises(Stop):
        judge_rows(source, tmp_path / "out.csv", first, progress=stop)
    assert not (tmp_path / "out.csv").exists()
    judge_rows(source, tmp_path / "out.csv", second, progress=lambda *n: told.append(n))
    # One more each time: the claims are tried before anything is judged.
    assert (first.judged, second.judged) == (12 + 1, 11 + 1)
    assert told == [(12, 23), (16, 23), (20, 23), (23, 23)]
    judge_rows(source, tmp_path / "straight.csv")
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "straight.csv").read_bytes()


def test_chunks_begin_small_and_double(monkeypatch):
    monkeypatch.undo()
    sizes = [job.chunk_rows(index) for index in range(9)]
    assert sizes == [8, 16, 32, 64, 128, 256, 256, 256, 256]
    assert [job.rows_before(index) for index in range(9)] == [sum(sizes[:i]) for i in range(9)]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_a_run_killed_after_its_first_rows_keeps_them_and_reports_progress_before(
    tmp_path, monkeypatch, ending
):
    monkeypatch.setattr(job, "CHUNK_ROWS", 256)

    class Stop(Exception):
        pass

    def stop(done, total):
        seen.append(done)
        if done >= limit:
            raise Stop

    source = write_rows(tmp_path / f"in{ending}", some_rows(300))
    first, second, seen, limit = CrcJudge(), CrcJudge(), [], 20
    with pytest.raises(Stop):
        judge_rows(source, tmp_path / "out.csv", first, progress=stop)
    assert seen == [0, 8, 24]
    seen, limit = [], 1000
    judge_rows(source, tmp_path / "out.csv", second, progress=stop)
    assert seen == [24, 56, 120, 248, 300]
    assert (first.judged, second.judged) == (24 + 1, 276 + 1)
    judge_rows(source, tmp_path / "straight.csv")
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "straight.csv").read_bytes()


@pytest.fixture
def begun(source, tmp_path):
    """An output of which some rows are done."""

    def full(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge_rows(source, tmp_path / "out.csv", progress=lambda d, t: d == 8 and full())
    return tmp_path / "out.csv"


def test_another_model_question_or_input_is_refused_by_name(source, begun, tmp_path):
    other = AnswerColumns.of_question(choice(["good", "bad"], "It is {}."))
    for changes, word in [
        ({"model": {"name": "other"}}, "the model changed"),
        ({"columns": other}, "the questions changed"),
        ({"shard": (1, 2)}, "the shard changed"),
        ({"long_texts": "windows"}, "--long-texts changed"),
        ({"model": {}, "columns": other}, "the model and the questions changed"),
    ]:
        with pytest.raises(DataError, match=f"{word}; repeat that run to finish it, or delete"):
            judge_rows(source, begun, **changes)
    rows = some_rows(23)
    rows[20]["text"] += "!"
    write_rows(source, rows)
    with pytest.raises(DataError, match="the input file changed"):
        judge_rows(source, begun)
    write_rows(source, some_rows(23))  # another time, the same content
    judge_rows(source, begun)
    judge_rows(source, tmp_path / "straight.csv")
    assert begun.read_bytes() == (tmp_path / "straight.csv").read_bytes()


def test_models_are_distinguished(model, freelm_folder, tmp_path):
    from tiny_freelm import save_freelm

    identity = model_identity(model.model)
    assert json.loads(json.dumps(identity)) == identity
    assert identity == model_identity(FreeLM.from_pretrained(freelm_folder).model)
    warmer = FreeLM.from_pretrained(save_freelm(tmp_path / "warmer", temperature=2.0))
    assert identity != model_identity(warmer.model)
    half = FreeLM.from_pretrained(freelm_folder, dtype="bf16")
    assert identity != model_identity(half.model)
    quantize_linear_layers(half.model.network.causal.base_model)
    assert model_identity(half.model)["dtype"] == "int8"


# -- output ----------------------------------------------------------------------------------------


def test_existing_output_stays_until_the_new_one_is_complete(source, tmp_path):
    output, errors = tmp_path / "out.csv", tmp_path / "errors.jsonl"
    output.write_text("old")
    with pytest.raises(DataError, match=r"out\.csv: already exists; --overwrite"):
        judge_rows(source, output)
    with pytest.raises(KeyboardInterrupt):
        judge_rows(source, output, judges=Broken(KeyboardInterrupt()), overwrite=True)
    assert output.read_text() == "old"
    judge_rows(source, output, overwrite=True)
    assert len(read_rows(output)) == 23
    output.unlink()
    errors.write_text("old")
    with pytest.raises(DataError, match=r"errors\.jsonl: already exists"):
        judge_rows(source, output, errors=errors)
    judge_rows(source, output, errors=errors, overwrite=True)
    assert errors.read_text() == ""


def test_files_must_differ_and_be_files(source, tmp_path):
    for output, errors in [(source, None), (tmp_path / "a.csv", source), (tmp_path / "a.csv",) * 2]:
        with pytest.raises(DataError, match="must be different files"):
            judge_rows(source, output, errors=errors, overwrite=True)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder\.csv: is a folder"):
        judge_rows(source, tmp_path / "folder.csv", overwrite=True)
    with pytest.raises(DataError, match=r"a\.txt: unknown file format"):
        judge_rows(source, tmp_path / "a.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.csv", "in.jsonl"]


class Broken(CrcJudge):
    """Raises after some requests."""

    def __init__(self, error, after=0):
        super().__init__()
        self.error, self.after = error, after

    def judge_requests(self, requests):
        if self.judged > self.after:
            raise self.error
        return super().judge_requests(requests)


@pytest.mark.parametrize("when", ["chunk", "output", "errors"])
def test_a_full_disk_costs_nothing_that_was_done(source, tmp_path, monkeypatch, when):
    output, errors = tmp_path / "out.parquet", tmp_path / "errors.jsonl"
    error = OSError(errno.ENOSPC, "No space left on device")

    def full(*arguments, **options):
        raise error

    with monkeypatch.context() as patch:
        if when == "chunk":
            own, count = os.fsync, []

            def sometimes(handle):
                count.append(1)
                if len(count) > 9:
                    raise error
                own(handle)

            patch.setattr(os, "fsync", sometimes)
        elif when == "output":
            patch.setattr(pq.ParquetWriter, "write_table", full)
        else:
            patch.setattr(work_folder.shutil, "copyfile", full)
        with pytest.raises(DataError, match=r"cannot be written \(No space.*run the same command"):
            judge_rows(source, output, errors=errors)
    assert output.exists() == (when == "errors")
    assert not errors.exists()
    again = CrcJudge()
    judge_rows(source, output, again, errors=errors)
    assert again.judged <= (23 - 8 if when == "chunk" else 0)
    assert [row["text"] for row in read_rows(output)] == [row["text"] for row in some_rows(23)]
    assert errors.exists()


@pytest.mark.parametrize("ending", FORMATS)
def test_a_disk_that_is_really_too_small(tmp_path, ending):
    rng = random.Random(0)
    rows = [{"text": rng.randbytes(400).hex()} for _ in range(200)]
    source = write_rows(tmp_path / "in.jsonl", rows)
    output, said = tmp_path / f"out{ending}", tmp_path / "said"
    small = (tiny_files.judge_on_a_small_disk, source, output, said)
    assert run_to_end(*small, 30_000) == 0
    assert said.read_text().startswith("DataError: ")
    assert said.read_text().count("\n") == 1
    assert "File too large" in said.read_text()
    assert not output.exists()
    assert len(list((tmp_path / f"{output.name}.partial").glob("chunk-*"))) == 5
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(job, "CHUNK_ROWS", 256)
    again = CrcJudge()
    judge_rows(source, output, again)
    monkeypatch.undo()
    assert again.judged == 0
    assert [row["text"] for row in read_rows(output)] == [row["text"] for row in rows]


def test_two_runs_do_not_share_an_output(source, tmp_path):
    def second(done, total):
        with pytest.raises(DataError, match="another run is writing this output"):
            judge_rows(source, tmp_path / "out.csv")

    judge_rows(source, tmp_path / "out.csv", progress=second)


@pytest.mark.parametrize(
    "change",
    [lambda p: p.write_text(p.read_text() + "{}\n"), lambda p: p.write_text(""), os.remove],
)
def test_an_input_that_changes_meanwhile_is_noticed(source, tmp_path, change):
    def touch(done, total):
        if done == 8:
            change(source)

    with pytest.raises(DataError, match=r"in\.jsonl: (changed while|cannot be read)"):
        judge_rows(source, tmp_path / "out.csv", progress=touch)
    assert not (tmp_path / "out.csv").exists()


def test_answers_to_temporary_content_are_not_saved(source, tmp_path):
    original = source.read_bytes()

    def change(done, total):
        if done == 8:
            source.write_bytes(original.replace(b"plain", b"other"))

    with pytest.raises(DataError, match="changed while it was being read"):
        judge_rows(source, tmp_path / "out.csv", progress=change)
    source.write_bytes(original)
    judge_rows(source, tmp_path / "out.csv")
    judge_rows(source, tmp_path / "straight.csv")
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "straight.csv").read_bytes()


# -- bad rows --------------------------------------------------------------------------------------

BAD_LINES = [
    ('{"text": ""}', "column 'text' is empty"),
    ('{"text": " \\n"}', "column 'text' is empty"),
    ('{"text": null}', "column 'text' has no value"),
    ('{"other": "x"}', "column 'text' has no value"),
    ('{"text": 5}', "column 'text' must be a string, not int"),
    ('{"text": ["a"]}', "column 'text' must be a string, not list"),
    ('{"text": "a\\ud800"}', "column 'text' contains an unpaired surrogate"),
    ("oops", "is not JSON"),
    ("[1]", "is not a JSON object"),
]


@pytest.mark.parametrize("ending", FORMATS)
def test_bad_rows_keep_their_place_and_cost_the_others_nothing(tmp_path, ending):
    good = [f"good {i}" for i in range(len(BAD_LINES) + 1)]
    lines = [json.dumps({"id": 0, "text": good[0]})]
    for i, (line, _) in enumerate(BAD_LINES):
        lines += [line, json.dumps({"id": i + 1, "text": good[i + 1]})]
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(lines))
    errors, output = tmp_path / "errors.jsonl", tmp_path / f"out{ending}"
    outcome = judge_rows(source, output, errors=errors)
    assert (outcome.rows, outcome.bad) == (len(lines), len(BAD_LINES))
    told = [json.loads(line) for line in errors.read_text().splitlines()]
    assert [list(one) for one in told] == [["row", "reason"]] * len(BAD_LINES)
    assert [one["row"] for one in told] == list(range(2, len(lines), 2))
    for one, (_, reason) in zip(told, BAD_LINES, strict=True):
        assert reason in one["reason"]
    assert outcome.reasons == [f"row {one['row']}: {one['reason']}" for one in told[:3]]
    found = read_rows(output)
    assert len(found) == len(lines)
    empty = "" if "csv" in ending else None
    assert [row["text"] for row in found[::2]] == good
    assert all(row["freelm_label"] in ("good", "bad") for row in found[::2])
    names = label_columns().schema.names
    assert all(row[name] == empty for row in found[1::2] for name in names)


def test_nulls_of_a_typed_text_column_are_bad_rows(tmp_path):
    pq.write_table(pa.table({"text": ["a", None, "b"], "n": [1, 2, 3]}), tmp_path / "in.parquet")
    outcome = judge_rows(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert outcome == RunResult(3, 1, ["row 2: column 'text' has no value"])
    assert [row["n"] for row in read_rows(tmp_path / "out.parquet")] == [1, 2, 3]


def test_a_file_of_nothing_but_bad_rows(tmp_path):
    source = write_rows(tmp_path / "in.csv", [{"text": " "}] * 9)
    assert judge_rows(source, tmp_path / "out.csv").bad == 9
    assert len(read_rows(tmp_path / "out.csv")) == 9


def test_a_text_that_the_model_refuses_is_a_bad_row(source, tmp_path):
    class Picky(CrcJudge):
        def judge_requests(self, requests):
            if any(request.context[0].endswith((" 5", " 6", " 14")) for request in requests):
                raise InputError("too long")
            return super().judge_requests(requests)

    outcome = judge_rows(source, tmp_path / "out.jsonl", Picky())
    assert outcome == RunResult(23, 3, [f"row {n}: too long" for n in (6, 7, 15)])
    judge_rows(source, tmp_path / "straight.jsonl")
    found, straight = read_rows(tmp_path / "out.jsonl"), read_rows(tmp_path / "straight.jsonl")
    assert [a == b for a, b in zip(found, straight, strict=True)] == [
        i not in (5, 6, 14) for i in range(23)
    ]


def test_a_claim_that_does_not_fit_is_refused_before_anything_is_judged(model, source, tmp_path):
    columns = AnswerColumns.of_claims(["c " * 2000])
    with pytest.raises(InputError, match="shorten the claim"):
        judge_rows(source, tmp_path / "out.csv", model, columns)
    judge_rows(source, tmp_path / "out.csv", model)  # another question does not meet its traces
    assert len(read_rows(tmp_path / "out.csv")) == 23


def test_a_verdict_that_is_no_number_ends_the_run_and_names_the_row(source, tmp_path):
    class Damaged(CrcJudge):
        def judge_requests(self, requests):
            judged = super().judge_requests(requests)
            nan = Judgement(label_columns().claims, np.array([0.0, np.nan]))
            return [
                nan if request.context[0].endswith(" 9") else one
                for request, one in zip(requests, judged, strict=True)
            ]

    with pytest.raises(ModelError, match="row 10: the verdict is not a finite number"):
        judge_rows(source, tmp_path / "out.csv", Damaged())
    assert len(list((tmp_path / "out.csv.partial").glob("chunk-*"))) == 2


# -- what is refused at once -----------------------------------------------------------------------


@pytest.mark.parametrize("ending", FORMATS)
def test_a_column_that_is_not_there_or_already_there_is_named(tmp_path, ending):
    path = write_rows(tmp_path / f"in{ending}", [{"words": "a", "freelm_label": "b", "label": "c"}])
    with pytest.raises(DataError, match="no column 'text'; available: freelm_label, label"):
        FileJob(path, "text", label_columns())
    with pytest.raises(DataError, match=r"has a column 'freelm_label'.*another --prefix"):
        FileJob(path, "words", label_columns())
    for prefix in ("new_", "x"):
        FileJob(path, "words", AnswerColumns.of_question(choice(["good", "bad"]), prefix))


def test_a_typed_column_of_something_else_is_refused(tmp_path):
    path = write_rows(tmp_path / "in.parquet", some_rows(3))
    with pytest.raises(DataError, match="column 'id' is int64, not text"):
        FileJob(path, "id", label_columns())


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.null()])
def test_texts_of_other_types_are_texts(tmp_path, kind):
    values = pa.array([None if kind == pa.null() else "a"], kind)
    pq.write_table(pa.table({"text": values}), tmp_path / "in.parquet")
    outcome = judge_rows(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert outcome.bad == (kind == pa.null())
    pq.write_table(pa.table({"text": pa.array(["a"]).dictionary_encode()}), tmp_path / "in.parquet")
    assert judge_rows(tmp_path / "in.parquet", tmp_path / "out2.csv").bad == 0


@pytest.mark.parametrize(
    ("name", "content"), [("in.csv", b"id,text\n"), ("in.jsonl", b""), ("in.jsonl.gz", b"")]
)
def test_a_file_without_rows_has_an_output_without_rows(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert judge_rows(tmp_path / name, tmp_path / "out.jsonl") == RunResult(0, 0)
    assert (tmp_path / "out.jsonl").read_bytes() == b""


# -- shards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 30])
def test_concatenated_shards_are_the_complete_output(tmp_path, parts):
    rows = some_rows(23)
    rows[4]["text"] = rows[21]["text"] = ""
    source = write_rows(tmp_path / "in.parquet", rows)
    judge_rows(source, tmp_path / "whole.jsonl", errors=tmp_path / "whole.errors")
    content, errors, sizes = b"", b"", []
    for part in range(1, parts + 1):
        output, bad = tmp_path / f"{part}.jsonl", tmp_path / f"{part}.errors"
        sizes.append(judge_rows(source, output, shard=(part, parts), errors=bad).rows)
        content, errors = content + output.read_bytes(), errors + bad.read_bytes()
    assert content == (tmp_path / "whole.jsonl").read_bytes()
    assert errors == (tmp_path / "whole.errors").read_bytes()
    assert max(sizes) - min(sizes) <= 1


# -- memory ----------------------------------------------------------------------------------------


def peak_memory(source, output):
    tracemalloc.start()
    judge_rows(source, output)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("given", [".csv", ".jsonl"])
def test_memory_does_not_grow_with_the_rows(tmp_path, monkeypatch, given, ending):
    monkeypatch.setattr(job, "CHUNK_ROWS", 20)
    monkeypatch.setattr(table_reader, "SCAN_ROWS", 20)
    few, many = (
        write_rows(tmp_path / f"{n}{given}", [{"text": f"{i} " + "x" * 1000} for i in range(n)])
        for n in (100, 1000)
    )
    peak_memory(few, tmp_path / f"warm{ending}")
    ratio = peak_memory(many, tmp_path / f"b{ending}") / peak_memory(few, tmp_path / f"a{ending}")
    assert ratio < 1.5


def test_parquet_file_is_never_fully_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "CHUNK_ROWS", 50)
    rng = random.Random(0)
    table = pa.table({"text": [rng.randbytes(500).hex() for _ in range(8000)]})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=200)
    size, before, seen = table.nbytes, pa.total_allocated_bytes(), []
    judge_rows(
        tmp_path / "in.parquet",
        tmp_path / "out.jsonl",
        progress=lambda done, total: seen.append(pa.total_allocated_bytes() - before),
    )
    assert max(seen) < size / 4


# -- streams ---------------------------------------------------------------------------------------


def test_a_stream_has_the_lines_of_the_file_as_they_come(source, tmp_path):
    judge_rows(source, tmp_path / "out.jsonl")
    stream, lengths = io.BytesIO(), []
    outcome = stream_file(
        FileJob(source, "text", label_columns()),
        CrcJudge(),
        stream,
        progress=lambda done, total: lengths.append(stream.getvalue().count(b"\n") - done),
    )
    assert outcome == RunResult(23, 0)
    assert stream.getvalue() == (tmp_path / "out.jsonl").read_bytes()
    assert lengths == [0] * 7


def test_bad_rows_of_a_stream_go_to_their_file(tmp_path):
    source = write_rows(tmp_path / "in.csv", [{"text": "a"}, {"text": ""}])
    job = FileJob(source, "text", label_columns())
    outcome = stream_file(job, CrcJudge(), io.BytesIO(), tmp_path / "errors.jsonl")
    assert outcome.bad == 1
    assert json.loads((tmp_path / "errors.jsonl").read_text())["row"] == 2
    with pytest.raises(DataError, match="cannot be written"):
        stream_file(job, CrcJudge(), io.BytesIO(), tmp_path / "no" / "folder")
