"""Fitting the temperatures of a trained model anew, on rows that it has not been trained on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from freelm.data.choosing import draw_rows, kept_rows, unreported_examples
from freelm.errors import DataError, ModelError
from freelm.eval.items import Item, predictions
from freelm.eval.metrics import METRICS
from freelm.io.atomic import atomic_write
from freelm.judge.engine import DEFAULT_MAX_TOKENS
from freelm.model.calibration import ChoiceTemperature
from freelm.model.loading import load_model
from freelm.model.releases import is_release
from freelm.model.saving import FACTS_FILE, ModelFacts, read_facts
from freelm.tasks import Example, Task, default_registry, load_rows
from freelm.tasks.sources import available_splits, overlapping_rows
from freelm.train.validation import JudgedRow, Validation, validate


@dataclass(frozen=True, slots=True)
class Temperatures:
    """What margins are divided by.

    Attributes:
        verdicts: All margins.
        choices: On top of it, where claims compete.
    """

    verdicts: float
    choices: ChoiceTemperature


@dataclass(frozen=True, slots=True)
class Recalibration:
    """Temperatures fitted anew.

    Attributes:
        rows: Task -> how many of its rows were judged.
        before: The temperatures so far.
        after: Those that fit the rows.
        ece_before: Mean expected calibration error over tasks with labels, with those so far.
        ece_after: The same with new ones, each half of the rows by what was fitted on the other.
            None, as the former, where no task has labels.
    """

    rows: dict[str, int]
    before: Temperatures
    after: Temperatures
    ece_before: float | None
    ece_after: float | None


def recalibrate(
    folder: Path,
    tasks: Sequence[Task] | None,
    data_root: Path | None,
    limit: int,
    say: Callable[[str], None],
) -> Recalibration:
    """Fit a model's temperatures on rows that are neither trained nor reported on.

    Those are of a split that is neither; where a task has none, training rows that the run left
    out (all of them, if it was not trained on the task).

    The order of a task's options by probability does not change, so no answer does; only how sure
    of it the model is. A predicate's answer does not change either.

    Args:
        folder: Of a trained model; only its `freelm.json` is written.
        tasks: By which; None means all that it was trained on. One without such rows is told of
            and left out.
        data_root: Where rows are.
        limit: Rows of a task at most.
        say: Told what is done.

    Raises:
        ModelError: If it is no trained model or cannot be written.
        DataError: If no task has rows for it, or data are wrong.
    """
    if is_release(str(folder)):
        raise ModelError(
            f"{folder}: a release stays as it is; write it to a folder of yours first: "
            f"freelm export {folder} --out DIR"
        )
    if not (folder / FACTS_FILE).is_file():
        raise ModelError(f"{folder}: no folder of a trained model (no {FACTS_FILE})")
    facts = read_facts(folder)
    chosen = _trained_on(facts, say) if tasks is None else tasks
    judged = _judge(folder, facts, chosen, data_root, limit, say)
    before = Temperatures(facts.temperature, facts.choice_temperature)
    after = _fit(judged)
    named = {task.name: task for task in chosen}
    halves = judged[::2], judged[1::2]
    crossed = [(halves[0], _fit(halves[1])), (halves[1], _fit(halves[0]))] if halves[1] else []
    counts = {name: sum(row.task == name for row in judged) for name in named}
    rows = {name: count for name, count in counts.items() if count}
    record = {**facts.record, "calibrated_on": rows}
    new = replace(
        facts, temperature=after.verdicts, choice_temperature=after.choices, record=record
    )
    _write(folder, new)
    return Recalibration(
        rows,
        before,
        after,
        mean_calibration_error([(judged, before)], named),
        mean_calibration_error(crossed, named),
    )


def mean_calibration_error(
    judged: Sequence[tuple[Sequence[JudgedRow], Temperatures]], tasks: dict[str, Task]
) -> float | None:
    """Mean over tasks with labels of their expected calibration error.

    Args:
        judged: Rows, with the temperatures that their margins are divided by.
        tasks: Name -> task.
    """
    items: dict[str, list[Item]] = {}
    for rows, by in judged:
        for row in rows:
            target, margins = row.example.target, (row.margins / by.verdicts).tolist()
            if target is not None and tasks[row.task].question != "score":
                divisor = float(by.choices.of(len(margins)))
                item = Item(row.example.id, float(target), margins, "", divisor)
                items.setdefault(row.task, []).append(item)
    errors = [
        METRICS["ece"](predictions(tasks[name], listed)["ece"]) for name, listed in items.items()
    ]
    return float(np.mean(errors)) if errors else None


def _trained_on(facts: ModelFacts, say: Callable[[str], None]) -> list[Task]:
    registry, names = default_registry(), list(facts.record.get("tasks", {}))
    for name in names:
        if name not in registry.names():
            say(f"{name}: left out: no such task is known here; give its file with --tasks")
    return [registry.get(name) for name in names if name in registry.names()]


def _examples(
    task: Task, record: Mapping[str, Any], limit: int, data_root: Path | None
) -> list[Example]:
    if unreported := unreported_examples(task, limit, data_root):
        return unreported
    if "train" not in available_splits(task, data_root):
        return []
    rows = load_rows(task, "train", data_root)
    if task.name in record.get("tasks", {}):
        numbers = kept_rows(rows, min(limit, record.get("validation_rows", 0)))
    else:
        numbers = draw_rows(task.name, len(rows), limit)
    reported = set(overlapping_rows(task, data_root))
    listed = rows.examples(task.training_phrasings[0], [n for n in numbers if n not in reported])
    return [example for example in listed if example.truths is not None]


def _judge(
    folder: Path,
    facts: ModelFacts,
    tasks: Sequence[Task],
    data_root: Path | None,
    limit: int,
    say: Callable[[str], None],
) -> list[JudgedRow]:
    listed = {}
    for task in tasks:
        listed[task.name] = _examples(task, facts.record, limit, data_root)
        if not listed[task.name]:
            say(f"{task.name}: left out: has no rows beside those trained and reported on")
    if not any(listed.values()):
        raise DataError("no task has rows beside those trained and reported on; see --tasks")
    model = load_model(str(folder))
    judged: list[JudgedRow] = []
    for task in tasks:
        judged += validate(
            model.network,
            {task.name: listed[task.name]},
            [] if task.question == "predicate" else [task.name],
            model.facts.max_context_tokens,
            DEFAULT_MAX_TOKENS,
            "fp32",
        ).rows
        if listed[task.name]:
            say(f"{task.name}: {len(listed[task.name])} rows")
    return judged


def _fit(rows: list[JudgedRow]) -> Temperatures:
    validation = Validation(rows)
    return Temperatures(validation.temperature(), validation.choice_temperature())


def _write(folder: Path, facts: ModelFacts) -> None:
    try:
        atomic_write(folder / FACTS_FILE, json.dumps(asdict(facts), indent=1) + "\n")
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written ({error.strerror})") from None
