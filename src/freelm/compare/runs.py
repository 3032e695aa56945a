"""The run configuration of an arm: the base run with the changes that define the arm."""

from typing import Any

from freelm.compare.config import Arm, merge_settings
from freelm.config import RunConfig, parse_config
from freelm.errors import ConfigError
from freelm.tasks import default_registry

DERIVED = (("name",), ("seed",), ("interaction", "kind"), ("train", "num_steps"))
"""Keys that follow from arm, seed and budget; overrides must not set them."""


def arm_config(arm: Arm, base: RunConfig, seed: int) -> RunConfig:
    """The run of a trained arm; `Planner` still has to set its number of steps.

    Raises:
        ConfigError: If an override is invalid, or the arm needs a signal that the base run lacks.
    """
    where = f"arm {arm.name!r}"
    for path in DERIVED:
        value: Any = arm.overrides
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            raise ConfigError(
                f"{where}: overrides: {'.'.join(path)!r} follows from arm, seeds and budget"
            )
    settings = base.model_dump(mode="json")
    for changes in (arm.overrides, {"name": arm.name, "seed": seed}, _kind_settings(arm, base)):
        settings = merge_settings(settings, changes)
    return parse_config(settings, where)


def _kind_settings(arm: Arm, base: RunConfig) -> dict[str, Any]:
    match arm.kind:
        case "sequential":  # the budget replaces both numbers
            return {
                "interaction": {"kind": "sequential", "language_steps": 1},
                "train": {"num_steps": 2},
            }
        case "label_words" | "per_task":
            return {"interaction": {"kind": "teacher_only"}, "teacher": {"target": "label_words"}}
        case "label_words_with_language":
            both = base.interaction.kind in ("alternate", "mixed")
            kind = base.interaction.kind if both else "alternate"
            return {"interaction": {"kind": kind}, "teacher": {"target": "label_words"}}
    return {"interaction": {"kind": arm.kind}}


def restrict_tasks(run: RunConfig, name: str, tasks: list[str]) -> RunConfig:
    """The same run on some of its tasks.

    Args:
        run: A run with a teacher signal.
        name: Its new name.
        tasks: Tasks to train on, as the run's configuration names them.
    """
    assert run.teacher is not None
    names = {task.name for task in default_registry().get_all(tasks)}
    weights = {name: factor for name, factor in run.teacher.weights.items() if name in names}
    teacher = run.teacher.model_copy(update={"tasks": tasks, "weights": weights})
    return run.model_copy(update={"name": name, "teacher": teacher})
