import json
import os
import subprocess
import sys

import pytest

from freelm.api import FreeLM
from freelm.cli import files
from freelm.files.work_folder import WorkFolder
from tiny_files import read_rows, some_rows, write_rows

QUESTION = {
    "judge": ["--claim", "It is good."],
    "classify": ["--labels", "film,dog"],
    "score": ["--question", "How good is it?", "--levels", "bad,good"],
}
READING = ["freelm_truncated", "freelm_windows"]
ANSWERS = {
    "judge": ["freelm_It is good.", *READING],
    "classify": [
        *("freelm_label", "freelm_probability", "freelm_verdict"),
        *("freelm_probability_film", "freelm_probability_dog"),
        *("freelm_verdict_film", "freelm_verdict_dog"),
        *READING,
    ],
    "score": [
        *("freelm_value", "freelm_level"),
        *("freelm_probability_bad", "freelm_probability_good"),
        *READING,
    ],
}
OWN = ["id", "text", "share"]


@pytest.fixture
def source(tmp_path):
    return write_rows(tmp_path / "in.csv", some_rows(9))


@pytest.fixture
def ask(cli, freelm_folder, source):
    """Ask about the file: `ask("judge", "--output", ...)`."""

    def call(verb, *arguments, given=source):
        return cli(verb, "--model", freelm_folder, "--input", given, *arguments)

    return call


# -- what is written -------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", list(QUESTION))
def test_each_verb_adds_its_answers_to_every_row(ask, model, tmp_path, verb):
    output = tmp_path / "out.jsonl"
    answer = ask(verb, *QUESTION[verb], "--output", output)
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == f"written: {output} (9 rows)\n"
    rows = read_rows(output)
    assert [list(row) for row in rows] == [[*OWN, *ANSWERS[verb]]] * 9
    assert [row["text"] for row in rows] == [row["text"] for row in some_rows(9)]
    text = rows[3]["text"]
    if verb == "judge":
        alone = {"It is good.": model.judge(text, "It is good.").probability}
    elif verb == "classify":
        alone = model.classify(text, ["film", "dog"]).as_dict()
    else:
        alone = model.score(text, "How good is it?", ["bad", "good"]).as_dict()
    shared = [name for name in alone if f"freelm_{name}" in rows[3]]
    assert shared
    for name in shared:
        assert rows[3][f"freelm_{name}"] == pytest.approx(alone[name], abs=1e-5)


def test_the_options_of_a_question_reach_it(ask, model, tmp_path):
    options = ["--template", "It says {}.", "--multi", "--threshold", "0.5", "--prefix", "topic_"]
    ask("classify", *QUESTION["classify"], *options, "--output", tmp_path / "out.jsonl")
    for row in read_rows(tmp_path / "out.jsonl"):
        answer = model.classify(
            row["text"], ["film", "dog"], "It says {}.", multi=True, threshold=0.5
        )
        assert (row["topic_label"], row["topic_labels"]) == (answer.label, list(answer.labels))


def test_another_column_of_texts(ask, tmp_path):
    source = write_rows(tmp_path / "in.jsonl", [{"words": "a", "text": 5}])
    output = tmp_path / "out.jsonl"
    words = ["--text-column", "words", "--output", output]
    assert ask("judge", *QUESTION["judge"], *words, given=source).code == 0
    (row,) = read_rows(output)
    assert (row["words"], row["text"]) == ("a", 5)


YAML = """
cat: {claim: A cat is there.}
topic:
  labels: {film: a film, dog: a dog}
  template: It is about {}.
mood: {question: "How good is it?", levels: [bad, good]}
"""


@pytest.mark.parametrize("verb", list(QUESTION))
def test_questions_of_a_yaml_file(ask, model, tmp_path, verb):
    questions, output = tmp_path / "questions.yaml", tmp_path / f"{verb}.jsonl"
    questions.write_text(YAML)
    assert ask(verb, "--questions", questions, "--output", output).code == 0
    for row in read_rows(output):
        topic = model.classify(
            row["text"], {"film": "a film", "dog": "a dog"}, "It is about {}."
        ).as_dict()
        assert row["freelm_topic_label"] == topic["label"]
        assert row["freelm_topic_probability_dog"] == pytest.approx(
            topic["probabilities"]["dog"], abs=1e-5
        )
        assert list(row)[:5] == [*OWN, "freelm_cat_probability", "freelm_cat_truncated"]
        assert (row["freelm_cat_truncated"], row["freelm_cat_windows"]) == (False, 1)


