import json
import shutil

import pyarrow.parquet as pq
import pytest
import yaml

import tiny_runs
from freelm.api import FreeLM
from freelm.compare.in_context import draw_demonstrations, longest_question, tokenize
from freelm.compare.measure import SeedResult
from freelm.compare.study import study_tasks
from freelm.data.label_word_form import plain_form
from freelm.errors import ConfigError, DataError, TaskError
from freelm.judge.engine import DEFAULT_MAX_CONTEXT_TOKENS
from freelm.train.trainer import Trainer
from tiny_compare import BUDGET, RUN, TASKS, UNSEEN, comparison, make_study, metrics, record

TRAINED = ("alternate", "language_only", "mixed-50", "label_words")


def run_folder(study, arm):
    return study.out / "arms" / arm / "seed-0" / "run"


def figures(measured: SeedResult):
    """What was measured, without times."""
    tasks = [(t.task, t.metric, [c.tolist() for c in t.columns]) for t in measured.tasks]
    return tasks, [t.nats.tolist() for t in measured.text], measured.tokens, measured.steps


def test_every_trained_arm_spends_the_budget(compared):
    study = compared["study"]
    for arm in TRAINED:
        tokens = [line["tokens"] for line in metrics(run_folder(study, arm))]
        assert abs(sum(tokens) - BUDGET) <= max(tokens)


def test_models_per_task_share_the_budget(compared):
    study, spent = compared["study"], 0
    for task in TASKS:
        run = study.out / "arms" / "per_task" / "seed-0" / task / "run"
        tokens = [line["tokens"] for line in metrics(run)]
        assert abs(sum(tokens) - BUDGET / 3) <= max(tokens)
        assert list(record(run)["tasks"]) == [task]
        assert record(run)["target"] == "label_words"
        spent += sum(tokens)
    (result,) = (r for r in compared["results"] if r.arm.name == "per_task")
    assert result.tokens == spent
    assert {figure.task for figure in result.tasks} == set(TASKS)
    assert result.unseen is None


def test_arms_train_on_the_signals_of_their_kind(compared):
    study = compared["study"]
    assert record(run_folder(study, "language_only"))["tasks"] == {}
    assert record(run_folder(study, "label_words"))["corpora"] == []
    assert study.measure(study.config.arms[1], 0).notes == [
        "judged by verdicts that it was not trained on"
    ]
    assert set(record(run_folder(study, "label_words"))["tasks"]) == set(TASKS)
    both = record(run_folder(study, "mixed-50"))
    assert both["language_tokens"] / BUDGET == pytest.approx(0.5, abs=0.15)


def test_in_context_learning_asks_the_model_of_raw_text_with_training_rows(compared):
    study = compared["study"]
    for shots in (0, 9):
        folder = study.out / "arms" / f"in_context-{shots}" / "seed-0"
        assert not (folder / "run").exists()
        for path in (folder / "items").glob("*.jsonl"):
            key = json.loads(path.read_text().splitlines()[0])["key"]
            assert len(key["shots"]) <= shots
            assert all(row.startswith(f"{key['task']}/train/") for row in key["shots"])
            assert key["split"] == "test"
    results = {r.arm.name: r for r in compared["results"]}
    assert results["in_context-9"].tokens == results["language_only"].tokens
    assert "uses the model of language_only" in results["in_context-9"].notes


def test_demonstrations_that_do_not_fit_are_reported(compared):
    (result,) = (r for r in compared["results"] if r.arm.name == "in_context-9")
    cut = [note for note in result.notes if "of 9 demonstrations fit the window of 256" in note]
    assert cut
    assert set(cut) <= set(compared["said"])


def test_number_of_demonstrations_that_fit_is_noted(compared):
    study = compared["study"]
    results = {r.arm.name: r for r in compared["results"]}
    folder = study.out / "arms" / "in_context-9" / "seed-0" / "items"
    shown = [
        len(json.loads(p.read_text().splitlines()[0])["key"]["shots"]) for p in folder.iterdir()
    ]
    assert len(shown) == len([*TASKS, UNSEEN])
    mean = sum(shown) / len(shown)
    assert 0 < mean < 9
    told = f"{mean:.1f} of 9 demonstrations per task fit the window of 256 tokens (mean)"
    assert told in results["in_context-9"].notes
    assert not any("demonstrations" in note for note in results["in_context-0"].notes)


