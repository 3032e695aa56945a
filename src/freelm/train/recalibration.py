"""Fit the temperatures of a trained model to rows that it was not trained on."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from freelm.data.validation_rows import draw_rows, held_out_rows, unused_split_examples
from freelm.errors import DataError, ModelError, os_reason
from freelm.judge.engine import DEFAULT_MAX_TOKENS
from freelm.judge.probabilities import option_probabilities, predicate_probabilities
from freelm.model.calibration import ChoiceTemperature, expected_calibration_error
from freelm.model.loading import load_model
from freelm.model.releases import VERDICTS_FILE, is_release, own_folder
from freelm.model.saving import FACTS_FILE, ModelFacts, read_facts, write_facts
from freelm.tasks import Example, Task, default_registry, load_rows
from freelm.tasks.sources import available_splits, overlapping_rows
from freelm.train.validation import Validation, validate

FEW_ROWS = 100
"""Below this many rows, chance outweighs what a temperature improves: with 30 rows of one task the
calibration error of the release rose from .186 to .226."""

NUM_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Temperatures:
    """Divisors of margins.

    Attributes:
        verdicts: For all margins.
        choices: Additional one for claims that compete as options.
    """

    verdicts: float
    choices: ChoiceTemperature


@dataclass(frozen=True, slots=True)
class Recalibration:
    """Fitted temperatures and what they change.

    Attributes:
        folder: The model folder that has the new temperatures; None if nothing was written.
        rows: Task -> number of its rows that were judged.
        before: The temperatures of the model so far.
        after: Those that fit the rows.
        ece_before: Mean expected calibration error over the tasks with labels, with the former.
        ece_after: The same for the latter, by cross-validation: each fold's rows are measured with
            temperatures fitted to the other folds. None, as `ece_before`, if no task has labels.
    """

    folder: Path | None
    rows: dict[str, int]
    before: Temperatures
    after: Temperatures
    ece_before: float | None
    ece_after: float | None

    @property
    def is_worse(self) -> bool:
        """Whether the cross-validated calibration error rises."""
        if self.ece_before is None or self.ece_after is None:
            return False
        return self.ece_after > self.ece_before


def recalibrate(
    name: str,
    tasks: Sequence[Task] | None,
    data_root: Path | None,
    limit: int,
    say: Callable[[str], None],
    out: Path | None = None,
    even_if_worse: bool = False,
) -> Recalibration:
    """Fit a model's temperatures to rows that are neither trained nor reported on.

    The rows come from a split that is neither; for a task without one, from the training rows that
    the run left out (all of them if it was not trained on the task).

    The order of a task's options by probability does not change, so answers do not change; only
    their probabilities do. The answer of a predicate does not change either.

    Args:
        name: Folder of a trained model, or a release.
        tasks: Tasks to fit to; None means all that the model was trained on. Tasks without such
            rows are reported and skipped.
        data_root: Where rows are.
        limit: Largest number of rows per task.
        say: Receives progress and warnings.
        out: New folder for a copy of the model with the new temperatures. Without it, only the
            model's `freelm.json` is rewritten, and a release is copied to `NAME-calibrated`.
        even_if_worse: Write temperatures even if the cross-validated calibration error rises.

    Raises:
        ModelError: If it is not a trained model, cannot be written, or `out` exists.
        DataError: If no task has such rows, or data are wrong.
    """
    source = own_folder(name)
    if not (source / FACTS_FILE).is_file():
        raise ModelError(f"{name}: no folder of a trained model (no {FACTS_FILE})")
    if out is None and is_release(name):
        out = Path(f"{name}-calibrated")
    if out is not None and out.exists():
        raise ModelError(f"{out}: exists already; give a new folder with --out")
    facts = read_facts(source)
    chosen = _trained_on(facts, say) if tasks is None else tasks
    judged = _judge(name, facts, chosen, data_root, limit, say)
    result = _compare(judged, Temperatures(facts.temperature, facts.choice_temperature), chosen)
    if (count := sum(result.rows.values())) < FEW_ROWS:
        say(
            f"only {count} rows: temperatures fitted to fewer than {FEW_ROWS} are "
            "unreliable; raise --limit or add tasks"
        )
    if result.is_worse and not even_if_worse:
        say("not written: calibration would get worse; --even-if-worse writes it all the same")
        return result
    _write(source, out, facts, result)
    return replace(result, folder=out or source)


def _compare(judged: Validation, before: Temperatures, tasks: Sequence[Task]) -> Recalibration:
    """Fit temperatures and measure them by cross-validation."""
    counts = {name: len(examples) for name, examples in judged.examples.items() if examples}
    named = {task.name: task for task in tasks}
    folds = min(NUM_FOLDS, sum(counts.values()))
    crossed = []
    for fold in range(folds if folds > 1 else 0):
        part, rest = judged.split(fold, folds)
        crossed.append((part, _fit(rest)))
    return Recalibration(
        folder=None,
        rows=counts,
        before=before,
        after=_fit(judged),
        ece_before=mean_calibration_error([(judged, before)], named),
        ece_after=mean_calibration_error(crossed, named),
    )


def mean_calibration_error(
    judged: Sequence[tuple[Validation, Temperatures]], tasks: Mapping[str, Task]
) -> float | None:
    """Mean over the tasks with labels of their expected calibration error.

    Args:
        judged: Judged rows, each with the temperatures to divide its margins by.
        tasks: Name -> task.
    """
    answers: dict[str, list[tuple[float, bool]]] = {}
    for validation, temperatures in judged:
        for name, example, margins in validation.rows():
            if example.target is not None and tasks[name].question != "score":
                shares = _label_probabilities(margins, tasks[name], temperatures)
                right = int(np.argmax(shares)) == int(example.target)
                answers.setdefault(name, []).append((float(shares.max()), right))
    errors = [expected_calibration_error(*zip(*each, strict=True)) for each in answers.values()]
    return float(np.mean(errors)) if errors else None


def _label_probabilities(margins: np.ndarray, task: Task, temperatures: Temperatures) -> np.ndarray:
    """(labels,) probabilities of a row."""
    calibrated = margins / temperatures.verdicts
    if task.question == "predicate":  # its own claim decides
        true = list(task.label.ids).index("true")
        return predicate_probabilities(calibrated[true], true)
    temperature = float(temperatures.choices.of(len(margins)))
    return option_probabilities(calibrated, temperature)


def _trained_on(facts: ModelFacts, say: Callable[[str], None]) -> list[Task]:
    registry, names = default_registry(), list(facts.record.get("tasks", {}))
    for name in names:
        if name not in registry.names():
            say(f"{name}: skipped: unknown task; give its file with --tasks")
    return [registry.get(name) for name in names if name in registry.names()]


def _examples(
    task: Task, record: Mapping[str, Any], limit: int, data_root: Path | None
) -> list[Example]:
    if unreported := unused_split_examples(task, limit, data_root):
        return unreported
    if "train" not in available_splits(task, data_root):
        return []
    rows = load_rows(task, "train", data_root)
    if task.name in record.get("tasks", {}):
        numbers = held_out_rows(rows, min(limit, record.get("validation_rows", 0)))
    else:
        numbers = draw_rows(task.name, len(rows), limit)
    reported = set(overlapping_rows(task, data_root))
    listed = rows.examples(task.training_phrasings[0], [n for n in numbers if n not in reported])
    return [example for example in listed if example.truths is not None]


def _judge(
    name: str,
    facts: ModelFacts,
    tasks: Sequence[Task],
    data_root: Path | None,
    limit: int,
    say: Callable[[str], None],
) -> Validation:
    listed: dict[str, list[Example]] = {}
    for task in tasks:
        listed[task.name] = _examples(task, facts.record, limit, data_root)
        if not listed[task.name]:
            say(f"{task.name}: skipped: all its rows are trained or reported on")
    if not any(listed.values()):
        raise DataError(
            "no task has rows that are neither trained nor reported on; choose others with --tasks"
        )
    model = load_model(name)
    judged = validate(
        model.network,
        listed,
        [task.name for task in tasks if task.question != "predicate"],
        model.facts.max_context_tokens,
        DEFAULT_MAX_TOKENS,
        "fp32",
    )
    for task_name, examples in listed.items():
        if examples:
            say(f"{task_name}: {len(examples)} rows")
    return judged


def _fit(judged: Validation) -> Temperatures:
    return Temperatures(judged.temperature(), judged.choice_temperature())


def _write(source: Path, out: Path | None, facts: ModelFacts, result: Recalibration) -> None:
    new = replace(
        facts,
        temperature=result.after.verdicts,
        choice_temperature=result.after.choices,
        record={**facts.record, "calibrated_on": result.rows},
    )
    try:
        if out is not None:  # a copy is not a release: its verdicts differ
            shutil.copytree(source, out, ignore=lambda *_: [FACTS_FILE, VERDICTS_FILE])
        write_facts(out or source, new)
    except (OSError, shutil.Error) as error:
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise ModelError(f"{out or source}: cannot be written ({reason})") from None