def test_the_same_command_goes_on_and_then_refuses(ask, tmp_path, monkeypatch):
    monkeypatch.setattr("freelm.files.job.CHUNK_ROWS", 4)
    output = tmp_path / "out.csv"
    words = ["classify", *QUESTION["classify"], "--output"]

    own = WorkFolder.save

    def interrupt(self, index, answers):
        own(self, index, answers)
        if index == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "save", interrupt)
        stopped = ask(*words, output)
    assert (stopped.code, stopped.out) == (130, "")
    assert stopped.err == "freelm: stopped; run the same command again to resume\n"
    assert not output.exists()
    ask("classify", "--labels", "film,cat", "--output", output).refused(
        "out.csv.partial: has answers", "the questions changed"
    )
    assert ask(*words, output).code == 0
    assert ask(*words, tmp_path / "straight.csv").code == 0
    assert output.read_bytes() == (tmp_path / "straight.csv").read_bytes()
    ask(*words, output).refused("out.csv: already exists; --overwrite")
    assert ask(*words, output, "--overwrite").code == 0


LONG = "The film is a delight from the first scene to the last. " * 40


@pytest.fixture
def with_a_long_text(tmp_path):
    return write_rows(tmp_path / "long.jsonl", [{"text": "A cat."}, {"text": LONG}])


def test_a_long_text_of_a_file_is_cut_or_refused_or_read_in_windows(
    ask, freelm_folder, with_a_long_text, tmp_path
):
    output = tmp_path / "out.jsonl"
    words = ["judge", *QUESTION["judge"], "--output", output, "--overwrite"]
    found = {}
    for way in ("truncate", "windows", "error"):
        answer = ask(*words, "--long-texts", way, given=with_a_long_text)
        assert answer.code == (way == "error")
        found[way] = read_rows(output)[1]
        assert read_rows(output)[0]["freelm_windows"] == 1
    assert "  row 2: the text is longer than the" in answer.err
    assert (found["truncate"]["freelm_truncated"], found["truncate"]["freelm_windows"]) == (True, 1)
    assert found["error"]["freelm_It is good."] is found["error"]["freelm_windows"] is None
    alone = FreeLM.from_pretrained(freelm_folder, long_texts="windows").judge(LONG, "It is good.")
    assert found["windows"]["freelm_windows"] == alone.windows > 1
    assert found["windows"]["freelm_truncated"] is False
    assert found["windows"]["freelm_It is good."] == pytest.approx(alone.probability, abs=1e-5)


def test_another_way_of_long_texts_does_not_go_on_with_the_answers_of_one(
    ask, with_a_long_text, tmp_path, monkeypatch
):
    monkeypatch.setattr("freelm.files.job.CHUNK_ROWS", 1)
    own = WorkFolder.save

    def interrupt(self, index, answers):
        own(self, index, answers)
        raise KeyboardInterrupt

    words = ["judge", *QUESTION["judge"], "--output", tmp_path / "out.csv", "--long-texts"]
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "save", interrupt)
        assert ask(*words, "windows", given=with_a_long_text).code == 130
    ask(*words, "truncate", given=with_a_long_text).refused("--long-texts changed")
    assert ask(*words, "windows", given=with_a_long_text).code == 0


def test_another_type_of_numbers_does_not_go_on_with_the_answers_of_one_but_a_device_does(
    ask, tmp_path, monkeypatch
):
    monkeypatch.setattr("freelm.files.job.CHUNK_ROWS", 4)
    own = WorkFolder.save

    def interrupt(self, index, answers):
        own(self, index, answers)
        raise KeyboardInterrupt

    words = ["judge", *QUESTION["judge"], "--output", tmp_path / "out.csv", "--dtype"]
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "save", interrupt)
        assert ask(*words, "fp32").code == 130
    ask(*words, "bf16").refused("out.csv.partial: has answers", "the model changed")
    assert ask(*words, "fp32", "--device", "cpu").code == 0


@pytest.fixture
def with_bad_rows(tmp_path):
    rows = [{"text": text} for text in ["a", "", "b", " ", "", "", "c"]]
    return write_rows(tmp_path / "bad.jsonl", rows)


def test_bad_rows_are_counted_and_the_first_are_shown(ask, with_bad_rows, tmp_path):
    output = tmp_path / "out.jsonl"
    answer = ask("judge", *QUESTION["judge"], "--output", output, given=with_bad_rows)
    assert answer.code == 1
    assert answer.err.splitlines() == [
        f"written: {output} (7 rows)",
        "4 of 7 rows could not be judged",
        *(f"  row {n}: column 'text' is empty" for n in (2, 4, 5)),
    ]
    assert [row["freelm_It is good."] is None for row in read_rows(output)] == [
        text.strip() == "" for text in ["a", "", "b", " ", "", "", "c"]
    ]


def test_bad_rows_go_to_their_file(ask, with_bad_rows, tmp_path):
    output, errors = tmp_path / "out.jsonl", tmp_path / "new" / "errors.jsonl"
    words = ["--output", output, "--errors", errors]
    answer = ask("judge", *QUESTION["judge"], *words, given=with_bad_rows)
    assert answer.code == 1
    assert answer.err.splitlines()[1:] == ["4 of 7 rows could not be judged"]
    told = [json.loads(line) for line in errors.read_text().splitlines()]
    assert told == [{"row": n, "reason": "column 'text' is empty"} for n in (2, 4, 5, 6)]


