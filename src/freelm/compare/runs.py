"""The runs of an arm: the base run's configuration with what makes the arm what it is."""

from typing import Any

from freelm.compare.config import Arm, merged
from freelm.config import RunConfig, parse_config
from freelm.errors import ConfigError
from freelm.tasks import default_registry

BOTH = ("alternate", "mixed")
"""Interactions in which both signals go on from the first step to the last."""

SET_HERE = (("name",), ("seed",), ("interaction", "kind"), ("train", "num_steps"))
"""Keys that follow from the arm, its seed and the budget, and that no override may set."""


def arm_run(arm: Arm, base: RunConfig, seed: int) -> RunConfig:
    """The run of a trained arm; its number of steps is still to be found.

    Raises:
        ConfigError: If the arm's overrides are wrong, or a signal that it needs is not there.
    """
    where = f"arm {arm.name!r}"
    _refuse_overrides(arm, where)
    settings = merged(base.model_dump(mode="json"), arm.overrides)
    settings = merged(settings, {"name": arm.name, "seed": seed})
    return parse_config(merged(settings, _of_kind(arm, base)), where)


def _refuse_overrides(arm: Arm, where: str) -> None:
    for path in SET_HERE:
        place: Any = arm.overrides
        for key in path:
            place = place.get(key) if isinstance(place, dict) else None
        if place is not None:
            key = ".".join(path)
            raise ConfigError(f"{where}: overrides: {key!r} follows from arm, seeds and budget")


def _of_kind(arm: Arm, base: RunConfig) -> dict[str, Any]:
    """What the kind of an arm changes in the base run."""
    if arm.kind == "sequential":
        # Placeholders: the budget decides both.
        return {
            "interaction": {"kind": "sequential", "language_steps": 1},
            "train": {"num_steps": 2},
        }
    if arm.kind in ("label_words", "per_task"):
        return {"interaction": {"kind": "teacher_only"}, "teacher": {"target": "label_words"}}
    if arm.kind == "label_words_with_language":
        kind = base.interaction.kind if base.interaction.kind in BOTH else "alternate"
        return {"interaction": {"kind": kind}, "teacher": {"target": "label_words"}}
    return {"interaction": {"kind": arm.kind}}


def with_tasks(run: RunConfig, name: str, tasks: list[str]) -> RunConfig:
    """The same run on some of its tasks.

    Args:
        run: A run with a teacher signal.
        name: Its new name.
        tasks: Those of its tasks that are kept, as its configuration names them.
    """
    assert run.teacher is not None
    kept = {task.name for task in default_registry().get_all(tasks)}
    weights = {name: factor for name, factor in run.teacher.weights.items() if name in kept}
    teacher = run.teacher.model_copy(update={"tasks": tasks, "weights": weights})
    return run.model_copy(update={"name": name, "teacher": teacher})