def test_demonstrations_get_what_the_longest_question_leaves_of_the_window(compared, monkeypatch):
    """The text itself is read as far as in every other arm, whatever training cut it to."""
    study = compared["study"]
    arm = study.config.arms[6]
    model = FreeLM.from_pretrained(run_folder(study, "language_only") / "model")
    network = model.model.network
    task, form = study.tasks.all[0], plain_form(network.form)
    judge, shots = study._in_context_judge(arm, 0, task, model)
    assert (
        judge.max_context_tokens
        == DEFAULT_MAX_CONTEXT_TOKENS
        > RUN["teacher"]["max_context_tokens"]
    )
    examples = study.evaluator.label_word_examples(task)[1]
    question = longest_question(examples, form, DEFAULT_MAX_CONTEXT_TOKENS)
    assert len(shots.ids) + question <= network.max_positions
    drawn = draw_demonstrations(study.base, task.name, arm.shots, study.data_root)
    all_of_them = tokenize(drawn, form, RUN["teacher"]["max_context_tokens"])
    following = all_of_them[len(shots.rows)]
    assert len(shots.ids) + len(following.ids) + question > network.max_positions


def test_what_is_done_is_not_done_again(compared, monkeypatch):
    study = compared["study"]
    monkeypatch.setattr(Trainer, "step", None)
    monkeypatch.setattr(FreeLM, "from_pretrained", None)
    for result in compared["results"]:
        assert figures(study.measure(result.arm, 0))


@pytest.mark.parametrize("arm", [0, 3])
def test_interrupted_arm_resumes_to_the_same_result(compared, world, tmp_path, monkeypatch, arm):
    straight = compared["study"]
    study = make_study(tmp_path, world, arms=[a.model_dump() for a in straight.config.arms])
    own = Trainer.step

    def step(self, number):
        if number == 3:
            raise KeyboardInterrupt
        return own(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        with pytest.raises(KeyboardInterrupt):
            study.measure(study.config.arms[arm], 0)
    again = make_study(tmp_path, world, arms=[a.model_dump() for a in straight.config.arms])
    found = again.measure(again.config.arms[arm], 0)
    assert figures(found) == figures(straight.measure(straight.config.arms[arm], 0))
    name = straight.config.arms[arm].name
    tiny_runs.same_run(run_folder(again, name), run_folder(straight, name))


def test_other_settings_in_a_used_folder_are_refused(compared, world, tmp_path):
    shutil.copytree(compared["study"].out, tmp_path / "copy")
    study = make_study(tmp_path / "copy", world, budget={"tokens": BUDGET + 900})
    with pytest.raises(ConfigError, match="another configuration or budget; use --out"):
        study.measure(study.config.arms[0], 0)


def test_another_limit_measures_again_without_training(compared, world, tmp_path, monkeypatch):
    shutil.copytree(compared["study"].out, tmp_path / "copy")
    evaluate = {**comparison()["evaluate"], "limit": 5}
    study = make_study(tmp_path / "copy", world, evaluate=evaluate)
    monkeypatch.setattr(Trainer, "step", None)
    assert {len(t) for t in study.measure(study.config.arms[0], 0).tasks} == {5}


def own_root(world, folder):
    """A copy of the data with a manifest, and a study of one arm on it that was measured."""
    root = shutil.copytree(world, folder / "root")
    (root / "MANIFEST.json").write_text('{"files": []}')
    arms = [{"name": "alternate", "kind": "alternate"}]
    study = make_study(folder / "out", root, arms=arms)
    study.measure(study.config.arms[0], 0)
    return root, lambda: make_study(folder / "out", root, arms=arms)


def test_another_state_of_the_data_is_measured_again(world, tmp_path, monkeypatch):
    root, again = own_root(world, tmp_path)
    folder = tmp_path / "out" / "arms" / "alternate" / "seed-0"
    kept = (folder / "measured.json").read_text()
    monkeypatch.setattr(Trainer, "step", None)
    again().measure(again().config.arms[0], 0)
    assert (folder / "measured.json").read_text() == kept
    # Its rows are others, and the kept answers to the old ones are in nobody's way.
    path = root / "teacher" / "miniworld_topic" / "test.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(list(range(table.num_rows))[::-1]), path)
    (root / "MANIFEST.json").write_text('{"files": [1]}')
    found = again().measure(again().config.arms[0], 0)
    assert json.loads(kept)["key"] != json.loads((folder / "measured.json").read_text())["key"]
    before = {task["task"]: task["columns"] for task in json.loads(kept)["tasks"]}
    after = {task.task: [column.tolist() for column in task.columns] for task in found.tasks}
    assert {task for task in before if before[task] != after[task]} <= {"miniworld_topic"}


def test_a_root_that_moved_is_the_same_data(world, tmp_path, monkeypatch):
    root, _ = own_root(world, tmp_path)
    root.rename(tmp_path / "moved")
    arms = [{"name": "alternate", "kind": "alternate"}]
    study = make_study(tmp_path / "out", tmp_path / "moved", arms=arms)
    monkeypatch.setattr(FreeLM, "from_pretrained", None)
    assert study.measure(study.config.arms[0], 0).tasks


def test_a_model_that_learned_from_other_data_is_refused(world, tmp_path):
    root, again = own_root(world, tmp_path)
    path = root / "teacher" / "miniworld_topic" / "train.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, table.num_rows - 1), path)
    (root / "MANIFEST.json").write_text('{"files": [1]}')
    with pytest.raises(
        DataError, match=r"train\.parquet: has changed since the run in .* use --out"
    ):
        again().measure(again().config.arms[0], 0)


def test_cache_of_an_earlier_version_is_measured_again(compared, world, tmp_path, monkeypatch):
    shutil.copytree(compared["study"].out, tmp_path / "copy")
    arms = [arm.model_dump() for arm in compared["study"].config.arms]
    study = make_study(tmp_path / "copy", world, arms=arms)
    monkeypatch.setattr(Trainer, "step", None)
    for arm in (study.config.arms[0], study.config.arms[-1]):
        folder = tmp_path / "copy" / "arms" / arm.name / "seed-0"
        facts = json.loads((folder / "measured.json").read_text())
        for task in facts["tasks"]:
            task.pop("constant")
            task["majority"] = 0.5
        facts.pop("code")
        (folder / "measured.json").write_text(json.dumps({**facts, "key": "0"}))
        # Its rows stood in another order.
        for path in (folder / "items").glob("*.jsonl"):
            head, *lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join([head, *lines[::-1]]))
        found = study.measure(arm, 0)
        assert figures(found) == figures(compared["study"].measure(arm, 0))
        assert found.code