def test_a_shard_is_a_part_of_the_rows(ask, tmp_path):
    for part in (1, 2):
        words = ["--output", tmp_path / f"{part}.jsonl", "--shard", f"{part}/2"]
        assert ask("judge", *QUESTION["judge"], *words).code == 0
    rows = [*read_rows(tmp_path / "1.jsonl"), *read_rows(tmp_path / "2.jsonl")]
    assert [row["text"] for row in rows] == [row["text"] for row in some_rows(9)]


def test_an_input_with_a_label_column_needs_no_option(ask, tmp_path):
    source = write_rows(tmp_path / "labelled.csv", [{"text": "A cat.", "label": "animal"}])
    output = tmp_path / "out.jsonl"
    assert ask("classify", *QUESTION["classify"], "--output", output, given=source).code == 0
    (row,) = read_rows(output)
    assert row["label"] == "animal"
    assert row["freelm_label"] in ("film", "dog")


# -- standard output -------------------------------------------------------------------------------


def test_a_dash_writes_json_lines_to_standard_output(ask, tmp_path):
    ask("judge", *QUESTION["judge"], "--output", tmp_path / "out.jsonl")
    answer = ask("judge", *QUESTION["judge"], "--output", "-")
    assert (answer.code, answer.err) == (0, "")
    assert answer.json == read_rows(tmp_path / "out.jsonl")


def test_a_reader_that_goes_away_is_no_error(freelm_folder, source):
    words = ["judge", *QUESTION["judge"], "--model", freelm_folder, "--input", source]
    program = [sys.executable, "-m", "freelm", *map(str, words), "--output", "-"]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, timeout=240)
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (0, b"")


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["judge", "--claim", "c", "--input", "a.csv"],
        ["judge", "--claim", "c", "--output", "b.csv"],
        ["judge", "text", "--claim", "c", "--long-texts", "ignore"],
        ["judge", "--claim", "c", "--prefix", "x"],
        ["judge", "text", "--claim", "c", "--input", "a.csv", "--output", "b.csv"],
        ["judge", "--claim", "c", "--input", "a.csv", "--output", "b.csv", "--json"],
        ["judge", "--input", "a.csv", "--output", "b.csv"],
        ["judge", "--claim", "c", "--questions", "q", "--input", "a.csv", "--output", "b.csv"],
        ["classify", "--input", "a.csv", "--output", "b.csv"],
        ["classify", "--multi", "--questions", "q", "--input", "a.csv", "--output", "b.csv"],
        ["score", "--levels", "a", "--questions", "q", "--input", "a.csv", "--output", "b.csv"],
        *(
            ["judge", "--claim", "c", "--input", "a.csv", "--output", "b.csv", "--shard", shard]
            for shard in ("0/2", "3/2", "1", "a/b", "1/0", "-1/2")
        ),
    ],
    ids=" ".join,
)
def test_usage_errors_end_with_two(cli, arguments):
    answer = cli(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Error: " in answer.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file"),
        ("a: {claim: x}\nb: [", "is not valid YAML (line "),
        ("- a", "questions must be a mapping name -> question, not list"),
        ("", "questions must be a mapping"),
        ("q: {claims: x}", "question 'q': give claim"),
        ("q: {claim: ''}", "question 'q': claim 1 is empty"),
        ("q: {claim: x}\nq: {claim: y}", "duplicate key 'q'"),
        ("!!python/object/apply:os.system ['true']", "is not valid YAML"),
    ],
)
def test_wrong_questions_are_named_with_their_file(ask, tmp_path, content, message):
    path = tmp_path / "questions.yaml"
    if content is not None:
        path.write_text(content)
    words = ["--questions", path, "--output", tmp_path / "out.csv"]
    ask("judge", *words).refused("questions.yaml: ", message)
    assert not (tmp_path / "out.csv.partial").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--claim", "c", "--claim", "c"], "the claim 'c' is given twice"),
        (["--claim", "c", "--text-column", "x"], "has no column 'x'; available: id, share, text"),
        (["--claim", "share", "--prefix", ""], "already has a column 'share'"),
        (["--claim", "c " * 2000], "shorten the claim"),
    ],
)
def test_bad_input_is_one_line(ask, tmp_path, arguments, message):
    ask("judge", *arguments, "--output", tmp_path / "out.csv").refused(message)
    assert not (tmp_path / "out.csv").exists()


def test_a_file_that_is_not_there_or_whose_header_is_not_utf8_is_named(ask, tmp_path):
    words = ["judge", *QUESTION["judge"], "--output", tmp_path / "out.csv"]
    ask(*words, given=tmp_path / "no.csv").refused("no.csv: no such file")
    (tmp_path / "latin.csv").write_bytes("téxt\ncafé\n".encode("latin-1"))
    ask(*words, given=tmp_path / "latin.csv").refused("its header is not UTF-8")


def test_help_states_the_rules(cli):
    for verb in QUESTION:
        shown = " ".join(cli(verb, "--help").out.split())
        for words in ("apostrophe", "exit code is 1", "resumes after an interruption", "I/N"):
            assert words in shown
    assert files.STDOUT.name == "-"
