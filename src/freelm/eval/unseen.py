"""The unseen suite: tasks of families that a model's training record does not contain.

What a model was trained on travels with it (`freelm.json`). A task is unseen when neither it, nor
its data, nor any task of its family was trained on; skill on a new data set of a trained family is
the family's, not general skill.
"""

from dataclasses import replace
from pathlib import Path

from freelm.errors import DataError, InputError, TaskError
from freelm.eval.results import Result
from freelm.eval.suites import Setting, evaluate_tasks, joined_notes
from freelm.inference.predictor import FreeLM
from freelm.model.saving import ModelFacts
from freelm.tasks import Task, TaskRegistry, default_registry
from freelm.tasks.sources import read_json


def evaluate_unseen(model: FreeLM, tasks: list[Task] | None, setting: Setting) -> list[Result]:
    """The figures of tasks that a model was not trained on.

    A task that was asked for and is not unseen is told of, with the reason, and left out.

    Args:
        model: The model.
        tasks: Tasks that were asked for; None means all unseen ones with data.
        setting: Where data is and whom to tell.

    Raises:
        InputError: If no task is left.
    """
    chosen = unseen_tasks(model.facts, setting.data_root) if tasks is None else []
    for task in tasks or []:
        reason = why_seen(task, model.facts, default_registry())
        if reason:
            setting.say(f"{task.name}: left out: it is not unseen: {reason}")
        else:
            chosen.append(task)
    if not chosen:
        raise InputError("no task is unseen: the training record has every family that has data")
    notes = {task.name: unseen_note(task, model.facts, setting.data_root) for task in chosen}
    for name, note in notes.items():
        if note:
            setting.say(f"{name}: {note}")
    results = evaluate_tasks(model, chosen, setting, "unseen")
    return [
        replace(result, note=joined_notes(notes[result.task], result.note)) for result in results
    ]


def unseen_tasks(facts: ModelFacts, data_root: Path | None) -> list[Task]:
    """The shipped tasks whose data is in the data root and that are unseen.

    Raises:
        DataError: If there is no data root.
    """
    if data_root is None:
        raise DataError("the unseen suite needs a data root (--data DIR or FREELM_DATA) or --tasks")
    registry = default_registry()
    tasks = [registry.get(name) for name in registry.names()]
    return [t for t in tasks if report_file(t, data_root) and not why_seen(t, facts, registry)]


def why_seen(task: Task, facts: ModelFacts, registry: TaskRegistry) -> str | None:
    """Why a task is not unseen by a model; None when it is unseen.

    Args:
        task: The task.
        facts: The model's; an untrained base has no record, hence every task is unseen by it.
        registry: Knows the data of the tasks in the record.
    """
    trained = facts.record.get("tasks", {})
    if task.name in trained:
        return "it was trained on"
    for name in trained:
        try:
            other = registry.get(name)
        except TaskError:
            continue  # a task of the trainer's own: its name and family are all that is known
        if _data_of(other) & _data_of(task):
            return f"its data was trained on as {name}"
    if task.family in trained_families(facts, registry):
        return f"its family {task.family!r} was trained on"
    return None


def trained_families(facts: ModelFacts, registry: TaskRegistry) -> set[str]:
    """The families of a record: as it names them, and as the tasks are filed today."""
    families = set(facts.record.get("families", []))
    for name, task_facts in facts.record.get("tasks", {}).items():
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


def report_file(task: Task, data_root: Path) -> Path | None:
    """The file of a task's report split in a data root, None where it has none."""
    folder = data_root / "teacher" / (task.source.root or task.name)
    path = folder / f"{task.report_split}.parquet"
    return path if path.is_file() else None


def unseen_note(task: Task, facts: ModelFacts, data_root: Path | None) -> str | None:
    """What must be said of a figure of an unseen task; None when nothing must."""
    if not facts.record.get("tasks"):
        return "an untrained base: its own pre-training data is not known here"
    sources = _overlapping_sources(task, facts, data_root)
    if sources:
        listed = ", ".join(f"{rows} rows of {name}" for name, rows in sources.items())
        return f"some of its texts may have been trained on: {listed}"
    return None


def _overlapping_sources(task: Task, facts: ModelFacts, data_root: Path | None) -> dict[str, int]:
    """Trained task -> its training rows that are rows of this task's report split.

    Tasks whose overlapping rows were dropped from training, by the record, are not named.
    """
    if data_root is None or not (data_root / "overlaps.json").is_file():
        return {}
    ours = f"teacher/{task.source.root or task.name}/{task.report_split}.parquet"
    dropped = facts.record.get("overlaps_dropped", {})
    registry, found = default_registry(), {}
    listed = read_json(data_root / "overlaps.json").get("overlaps", [])
    for name in facts.record["tasks"]:
        root = registry.get(name).source.root if name in registry.names() else None
        train_file = f"teacher/{root or name}/train.parquet"
        rows = sum(
            overlap["rows"]
            for overlap in listed
            if overlap["evaluation_file"] == ours and overlap["train_file"] == train_file
        )
        if rows and not dropped.get(name):
            found[name] = rows
    return found
