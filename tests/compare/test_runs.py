import pytest

from freelm.compare.config import Arm
from freelm.compare.runs import arm_config, restrict_tasks
from freelm.config import differing_keys, parse_config
from freelm.errors import ConfigError
from tiny_compare import RUN

BASE = parse_config(RUN, "test")


@pytest.mark.parametrize(
    ("kind", "interaction", "target"),
    [
        ("language_only", "language_only", "propositions"),
        ("teacher_only", "teacher_only", "propositions"),
        ("alternate", "alternate", "propositions"),
        ("mixed", "mixed", "propositions"),
        ("sequential", "sequential", "propositions"),
        ("label_words", "teacher_only", "label_words"),
        ("label_words_with_language", "alternate", "label_words"),
        ("per_task", "teacher_only", "label_words"),
    ],
)
def test_an_arm_is_the_base_run_but_for_its_kind_and_seed(kind, interaction, target):
    run = arm_config(Arm(name="one", kind=kind), BASE, seed=7)
    assert (run.name, run.seed) == ("one", 7)
    assert run.interaction.kind == interaction
    assert run.teacher.target == target
    decided = {"name", "seed", "interaction.kind", "teacher.target", "train.num_steps"}
    assert set(differing_keys(BASE, run)) <= decided


def test_overrides_are_an_arms_own():
    arm = Arm(name="one", kind="mixed", overrides={"optimizer": {"learning_rate": 0.5}})
    assert arm_config(arm, BASE, 0).optimizer.learning_rate == 0.5
    assert arm_config(Arm(name="two", kind="mixed"), BASE, 0).optimizer == BASE.optimizer


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train": {"num_steps": 3}}, "arm 'one': overrides: 'train.num_steps' follows from"),
        ({"seed": 3}, "'seed' follows from"),
        ({"interaction": {"kind": "mixed"}}, "'interaction.kind' follows from"),
        ({"optimizer": {"rate": 3}}, "arm 'one': optimizer.rate: unknown key"),
        ({"language": None}, "arm 'one': .*needs a language section"),
        ({"train": {"evaluate_every": 2}}, "drop evaluate_every"),
    ],
)
def test_overrides_that_cannot_be_are_named(overrides, message):
    arm = Arm(name="one", kind="label_words_with_language", overrides=overrides)
    with pytest.raises(ConfigError, match=message):
        arm_config(arm, BASE, 0)


def test_a_run_on_some_tasks_keeps_their_weights_alone():
    run = restrict_tasks(BASE, "less", ["miniworld_entailment"])
    assert (run.name, run.teacher.tasks, run.teacher.weights) == (
        "less", ["miniworld_entailment"], {},
    )  # fmt: skip
    kept = restrict_tasks(BASE, "less", ["miniworld_topic"])
    assert kept.teacher.weights == {"miniworld_topic": 0.5}
    assert parse_config(kept.model_dump(mode="json"), "again") == kept
