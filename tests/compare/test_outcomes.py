import json

import pytest

from freelm.compare import intervals
from freelm.compare.measure import SeedResult
from freelm.compare.outcomes import arm_lines, as_jsonl, compare_arms, run_seeds, score_name
from freelm.errors import DataError
from freelm.train.folder import code_version
from freelm.train.run import Interrupted
from freelm.train.trainer import Trainer
from tiny_compare import TASKS, UNSEEN, make_study


def test_a_seed_that_fails_loses_the_others_nothing():
    def measure(seed):
        if seed == 1:
            raise DataError("no such row")
        if seed == 2:
            raise ZeroDivisionError
        return SeedResult([], [], steps=seed)

    said = []
    outcome = run_seeds("arm one", [0, 1, 2, 3], measure, said.append)
    assert [run.steps for run in outcome.runs] == [0, 3]
    assert outcome.failures == [
        "seed 1: no such row",
        "seed 2: ZeroDivisionError: ZeroDivisionError",
    ]
    assert said[0] == "arm one: failed: seed 1: no such row"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Interrupted])
def test_an_interruption_is_no_failure(stop):
    def measure(seed):
        raise stop

    with pytest.raises(stop):
        run_seeds("arm one", [0, 1], measure, lambda line: None)


def test_an_arm_that_fails_loses_the_others_nothing(world, tmp_path, monkeypatch):
    own = Trainer.step

    def step(self, number):
        if self.config.name == "first":
            raise RuntimeError("out of luck")
        return own(self, number)

    monkeypatch.setattr(Trainer, "step", step)
    arms = [{"name": "first", "kind": "mixed"}, {"name": "second", "kind": "language_only"}]
    first, second = compare_arms(make_study(tmp_path, world, arms=arms))
    assert (first.seen, first.seeds) == (None, 0)
    assert first.failures == ["seed 0: RuntimeError: out of luck"]
    assert "failed: seed 0: RuntimeError: out of luck" in first.notes
    assert second.seen is not None
    assert second.against_first is None
    assert second.failures == []


def test_results_hold_the_figures_of_their_runs(compared):
    study, results = compared["study"], compared["results"]
    first = [study.measure(results[0].arm, 0)]
    for result in results:
        runs = [study.measure(result.arm, 0)]
        assert result.seen == intervals.score(runs, TASKS)
        assert result.unseen == intervals.score(runs, [UNSEEN])
        assert result.perplexity == intervals.perplexity(runs)
        assert result.seen_gain == intervals.over_constant(runs, TASKS)
        assert result.unseen_gain == intervals.over_constant(runs, [UNSEEN])
        assert result.code[-1] == code_version()
        assert (result.seeds, result.failures) == (1, [])
        if result is not results[0]:
            assert result.against_first == intervals.difference(runs, first, TASKS)
    assert results[0].against_first is None
    assert score_name(results) == "accuracy"


def test_several_seeds_are_averaged(world, tmp_path):
    arms = [{"name": "text", "kind": "language_only"}]
    (result,) = compare_arms(make_study(tmp_path, world, arms=arms, seeds=[0, 1]))
    assert result.seeds == 2
    assert result.seen.spread is not None
    one, other = (tmp_path / "arms/text" / f"seed-{seed}" / "run" for seed in (0, 1))
    assert (one / "config.yaml").read_text() != (other / "config.yaml").read_text()
    values = [
        sum(t.value for t in run.tasks if t.task in TASKS) / 3
        for run in (
            make_study(tmp_path, world, arms=arms, seeds=[0, 1]).measure(result.arm, s)
            for s in (0, 1)
        )
    ]
    assert result.seen.value == pytest.approx(sum(values) / 2)


def test_lines_name_arms_and_tasks(compared):
    results = compared["results"]
    text = as_jsonl(arm_lines(results, "equal tokens"))
    lines = [json.loads(line) for line in text.splitlines()]
    arms = [line for line in lines if line["what"] == "arm"]
    assert [line["arm"] for line in arms] == [result.arm.name for result in results]
    for line, result in zip(arms, results, strict=True):
        assert line["budget"] == "equal tokens"
        assert line["kind"] == result.arm.kind
        assert line["seen"]["value"] == result.seen.value
        assert line["tokens"] == result.tokens
    tasks = [line for line in lines if line["what"] == "task" and line["arm"] == "alternate"]
    assert [line["task"] for line in tasks] == [*TASKS, UNSEEN]
    assert [line["is_seen"] for line in tasks] == [True, True, True, False]
    assert all(line["low"] <= line["value"] <= line["high"] for line in tasks)
