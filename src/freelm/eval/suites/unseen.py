"""Tasks of families that the model was never trained on.

What a model was trained on is stored with it; `freelm.eval.exposure` says what that makes unseen.
"""

from dataclasses import replace
from pathlib import Path

from freelm.api import FreeLM
from freelm.errors import DataError, InputError
from freelm.eval.exposure import why_seen
from freelm.eval.measure import Setting, evaluate_tasks, joined_notes
from freelm.eval.results import Result
from freelm.eval.sections import task_section, task_summary
from freelm.eval.suite import Suite, Tasks
from freelm.io.strict_json import read_json
from freelm.model.saving import ModelFacts
from freelm.tasks import Task, default_registry

NAME = "unseen"
TEXT = (
    "Tasks whose family is not in the training record: neither they, nor their data, nor any task "
    "like them was trained on."
)


def evaluate_unseen(model: FreeLM, tasks: Tasks, setting: Setting) -> list[Result]:
    """The figures of tasks that a model was not trained on.

    Args:
        model: The model.
        tasks: The requested tasks, of which seen ones are skipped; None means all unseen ones
            with data.
        setting: How to evaluate.

    Raises:
        InputError: If no task is left.
    """
    chosen = unseen_tasks(model.facts, setting.data_root) if tasks is None else []
    for task in tasks or ():
        if reason := why_seen(task, model.facts.record, default_registry()):
            setting.skip(f"{task.name}: skipped: it is not unseen: {reason}")
        else:
            chosen.append(task)
    if not chosen:
        raise InputError("no task is unseen: the training record has every family that has data")
    notes = {task.name: unseen_note(task, model.facts, setting.data_root) for task in chosen}
    for name, note in notes.items():
        if note:
            setting.say(f"{name}: {note}")
    return [
        replace(result, note=joined_notes(notes[result.task], result.note))
        for result in evaluate_tasks(model, chosen, setting, NAME)
    ]


def unseen_tasks(facts: ModelFacts, data_root: Path | None) -> list[Task]:
    """The shipped tasks whose data is in the data root and that are unseen.

    Raises:
        DataError: If there is no data root.
    """
    if data_root is None:
        raise DataError("the unseen suite needs a data root (--data DIR or FREELM_DATA) or --tasks")
    registry = default_registry()
    tasks = (registry.get(name) for name in registry.names())
    return [
        task
        for task in tasks
        if report_file(task, data_root) and not why_seen(task, facts.record, registry)
    ]


def report_file(task: Task, data_root: Path) -> Path | None:
    """The file of a task's report split in a data root, None where it has none."""
    folder = data_root / "teacher" / (task.source.root or task.name)
    path = folder / f"{task.report_split}.parquet"
    return path if path.is_file() else None


def unseen_note(task: Task, facts: ModelFacts, data_root: Path | None) -> str | None:
    """A caveat of a figure of an unseen task, None when there is none."""
    if not facts.record.get("tasks"):
        return "an untrained base: its own pre-training data is not known here"
    sources = _overlapping_sources(task, facts, data_root)
    if sources:
        listed = ", ".join(f"{rows} rows of {name}" for name, rows in sources.items())
        return f"some of its texts may have been trained on: {listed}"
    return None


def _overlapping_sources(task: Task, facts: ModelFacts, data_root: Path | None) -> dict[str, int]:
    """Trained task -> how many of its training rows are rows of this task's report split.

    Tasks whose overlapping rows were dropped from training, by the record, are omitted.
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


SUITE = Suite(
    name=NAME,
    title="Unseen tasks",
    measure=evaluate_unseen,
    section=lambda findings: task_section(findings, NAME, TEXT),
    summary=lambda findings: task_summary(findings, NAME, "Tasks of families it never saw"),
    order=20,
    card_heading=("Tasks of families that it never saw, in the first wording of their definition"),
)
