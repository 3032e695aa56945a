"""Bad input gets one clear line that names the field, the row or the file; nothing else is lost."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freelm.api import FreeLM

TASK = """
name: mine
version: 1
family: weather
question: choice
reference: invented
source: {files: {test: FILE}}
fields: {text: text}
context: ["{text}"]
label: {column: label, ids: [sun, rain]}
phrasings:
  - name: first
    claims: {sun: The sun shines., rain: It rains.}
metrics: [accuracy]
"""


@pytest.fixture
def evaluate(cli, freelm_folder, tmp_path):
    """Evaluate a task whose rows are a file of some name and content; returns what is said."""

    def call(name, content):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        task = tmp_path / "mine.yaml"
        task.write_text(TASK.replace("FILE", name))
        return cli("eval", freelm_folder, "--tasks", task, "--json")

    return call


GOOD = b"text,label\nA fine day,sun\nA bad day,rain\n"


def test_a_row_without_text_is_told_of_and_the_others_are_done(evaluate):
    answer = evaluate("rows.csv", b"text,label\nA day,sun\n ,sun\n")
    assert answer.code == 0
    assert answer.json[0]["n"] == 1
    assert "skipped: mine/test/1: the context is empty" in answer.err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", None, "rows.csv: no such file"),
        ("rows.csv", b"", "rows.csv: is empty"),
        ("rows.csv", b"text,label\n", "rows.csv: has no rows"),
        ("rows.csv", b"words,label\na,sun\n", "needs column 'text'; available: label, words"),
        ("rows.csv", b"text,label\nA day,fog\n", "mine/test/0: label 'fog' in column 'label'"),
        (
            "rows.csv",
            b"text,label\ncaf\xe9,sun\n",
            "as CSV: row 1: line 2: is not UTF-8",
        ),
        ("rows.csv", b"text,label\na,b,c,d\n", "rows.csv: cannot be read as CSV"),
        ("rows.jsonl", b'{"text": "a", "label": "sun"}\n{"text"', "rows.jsonl: cannot be read"),
        ("rows.parquet", b"PAR1 and no more", "rows.parquet: cannot be read as Parquet"),
        ("rows.xls", b"x", "rows.xls: unknown file format; available: .csv, .csv.gz, .json"),
    ],
)
def test_a_file_of_rows_that_is_wrong_is_named(evaluate, name, content, message):
    answer = evaluate(name, content)
    assert answer.code == 1
    assert answer.out == ""
    said, _ = answer.err.splitlines()
    assert said.startswith("mine: skipped: ")
    assert message in said


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        b'text,label\n"A fine\n\nday, so ""fine""",sun\n"A bad day",rain\n',
        b"extra,label,text\n1,sun,007\n2,rain,008\n",
        "text,label\nEin schöner Tag \N{SUN},sun\n[cls] {0.__class__} <|true|>,rain\n".encode(),
        b"text,label\n" + b"long " * 50_000 + b",sun\nA bad day,rain\n",
    ],
    ids=["plain", "bom", "crlf", "quoted", "columns", "strange", "long"],
)
def test_a_file_of_rows_that_is_unusual_but_right_is_read(evaluate, content):
    answer = evaluate("rows.csv", content)
    assert answer.code == 0
    assert answer.json[0]["n"] == 2


# -- damaged models --------------------------------------------------------------------------------


@pytest.fixture
def damaged(freelm_folder, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(freelm_folder, folder)
    return folder


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def change_facts(**changes):
    def damage(folder):
        facts = json.loads((folder / "freelm.json").read_text())
        (folder / "freelm.json").write_text(json.dumps({**facts, **changes}))

    return damage


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def remove(name):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_weights, "damaged: cannot be loaded"),
        (remove("model.safetensors"), "damaged: cannot be loaded"),
        (write("model.safetensors", ""), "damaged: cannot be loaded"),
        (remove("tokenizer.json"), "damaged"),
        (write("config.json", "{"), "config.json: cannot be read as JSON"),
        (write("freelm.json", "{"), "freelm.json: cannot be read"),
        (change_facts(format=2), "is of format 2, this program reads 1"),
        (change_facts(colour="red"), "freelm.json: cannot be read"),
        (change_facts(markers={"[cls]": 1}), "its markers are"),
        (change_facts(kind="adapter"), "names no base for its adapter"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_model_is_named(cli, damaged, damage, message):
    damage(damaged)
    answer = cli("judge", "t", "--claim", "c", "--model", damaged)
    answer.refused(message, str(damaged))
    assert answer.out == ""


def test_a_pickle_in_place_of_weights_is_not_opened(cli, damaged, tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    (damaged / "model.safetensors").unlink()
    (damaged / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    assert cli("judge", "t", "--claim", "c", "--model", damaged).code == 1
    assert not (tmp_path / "sprung").exists()


def test_code_beside_a_model_is_not_run(cli, damaged, tmp_path):
    (damaged / "modeling_trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    config = json.loads((damaged / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_trap.Trap"}
    (damaged / "config.json").write_text(json.dumps(config))
    cli("judge", "t", "--claim", "c", "--model", damaged)
    assert not (tmp_path / "sprung").exists()


# -- text corpora ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"words": ["a"]}, "has no column 'text'; available: words"),
        ({"text": [1, 2]}, "column 'text' holds int64, not text"),
        ({"text": ["", ""]}, "holds no text"),
    ],
)
def test_a_corpus_that_is_wrong_is_named(cli, freelm_folder, tmp_path, table, message):
    path = tmp_path / "language" / "news" / "test.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table(table), path)
    answer = cli("eval", freelm_folder, "--suite", "language", "--data", tmp_path)
    answer.refused(str(path), message)


# -- one bad item among many -----------------------------------------------------------------------


def test_a_bad_task_loses_neither_the_others_figures_nor_their_answers(
    cli, freelm_folder, world, tmp_path
):
    root, out = tmp_path / "root", tmp_path / "out"
    shutil.copytree(world, root)
    (root / "teacher/miniworld_entailment/test.parquet").write_bytes(b"damaged")
    command = ["eval", freelm_folder, "--suite", "seen", "--data", root, "--out", out, "--json"]
    answer = cli(*command)
    assert answer.code == 0
    assert {row["task"] for row in answer.json} == {"miniworld_topic"}
    assert "miniworld_entailment: skipped: " in answer.err
    assert (out / "results.jsonl").read_text() == answer.out


def test_a_refused_question_leaves_the_model_as_it_was(freelm_folder):
    model = FreeLM.from_pretrained(freelm_folder)
    before = model.judge("A fine day", "The sun shines.")
    for bad in ("", "\ud800", None):
        with pytest.raises(Exception, match="text"):
            model.judge(bad, "The sun shines.")
    assert model.judge("A fine day", "The sun shines.") == before