def test_the_plan_is_the_run_that_was_trained(compared):
    folder = compared["study"].out / "arms" / "mixed-50" / "seed-0"
    plan = yaml.safe_load((folder / "plan.yaml").read_text())["run"]
    assert plan == yaml.safe_load((folder / "run" / "config.yaml").read_text())


def test_arms_cannot_start_from_what_was_taught(world, tmp_path, tiny_base_folder):
    lora = {"rank": 2, "alpha": 2, "start": "runs/taught/model"}
    run = {**RUN, "model": {"base": str(tiny_base_folder), "lora": lora}}
    with pytest.raises(ConfigError, match=r"drop model\.lora\.start"):
        make_study(tmp_path, world, run)


def test_an_untrained_base_is_an_arm_and_learns_in_context(world, tmp_path, tiny_base_folder):
    run = {**RUN, "model": {"base": str(tiny_base_folder), "lora": {"rank": 2, "alpha": 2}}}
    arms = [
        {"name": "untrained", "kind": "untrained"},
        {"name": "shown", "kind": "in_context", "shots": 1},
        {"name": "text", "kind": "language_only"},
    ]
    study = make_study(tmp_path, world, run, arms=arms)
    one, other, text = (study.measure(arm, 0) for arm in study.config.arms)
    # What was taught raw text alone has no verdicts: it is asked as the base is.
    assert text.notes[0].startswith("prompts, chosen on training rows: miniworld_topic")
    assert text.tokens > 0
    assert (one.tokens, other.tokens, one.steps) == (0, 0, 0)
    assert "prompts, chosen on training rows: miniworld_topic" in one.notes[0]
    assert [t.task for t in one.tasks] == [t.task for t in other.tasks] == [*TASKS, UNSEEN]
    assert one.text[0].nats == pytest.approx(other.text[0].nats)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"arms": [{"name": "u", "kind": "untrained"}]}, ConfigError, "starts from random weights"),
        (
            {"arms": [{"name": "s", "kind": "in_context", "shots": 1}]},
            ConfigError,
            "needs a base, or an arm of kind language_only",
        ),
        (
            {"arms": [{"name": "o", "kind": "mixed", "overrides": {"train": {"x": 1}}}]},
            ConfigError,
            "arm 'o': train.x: unknown key",
        ),
        (
            {"evaluate": {"tasks": [*TASKS, "miniworld_topics"]}},
            TaskError,
            "unknown task 'miniworld_topics'; did you mean 'miniworld_topic'",
        ),
        ({"evaluate": {"tasks": [*TASKS, "ag_news"]}}, ConfigError, "its family 'topic' was train"),
        ({"evaluate": {"tasks": [UNSEEN]}}, ConfigError, "none of them is in the battery"),
        ({"evaluate": {"tasks": [*TASKS, "wic"]}}, DataError, "wic"),
        ({"evaluate": {"corpus": "novels"}}, DataError, "no such corpus"),
    ],
)
def test_what_cannot_be_is_found_before_anything_is_trained(
    world, tmp_path, changes, kind, message, monkeypatch
):
    monkeypatch.setattr(Trainer, "step", None)
    with pytest.raises(kind, match=message):
        make_study(tmp_path, world, **changes)


def test_without_tasks_the_battery_is_measured(compared):
    config = compared["study"].config.model_copy(
        update={"evaluate": compared["study"].config.evaluate.model_copy(update={"tasks": None})}
    )
    found = study_tasks(config, compared["study"].base)
    assert [task.name for task in found.seen] == TASKS
    assert found.unseen == []
