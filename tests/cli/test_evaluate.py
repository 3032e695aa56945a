import json

import pytest

from freelm.eval.suites import Setting, evaluate_tasks
from freelm.tasks import Task, default_registry
from tiny_freelm import SEEN

KEYS = ["task", "family", "split", "metric", "value", "n", "low", "high", "majority"]

TASK = """
name: mine
version: 1
family: weather
question: choice
reference: invented
source: {files: {test: rows.csv}}
fields: {text: text}
context: ["{text}"]
label: {column: label, ids: [sun, rain]}
phrasings:
  - name: first
    claims: {sun: The sun shines., rain: It rains.}
metrics: [accuracy]
"""


@pytest.fixture
def mine(tmp_path):
    """A task of one's own with its CSV file beside it."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "rows.csv").write_text(
        'text,label\n"Fine, warm",sun\nWet,rain\n"Two\nlines",sun\nOld,sun\n'
    )
    (folder / "mine.yaml").write_text(TASK)
    return folder / "mine.yaml"


def test_a_task_of_ones_own_from_its_csv_file(cli, freelm_folder, model, mine):
    answer = cli("eval", freelm_folder, "--tasks", mine, "--json")
    assert answer.code == 0
    assert answer.err == "mine: 4 done\n"
    assert [list(row) for row in answer.json] == [KEYS] * 3
    expected = evaluate_tasks(model, [Task.from_file(mine)], Setting())
    assert [json.dumps(row) for row in answer.json] == [r.as_json() for r in expected]
    accuracy = answer.json[0]
    assert (accuracy["task"], accuracy["n"], accuracy["majority"]) == ("mine", 4, 0.75)


def test_the_table_shows_every_figure(cli, freelm_folder, mine):
    answer = cli("eval", freelm_folder, "--tasks", mine)
    rows = cli("eval", freelm_folder, "--tasks", mine, "--json").json
    for row in rows:
        line = next(line for line in answer.out.splitlines() if f" {row['metric']} " in line)
        shown = (
            f"{100 * row['value']:.1f}" if row["metric"] == "accuracy" else f"{row['value']:.3f}"
        )
        assert shown in line


def test_several_tasks_and_a_limit(cli, freelm_folder, mine, world):
    names = f"miniworld_qa, {mine}"
    answer = cli("eval", freelm_folder, "--tasks", names, "--data", world, "--limit", "2", "--json")
    assert {row["task"] for row in answer.json} == {"miniworld_qa", "mine"}
    assert {row["n"] for row in answer.json} == {2}


def test_suite_seen_is_what_the_model_was_trained_on(cli, freelm_folder, world):
    answer = cli("eval", freelm_folder, "--suite", "seen", "--data", world, "--json")
    assert list(dict.fromkeys(row["task"] for row in answer.json)) == list(SEEN)
    assert {row["split"] for row in answer.json} == {"test"}


def test_suite_language(cli, freelm_folder, world):
    answer = cli("eval", freelm_folder, "--suite", "language", "--data", world, "--json")
    assert [row["metric"] for row in answer.json] == ["perplexity", "bits_per_byte"]
    assert {(row["task"], row["family"]) for row in answer.json} == {("miniworld", "language")}


def test_suite_all_is_both(cli, freelm_folder, world):
    arguments = ["eval", freelm_folder, "--data", world, "--json", "--suite"]
    everything = cli(*arguments, "all").json
    assert everything == cli(*arguments, "seen").json + cli(*arguments, "language").json


def test_out_keeps_results_and_answers_and_resumes(cli, freelm_folder, mine, tmp_path, monkeypatch):
    out = tmp_path / "results"
    arguments = ["eval", freelm_folder, "--tasks", mine, "--out", out, "--json"]
    first = cli(*arguments)
    assert (out / "results.jsonl").read_text() == first.out
    assert "| mine | weather | test | accuracy |" in (out / "results.md").read_text()
    assert (out / "items" / "mine.test.first.jsonl").is_file()
    monkeypatch.setattr("freelm.inference.engine.judge_trees", None)
    assert cli(*arguments).out == first.out


def test_a_base_is_measured_by_its_best_prompt(cli, tiny_base_folder, world):
    answer = cli(
        "eval", tiny_base_folder, "--tasks", "miniworld_sentiment", "--data", world, "--json"
    )
    assert answer.code == 0
    assert "miniworld_sentiment: prompt " in answer.err


# -- failures --------------------------------------------------------------------------------------


def test_a_task_that_cannot_be_done_does_not_stop_the_others(cli, freelm_folder, mine, world):
    answer = cli("eval", freelm_folder, "--tasks", f"mnli,{mine},wnli", "--data", world, "--json")
    assert answer.code == 0
    assert {row["task"] for row in answer.json} == {"mine"}
    assert "mnli: left out: " in answer.err
    assert "wnli: left out: " in answer.err


def test_nothing_measured_is_a_failure(cli, freelm_folder, mine):
    (mine.parent / "rows.csv").write_text("text,label\nA day,\n")
    answer = cli("eval", freelm_folder, "--tasks", mine, "--json")
    assert (answer.code, answer.out) == (1, "")
    said, error = answer.err.splitlines()
    assert said.startswith("mine: left out: ")
    assert "split 'test' has no labels" in said
    assert error == "freelm: error: nothing could be measured"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "mnly"], "unknown task 'mnly'; did you mean 'mnli'"),
        (["--tasks", "rte,rte"], "task 'rte' is listed twice"),
        (["--tasks", "none.yaml"], "none.yaml: cannot be read"),
        (["--suite", "language"], "the language suite needs a data root"),
        (["--suite", "seen", "--data", "nowhere"], "data root nowhere: no such folder"),
    ],
)
def test_bad_arguments_are_one_line(cli, freelm_folder, arguments, message):
    cli("eval", freelm_folder, *arguments).refused(message)


def test_a_base_has_no_seen_tasks(cli, tiny_base_folder):
    cli("eval", tiny_base_folder, "--suite", "seen").refused("use --tasks")


def test_a_folder_for_results_that_cannot_be_made_is_named(cli, freelm_folder, mine, tmp_path):
    (tmp_path / "file").write_text("in the way")
    answer = cli("eval", freelm_folder, "--tasks", mine, "--out", tmp_path / "file" / "out")
    assert answer.code == 1
    assert "cannot be written" in answer.err


def test_every_shipped_task_can_be_asked_for_by_name(cli, freelm_folder, tmp_path):
    names = default_registry().names()
    answer = cli("eval", freelm_folder, "--tasks", ",".join(names), "--data", tmp_path)
    assert answer.code == 1
    assert answer.err.count(": left out: ") == len(names)
