import json
import re
import shutil
import sys

import numpy as np
import pytest

from freelm.eval import suites
from freelm.eval.measure import Setting, evaluate_tasks
from freelm.eval.suites.robust import ROWS
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
    """A task of one's own with its CSV file."""
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
    done, memory = answer.err.splitlines()
    assert done == "mine: 4 done"
    assert re.fullmatch(r"peak memory \d\.\d\d GB", memory)
    assert [list(row)[:9] for row in answer.json] == [KEYS] * 3
    expected = evaluate_tasks(model, [Task.from_file(mine)], Setting())
    assert [json.dumps(row) for row in answer.json] == [r.as_json() for r in expected]
    accuracy = answer.json[0]
    assert (accuracy["task"], accuracy["n"], accuracy["majority"]) == ("mine", 4, 0.75)


def test_results_of_rounded_number_types_name_the_type(cli, freelm_folder, mine, tmp_path):
    answer = cli("eval", freelm_folder, "--tasks", mine, "--dtype", "bf16", "--out", tmp_path)
    assert answer.code == 0
    assert json.loads((tmp_path / "evaluation.json").read_text())["numbers"] == "torch.bfloat16"
    assert "torch.bfloat16" in (tmp_path / "report.md").read_text()


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


@pytest.fixture
def writes_little(monkeypatch):
    """Texts of a few tokens are enough."""
    monkeypatch.setattr("freelm.eval.suites.language.generation.WRITTEN_TOKENS", 4)


def test_suite_language(cli, freelm_folder, world, writes_little):
    answer = cli(
        "eval", freelm_folder, "--suite", "language", "--data", world, "--limit", "2", "--json"
    )
    metrics = [row["metric"] for row in answer.json]
    assert metrics[:2] == ["perplexity", "bits_per_byte"]
    assert {"distinct_2", "repetition"} <= set(metrics)
    assert {(row["task"], row["family"]) for row in answer.json} == {("miniworld", "language")}


def test_texts_by_name(cli, freelm_folder, tmp_path, world, writes_little):
    for name in ("own", "other"):
        folder = tmp_path / "language" / name
        folder.mkdir(parents=True)
        shutil.copy(world / "language" / "miniworld" / "test.parquet", folder)
    words = ["eval", freelm_folder, "--suite", "language", "--data", tmp_path, "--limit", "2"]
    found = cli(*words, "--corpora", "own", "--json").json
    assert {row["task"] for row in found} == {"own"}
    assert {row["task"] for row in cli(*words, "--json").json} == {"own", "other"}
    cli(*words, "--corpora", "owm").refused("owm")
    assert cli("eval", freelm_folder, "--suite", "seen", "--corpora", "own").code == 2


def test_suite_all_is_every_suite_one_after_the_other(cli, freelm_folder, world, writes_little):
    arguments = ["eval", freelm_folder, "--data", world, "--limit", "2", "--json", "--seeds", "1"]
    everything = cli(*arguments, "--suite", "all").json
    suites = list(dict.fromkeys(row["suite"] for row in everything))
    assert suites == ["seen", "unseen", "claims", "robust", "calibration", "language"]
    for name in ("seen", "unseen", "calibration"):
        own = [row for row in everything if row["suite"] == name]
        assert own == cli(*arguments, "--suite", name).json
    assert all(list(row)[:9] == KEYS for row in everything)


def test_report_lists_what_was_left_out(cli, freelm_folder, world, tmp_path, writes_little):
    out, root = tmp_path / "out", tmp_path / "world"
    shutil.copytree(world, root)
    (root / "teacher" / "ag_news").mkdir()
    shutil.copy(root / "teacher" / SEEN[0] / "train.parquet", root / "teacher" / "ag_news")
    answer = cli(
        "eval", freelm_folder, "--suite", "all", "--data", root, "--limit", "2", "--seeds", "1",
        "--out", out,
    )  # fmt: skip
    assert answer.code == 0
    text = (out / "report.md").read_text()
    assert "## Not measured" in text
    assert "ag_news: skipped: DIR/" in text
    assert str(root) not in text
    assert "## Robustness" in text
    assert "<svg" in (out / "report.html").read_text()
    facts = json.loads((out / "evaluation.json").read_text())
    assert facts["rows_per_task"] == 2
    assert facts["code"]["freelm"]


def test_help_states_the_number_of_rows_of_the_robust_suite(cli):
    words = " ".join(cli("eval", "--help").out.replace("│", " ").split())
    assert f"the suite robust takes {ROWS} rows without it" in words


