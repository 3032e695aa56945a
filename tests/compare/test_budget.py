import json
from itertools import count, repeat

import pytest

from freelm.compare import budget
from freelm.compare.budget import Planner, steps_for
from freelm.compare.config import Arm, Budget
from freelm.compare.runs import arm_config
from freelm.config import parse_config
from freelm.train.run import train
from freelm.train.schedule import turn
from tiny_compare import BUDGET, RUN, metrics

BASE = parse_config(RUN, "test")


@pytest.fixture(scope="module")
def planner(world):
    return Planner(Budget(tokens=BUDGET), world, lambda line: None)


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("language_only", None),
        ("teacher_only", None),
        ("alternate", None),
        ("mixed", None),
        ("mixed", 0.25),
        ("mixed", 0.75),
        ("sequential", None),
        ("sequential", 0.25),
        ("label_words", None),
        ("label_words_with_language", None),
    ],
)
def test_arms_get_equal_tokens_within_one_step(planner, world, tmp_path, kind, share):
    run = planner.plan(arm_config(Arm(name="one", kind=kind), BASE, 0), share, tmp_path)
    train(run, tmp_path / "run", world, say=lambda line: None)
    records = metrics(tmp_path / "run")
    tokens = [record["tokens"] for record in records]
    assert len(tokens) == run.train.num_steps
    assert abs(sum(tokens) - BUDGET) <= max(tokens)
    language = sum(record["language_tokens"] for record in records)
    if share is not None:
        assert language / sum(tokens) == pytest.approx(share, abs=0.12)
    if kind == "sequential" and share is None:
        assert language / sum(tokens) == pytest.approx(0.5, abs=0.12)


def test_tokens_are_counted_as_training_counts_them(planner, world, tmp_path):
    run = planner.plan(arm_config(Arm(name="one", kind="alternate"), BASE, 3), None, tmp_path)
    train(run, tmp_path / "run", world, say=lambda line: None)
    cost = planner._token_cost(run)
    for record in metrics(tmp_path / "run"):
        assert cost(turn(run.interaction, record["step"])) == record["tokens"]


def test_a_part_of_the_budget_is_a_part(planner, tmp_path):
    run = arm_config(Arm(name="one", kind="language_only"), BASE, 0)
    whole, part = (planner.plan(run, None, tmp_path, part) for part in (1, 2))
    assert whole.train.num_steps == round(BUDGET / 128)
    assert part.train.num_steps == round(BUDGET / 2 / 128)


@pytest.mark.parametrize(
    ("kind", "steps", "language_steps"),
    [("alternate", 40, 1), ("language_only", 100, 1), ("sequential", 50 + 13, 50)],
)
def test_a_budget_in_seconds_is_measured_in_steps(
    world, tmp_path, monkeypatch, kind, steps, language_steps
):
    def timed(config, out, data_root, say):
        """Half a second for raw text, two for tasks; the first step of each signal is slow."""
        out.mkdir(parents=True)
        names = [turn(config.interaction, step).name for step in range(config.train.num_steps)]
        lines = [
            {
                "signal": name,
                "seconds": {"language": 0.5, "teacher": 2.0}[name] if name in names[:i] else 9.0,
            }
            for i, name in enumerate(names)
        ]
        (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    monkeypatch.setattr(budget, "train", timed)
    planner = Planner(Budget(seconds=50), world, lambda line: None)
    run = planner.plan(arm_config(Arm(name="one", kind=kind), BASE, 0), None, tmp_path)
    assert (run.train.num_steps, run.interaction.language_steps) == (steps, language_steps)
    assert not (tmp_path / "pilot").exists()


def test_the_nearest_number_of_steps_is_taken_and_one_at_least():
    assert steps_for(10, repeat(3)) == 3
    assert steps_for(11, repeat(3)) == 4
    assert steps_for(1, repeat(100)) == 1
    assert steps_for(10, count(1)) == 4
