"""Exposure: what of a task a model has seen in training, by its own record (`freelm.json`).

A task is unseen when neither it, nor its data, nor any task of its family was trained on: skill on
a new data set of a trained family is not a general skill.
"""

from collections.abc import Mapping
from typing import Any

from freelm.errors import TaskError
from freelm.tasks import Task, TaskRegistry, default_registry

TRAINED_ON = "it was trained on"
"""The reason for a task whose own training split was trained on."""


def why_seen(task: Task, record: Mapping[str, Any], registry: TaskRegistry) -> str | None:
    """Why a task is not unseen by a model; None when it is unseen.

    Args:
        task: The task.
        record: The model's; an untrained base has none, so no task was seen.
        registry: Knows the data of the tasks in the record.
    """
    if record and "tasks" not in record:
        return "what the model was trained on is not on record"
    trained = record.get("tasks", {})
    if task.name in trained:
        return TRAINED_ON
    for name in trained:
        try:
            other = registry.get(name)
        except TaskError:
            continue  # a task of the trainer's own: its name and family are all that is known
        if _data_of(other) & _data_of(task):
            return f"its data was trained on as {name}"
    if task.family in trained_families(record, registry):
        return f"its family {task.family!r} was trained on"
    return None


def why_seen_by_name(name: str, record: Mapping[str, Any]) -> str | None:
    """As `why_seen`; of a task that is not shipped only whether it was trained on is known."""
    registry = default_registry()
    if name in registry.names():
        return why_seen(registry.get(name), record, registry)
    return TRAINED_ON if name in record.get("tasks", {}) else None


def trained_families(record: Mapping[str, Any], registry: TaskRegistry) -> set[str]:
    """The families of a record: as it names them, and as the tasks are filed today."""
    families = set(record.get("families", []))
    for name, task_facts in record.get("tasks", {}).items():
        if "family" in task_facts:
            families.add(task_facts["family"])
        if name in registry.names():
            families.add(registry.get(name).family)
    return families


def _data_of(task: Task) -> set[str]:
    """Names of the data that a task reads; two tasks that share one read the same rows."""
    names = {f"root:{task.source.root or task.name}"}
    if task.source.hub:
        names.add(f"hub:{task.source.hub.path}/{task.source.hub.config}")
    return names