def test_help_lists_every_suite_with_what_it_measures(cli):
    words = " ".join(cli("eval", "--help").out.replace("│", " ").split())
    for name in suites.names():
        assert f"{name}: {suites.help_of(name)}." in words


def test_unseen_refuses_what_was_trained_on(cli, freelm_folder, world):
    arguments = ["eval", freelm_folder, "--suite", "unseen", "--data", world, "--json", "--tasks"]
    answer = cli(*arguments, f"{SEEN[0]},miniworld_qa")
    assert {row["task"] for row in answer.json} == {"miniworld_qa"}
    assert f"{SEEN[0]}: skipped: it is not unseen: it was trained on" in answer.err
    assert cli(*arguments, SEEN[0]).code == 1


# -- other evaluations -----------------------------------------------------------------------------


@pytest.fixture
def evaluated(cli, freelm_folder, mine, tmp_path):
    """A folder with an evaluation of the shared model."""
    cli("eval", freelm_folder, "--tasks", mine, "--out", tmp_path / "first")
    return tmp_path / "first"


def test_against_another_evaluation(cli, tiny_base_folder, mine, evaluated, tmp_path):
    arguments = ["eval", tiny_base_folder, "--tasks", mine, "--against", evaluated]
    answer = cli(*arguments, "--out", tmp_path / "second", "--json")
    pairs = [row for row in answer.json if "against" in row]
    assert [row["metric"] for row in pairs] == ["accuracy", "brier", "ece"]
    for row in pairs:
        assert row["against"] == str(evaluated)
        assert row["n"] == 4
        assert row["low"] <= row["difference"] <= row["high"]
    assert f"## Against {evaluated}" in (tmp_path / "second" / "report.md").read_text()
    shown = cli(*arguments, "--out", tmp_path / "second")
    assert f"against {evaluated}: mine, accuracy: no significant difference" in shown.out


def test_against_needs_cached_answers(cli, freelm_folder, mine, evaluated, tmp_path):
    assert cli("eval", freelm_folder, "--tasks", mine, "--against", evaluated).code == 2
    out = tmp_path / "o"
    answer = cli("eval", freelm_folder, "--tasks", mine, "--out", out, "--against", tmp_path)
    assert answer.code == 1
    assert answer.err.endswith("holds no answers (no items/*.jsonl); evaluate with --out\n")


def of_another_model(folder, fingerprint="another"):
    """Makes an evaluation one of a model that was trained with another seed."""
    facts = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps(facts | {"fingerprint": fingerprint}))


