import json
import shutil

import pytest

from freelm.compare import intervals
from freelm.compare.families import (
    family_lines,
    leave_out_families,
    run_without,
    select_families,
    taught_arm,
)
from freelm.errors import ConfigError
from freelm.train.trainer import Trainer
from tiny_compare import BUDGET, RUN, TASKS, UNSEEN, comparison, make_study, metrics, record


@pytest.fixture(scope="module")
def left_out(compared, world, tmp_path_factory):
    """The families of a comparison that was done before, in a copy of its folder."""
    out = tmp_path_factory.mktemp("families") / "out"
    shutil.copytree(compared["study"].out, out)
    arms = [arm.model_dump() for arm in compared["study"].config.arms]
    said = []
    study = make_study(out, world, say=said.append, arms=arms)
    return study, leave_out_families(study, select_families(study, [])), said


def test_each_run_is_taught_all_but_one_family_under_the_budget(left_out):
    study, results, _ = left_out
    assert [result.family for result in results] == ["topic", "entailment", "sentiment"]
    for result in results:
        run = study.out / "families" / result.family / "seed-0" / "run"
        (task,) = result.tasks
        assert task not in record(run)["tasks"]
        assert result.family not in record(run)["families"]
        assert set(record(run)["tasks"]) == set(TASKS) - {task}
        tokens = [line["tokens"] for line in metrics(run)]
        assert abs(sum(tokens) - BUDGET) <= max(tokens)
        assert result.tokens == sum(tokens)


def test_scores_are_compared_with_the_model_that_was_taught_all(left_out):
    study, results, _ = left_out
    everything = [study.measure(study.config.arms[0], 0)]
    baseline = [study.measure(study.config.arms[1], 0)]
    for result in results:
        others = [task for task in TASKS if task not in result.tasks]
        assert result.everything == intervals.score(everything, result.tasks)
        assert result.seen_everything == intervals.score(everything, others)
        assert result.baseline == intervals.score(baseline, result.tasks)
        assert result.majority == intervals.majority(everything, result.tasks)
        assert result.over_constant.value == pytest.approx(result.unseen.value - result.majority)
        assert result.unseen.low <= result.unseen.value <= result.unseen.high
        assert result.gain.value == pytest.approx(result.unseen.value - result.baseline.value)
        assert (result.failures, result.notes, result.seeds) == ([], [], 1)


def test_arms_that_were_compared_before_are_not_trained_again(left_out):
    _, _, said = left_out
    assert not [line for line in said if line.startswith("arm ")]
    assert [line for line in said if line.startswith("without ") and "seed" in line]


def test_without_such_arms_they_are_made(world, tmp_path):
    study = make_study(tmp_path, world, arms=[{"name": "one", "kind": "mixed"}])
    (result,) = leave_out_families(study, select_families(study, ["topic"]))
    assert result.everything is not None
    assert result.baseline is not None
    assert {p.name for p in (tmp_path / "arms").iterdir()} == {"all_families", "baseline"}


def test_an_arm_with_overrides_is_another_one(world, tmp_path):
    arm = {"name": "one", "kind": "alternate", "overrides": {"optimizer": {"beta1": 0.5}}}
    study = make_study(tmp_path, world, arms=[arm])
    assert taught_arm(study).name == "all_families"


def test_a_family_that_fails_loses_the_others_nothing(world, tmp_path, monkeypatch):
    own = Trainer.step

    def step(self, number):
        if self.config.name == "without_topic":
            raise RuntimeError("out of luck")
        return own(self, number)

    monkeypatch.setattr(Trainer, "step", step)
    study = make_study(tmp_path, world)
    one, other = leave_out_families(study, ["topic", "sentiment"])
    assert one.unseen is None
    assert one.failures == ["seed 0: RuntimeError: out of luck"]
    assert other.unseen is not None
    assert other.failures == []


def test_families_that_are_not_there_are_named(left_out):
    study = left_out[0]
    assert select_families(study, ["topic", "topic"]) == ["topic"]
    with pytest.raises(ConfigError, match=r"family 'topics' is not in .*did you mean 'topic'"):
        select_families(study, ["topics"])
    with pytest.raises(ConfigError, match="family 'consistency' is not in the battery"):
        select_families(study, ["consistency"])


def test_a_battery_of_one_family_cannot_lose_it(world, tmp_path):
    run = {**RUN, "teacher": {**RUN["teacher"], "tasks": ["miniworld_topic"]}}
    evaluate = {**comparison()["evaluate"], "tasks": ["miniworld_topic", UNSEEN]}
    study = make_study(tmp_path, world, run, evaluate=evaluate)
    with pytest.raises(ConfigError, match="has one family, 'topic'"):
        select_families(study, [])


def test_the_run_without_a_family_differs_in_nothing_else(left_out):
    study = left_out[0]
    run = run_without(study, "topic", 0)
    assert run.teacher.tasks == TASKS[1:]
    assert run.teacher.weights == {}
    assert run.interaction == study.base.interaction
    assert run.optimizer == study.base.optimizer


def test_there_is_a_line_a_family(left_out):
    lines = [json.loads(json.dumps(line)) for line in family_lines(left_out[1], "equal tokens")]
    assert [(line["what"], line["family"]) for line in lines] == [
        ("family", result.family) for result in left_out[1]
    ]
    assert lines[0]["unseen"]["value"] == left_out[1][0].unseen.value