def test_figures_of_several_seeds_are_averaged(cli, freelm_folder, mine, evaluated, tmp_path):
    of_another_model(evaluated)
    lines = [json.loads(line) for line in (evaluated / "results.jsonl").read_text().splitlines()]
    for line in lines:
        line["value"] += 0.1
    (evaluated / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ["eval", freelm_folder, "--tasks", mine, "--json"]
    alone = cli(*arguments).json
    both = cli(*arguments, "--average-with", evaluated).json
    for one, other in zip(alone, both, strict=True):
        assert other["value"] == pytest.approx(one["value"] + 0.05)
        assert other["spread"] == pytest.approx(0.1 / 2**0.5)
        assert other["seeds"] == 2
    cli(*arguments, "--average-with", "nowhere").refused("nowhere/results.jsonl: cannot be read")
    out = tmp_path / "mean"
    shown = cli(*arguments[:-1], "--average-with", evaluated, "--out", out)
    assert "mean ± standard deviation over 2 trained models" in " ".join(shown.out.split())
    assert "the mean over 2 trained models" in (out / "report.md").read_text()
    cli(*arguments, "--average-with", out).refused("holds means over several models")


def test_a_model_is_no_other_seed_of_itself(cli, freelm_folder, mine, evaluated):
    arguments = ["eval", freelm_folder, "--tasks", mine]
    cli(*arguments, "--average-with", evaluated).refused("is of the same model as the model that")
    of_another_model(evaluated)
    cli(*arguments, "--average-with", f"{evaluated},{evaluated}").refused("is of the same model as")


def test_results_missing_for_another_seed_are_reported(cli, freelm_folder, mine, evaluated):
    of_another_model(evaluated)
    lines = (evaluated / "results.jsonl").read_text().splitlines()
    (evaluated / "results.jsonl").write_text(lines[0] + "\n")
    arguments = ["eval", freelm_folder, "--tasks", mine, "--json", "--average-with", evaluated]
    answer = cli(*arguments)
    assert [row["metric"] for row in answer.json] == ["accuracy"]
    assert "mine: brier, ece omitted: not measured in every evaluation" in answer.err


def test_seeds_measured_on_other_numbers_of_rows_are_refused(
    cli, freelm_folder, mine, evaluated, tmp_path
):
    of_another_model(evaluated)
    arguments = ["eval", freelm_folder, "--tasks", mine]
    answer = cli(*arguments, "--limit", "3", "--average-with", evaluated)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.splitlines()[-1] == (
        "freelm: error: mine: accuracy cannot be averaged over 3 and 4 items; evaluate all seeds "
        "on the same rows, with the same --limit"
    )
    few = tmp_path / "few"
    cli(*arguments, "--limit", "2", "--out", few)
    # What others measured differently is found before anything is.
    cli(*arguments, "--average-with", f"{evaluated},{few}").refused("averaged over 4 and 2 items")


def test_the_harness_is_asked_for_where_it_is_missing(cli, freelm_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "freelm.eval.harness.model", raising=False)
    arguments = ["eval", freelm_folder, "--harness", "lm-eval"]
    cli(*arguments, "--tasks", "rte").refused("pip install freelm[eval]")
    assert cli(*arguments, "--suite", "seen", "--tasks", "rte").code == 2
    assert cli(*arguments).code == 2


def test_interrupted_evaluation_names_the_folder_to_resume_from(cli, freelm_folder, mine, tmp_path):
    def stop(*arguments):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("freelm.judge.engine.judge_trees", stop)
        answer = cli("eval", freelm_folder, "--tasks", mine, "--out", tmp_path / "out")
    assert answer.code == 130
    assert "the same command resumes from there" in answer.err
    assert cli("eval", freelm_folder, "--tasks", mine, "--out", tmp_path / "out").code == 0


def test_damaged_weights_are_reported_and_not_cached(
    cli, freelm_folder, mine, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "freelm.judge.engine.judge_trees",
        lambda network, trees, *rest: [np.full(len(tree.leaves), np.nan) for tree in trees],
    )
    answer = cli("eval", freelm_folder, "--tasks", mine, "--out", tmp_path / "out")
    assert answer.code == 1
    left_out = r"mine: skipped: mine/test/\d: the model's verdict is not a finite number"
    assert re.search(left_out, answer.err)
    assert not list((tmp_path / "out").glob("items/*"))


def test_out_keeps_results_and_answers_and_resumes(cli, freelm_folder, mine, tmp_path, monkeypatch):
    out = tmp_path / "results"
    arguments = ["eval", freelm_folder, "--tasks", mine, "--out", out, "--json"]
    first = cli(*arguments)
    assert (out / "results.jsonl").read_text() == first.out
    assert "| mine | weather | test | accuracy |" in (out / "report.md").read_text()
    assert (out / "items" / "mine.test.first.jsonl").is_file()
    monkeypatch.setattr("freelm.judge.engine.judge_trees", None)
    assert cli(*arguments).out == first.out


# -- one folder, one model -------------------------------------------------------------------------


def test_folder_of_another_model_is_rejected_and_unchanged(
    cli, freelm_folder, tiny_base_folder, mine, evaluated
):
    before = {path: path.read_bytes() for path in evaluated.rglob("*") if path.is_file()}
    other = ["eval", tiny_base_folder, "--tasks", mine, "--out", evaluated]
    cli(*other).refused(str(evaluated), "holds the evaluation of another model", "--overwrite")
    assert {path: path.read_bytes() for path in evaluated.rglob("*") if path.is_file()} == before
    assert cli(*other, "--overwrite").code == 0
    assert not set(before) & set(evaluated.glob("items/mine.test.first.jsonl"))
    cli("eval", freelm_folder, "--tasks", mine, "--out", evaluated).refused("another model")


def test_the_answers_of_another_model_are_refused_without_facts(
    cli, tiny_base_folder, mine, evaluated
):
    (evaluated / "evaluation.json").unlink()  # an evaluation that was stopped before its end
    cli("eval", tiny_base_folder, "--tasks", mine, "--out", evaluated).refused("another model")


def test_results_of_several_suites_accumulate(cli, freelm_folder, world, tmp_path, monkeypatch):
    arguments = ["eval", freelm_folder, "--data", world, "--limit", "4", "--out", tmp_path]
    monkeypatch.setattr("sys.argv", ["freelm", "eval", "--suite", "calibration"])
    first = cli(*arguments, "--suite", "calibration", "--json").json
    monkeypatch.setattr("sys.argv", ["freelm", "eval", "--suite", "seen"])
    second = cli(*arguments, "--suite", "seen", "--json").json
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert lines == first + second
    monkeypatch.setattr("sys.argv", ["freelm", "eval", "--suite", "calibration"])
    assert cli(*arguments, "--suite", "calibration", "--json").json == first
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert lines == second + first
    report = (tmp_path / "report.md").read_text()
    assert "## Seen tasks" in report
    assert "Reliability diagram" in report
    facts = json.loads((tmp_path / "evaluation.json").read_text())
    assert facts["command"] == "freelm eval --suite calibration"
    assert facts["earlier_commands"] == ["freelm eval --suite seen"]


def test_an_empty_row_is_not_counted_as_not_measured(cli, freelm_folder, mine, tmp_path):
    with (mine.parent / "rows.csv").open("a") as file:
        file.write('"",sun\n')
    answer = cli("eval", freelm_folder, "--tasks", f"{mine},rte", "--out", tmp_path)
    assert "mine/test/4: the context is empty" in answer.err
    assert "Not measured: 1" in (tmp_path / "report.md").read_text()


def test_what_was_skipped_earlier_stays_in_the_report_until_it_is_measured(
    cli, freelm_folder, mine, tmp_path
):
    rows = (mine.parent / "rows.csv").read_text()
    arguments = ["eval", freelm_folder, "--tasks", f"{mine},rte", "--out", tmp_path]
    (mine.parent / "rows.csv").write_text("text,label\nA day,\n")
    assert cli(*arguments).code == 1
    (mine.parent / "rows.csv").write_text(rows)
    assert cli(*arguments).code == 0
    report = (tmp_path / "report.md").read_text()
    assert "rte: skipped" in report
    assert "mine: skipped" not in report


CHOICE_TEMPERATURE = 0.05
"""Far from 1, so that figures without it are others even for a model of random weights."""


@pytest.fixture
def tempered(freelm_folder, tmp_path):
    """The shared model with a temperature of choices."""
    folder = tmp_path / "tempered"
    shutil.copytree(freelm_folder, folder)
    facts = json.loads((folder / "freelm.json").read_text())
    facts["choice_temperature"] = {"two": CHOICE_TEMPERATURE, "many": 1.0}
    (folder / "freelm.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize("suite", [(), ("--suite", "calibration")])
def test_kept_answers_keep_the_temperature_of_choices(
    cli, tempered, mine, tmp_path, monkeypatch, suite
):
    arguments = ["eval", tempered, "--tasks", mine, "--json", *suite]
    fresh = cli(*arguments)
    out = tmp_path / "out"
    assert cli(*arguments, "--out", out).out == fresh.out
    monkeypatch.setattr("freelm.judge.engine.judge_trees", None)
    assert cli(*arguments, "--out", out).out == fresh.out
    lines = (out / "items" / "mine.test.first.jsonl").read_text().splitlines()[1:]
    margins = np.array([json.loads(line)["margins"] for line in lines])
    targets = np.eye(2)[[int(json.loads(line)["target"]) for line in lines]]

    def brier(temperature):
        odds = np.exp(margins / temperature)
        return np.mean((odds / odds.sum(1, keepdims=True) - targets) ** 2)

    found = [row["value"] for row in fresh.json if row["metric"] == "brier"]
    assert found[-1] == pytest.approx(brier(CHOICE_TEMPERATURE))
    assert found[-1] != pytest.approx(brier(1.0), rel=0.01)
    if suite:
        assert found[0] == pytest.approx(brier(1.0))
        assert (
            "0.050 for two of them and nearer to 1.000 the more there are"
            in (out / "report.md").read_text()
        )


def test_language_suite_resumes(cli, freelm_folder, tmp_path, world, writes_little, monkeypatch):
    arguments = ["eval", freelm_folder, "--suite", "language", "--data", world, "--limit", "3"]
    arguments += ["--seeds", "1", "--json", "--out", tmp_path / "out"]

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("freelm.api.FreeLM.generate", stop)
        answer = cli(*arguments)
    assert answer.code == 130
    assert "miniworld: 1 done" in answer.err
    assert f"answers so far are in {tmp_path / 'out'}; the same command" in answer.err
    monkeypatch.setattr("freelm.model.network.FreeLMNetwork.language_loss", None)
    first = cli(*arguments)
    assert first.code == 0
    monkeypatch.setattr("freelm.api.FreeLM.generate", None)
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
    assert "mnli: skipped: " in answer.err
    assert "wnli: skipped: " in answer.err


def test_nothing_measured_is_a_failure(cli, freelm_folder, mine):
    (mine.parent / "rows.csv").write_text("text,label\nA day,\n")
    answer = cli("eval", freelm_folder, "--tasks", mine, "--json")
    assert (answer.code, answer.out) == (1, "")
    said, error = answer.err.splitlines()
    assert said.startswith("mine: skipped: ")
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
    assert answer.err.count(": skipped: ") == len(names)
