"""The two signals of a run, built from its configuration and data root."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from freelm.config import RunConfig, TeacherConfig
from freelm.data.teacher import TeacherSignal, Variation
from freelm.data.text import (
    LanguageSignal,
    corpus_file,
    load_token_stream,
    read_documents,
)
from freelm.data.validation_rows import held_out_rows, unused_split_examples
from freelm.errors import ConfigError, DataError
from freelm.model.adapters import ADAPTER_FILE
from freelm.model.releases import own_folder
from freelm.tasks import Example, Rows, default_registry, load_rows
from freelm.tasks.label_word_task import label_word_task
from freelm.tasks.sources import overlapping_rows


@dataclass(frozen=True)
class Battery:
    """The teacher's tasks with their rows.

    Attributes:
        train: Training rows of each task.
        excluded: Task -> training rows that are not used (overlaps, validation rows, no label).
        overlaps: Task -> how many of these are evaluation rows of another task.
        validation: Task -> validation examples, in the first training phrasing.
    """

    train: list[Rows]
    excluded: dict[str, list[int]]
    overlaps: dict[str, int]
    validation: dict[str, list[Example]]


def load_battery(config: TeacherConfig, data_root: Path | None) -> Battery:
    """Load the rows of a battery and set aside the validation rows.

    Raises:
        TaskError, DataError: If a task or its data is unknown, missing or wrong.
    """
    registry = default_registry()
    tasks = registry.get_all(registry.matching(config.tasks))
    train, excluded, overlaps, validation = [], {}, {}, {}
    for task in tasks:
        rows = load_rows(task, "train", data_root)
        dropped = overlapping_rows(task, data_root) if config.drop_overlaps else []
        barred = {*dropped, *_unlabelled_rows(rows)}
        kept, held = _validation_rows(rows, barred, config.validation_rows, data_root)
        train.append(rows)
        excluded[task.name] = sorted({*barred, *held})
        overlaps[task.name] = len(dropped)
        validation[task.name] = kept
    unknown = sorted(set(config.weights) - {task.name for task in tasks})
    if unknown:
        raise ConfigError(f"teacher.weights: {unknown[0]!r} is not among teacher.tasks")
    return Battery(train, excluded, overlaps, validation)


def _unlabelled_rows(rows: Rows) -> list[int]:
    """Rows without a label.

    One row (that has text) of each value in the label column is read, so that a value that is no
    label is met now and not in the middle of the run.

    Raises:
        DataError: If no row has a label, or a label is wrong (its row is named).
    """
    same: dict[str, list[int]] = {}
    for number, value in enumerate(rows.labels()):
        same.setdefault(str(value), []).append(number)
    phrasing = rows.task.training_phrasings[0]
    first = [next(rows.examples(phrasing, numbers), None) for numbers in same.values()]
    bare = [
        numbers
        for numbers, example in zip(same.values(), first, strict=True)
        if example is None or example.truths is None
    ]
    if len(bare) == len(same):
        raise DataError(f"{rows.origin}: its rows have no labels, so it cannot be trained on")
    return [number for numbers in bare for number in numbers]


def _validation_rows(
    rows: Rows, barred: set[int], count: int, data_root: Path | None
) -> tuple[list[Example], list[int]]:
    """Examples for choices, and the training rows that they take away."""
    task = rows.task
    if unreported := unused_split_examples(task, count, data_root):
        return unreported, []
    taken = held_out_rows(rows, count)
    numbers = [number for number in taken if number not in barred]
    listed = rows.examples(task.training_phrasings[0], numbers)
    return [example for example in listed if example.truths is not None], taken


def build_teacher_signal(config: TeacherConfig, battery: Battery, seed: int) -> TeacherSignal:
    """The teacher signal of a loaded battery."""
    rows = battery.train
    if config.target == "label_words":
        rows = [replace(r, task=label_word_task(r.task)) for r in rows]
    return TeacherSignal(
        rows,
        battery.excluded,
        seed,
        temperature=config.temperature,
        cap=config.cap,
        weights=config.weights,
        group_size=config.group_size,
        max_false_claims=config.max_false_claims,
        opposite_rate=config.opposite_rate,
        variation=Variation.of(config.forms, config.changes, config.swap_rate, config.level_mass),
    )


def build_language_signal(
    config: RunConfig, data_root: Path | None, tokenizer: Any, split: str = "train"
) -> LanguageSignal:
    """The language signal of a run on one split.

    Raises:
        DataError: If there is no data root or a corpus is missing or too short.
    """
    assert config.language is not None
    root = require_root(data_root)
    streams = {
        name: load_token_stream(corpus_file(root, name, split), tokenizer)
        for name in config.language.corpora
    }
    return LanguageSignal(
        streams, config.language.corpora, config.language.block_length, config.seed
    )


def require_root(data_root: Path | None) -> Path:
    """The data root, which raw text cannot do without.

    Raises:
        DataError: If there is none.
    """
    if data_root is None:
        raise DataError(
            "raw text needs a data root: --data DIR, FREELM_DATA or `data:` in the config"
        )
    return data_root


def tokenizer_texts(
    config: RunConfig, data_root: Path | None, battery: Battery | None
) -> Iterator[str]:
    """Texts that a tokenizer from scratch is trained on: raw text, then contexts and claims."""
    if config.language is not None:
        for corpus in config.language.corpora:
            yield from read_documents(corpus_file(require_root(data_root), corpus, "train"))
    for rows in battery.train if battery else []:
        for number in range(0, len(rows), max(1, len(rows) // 500)):
            phrasings = rows.task.training_phrasings
            for example in rows.examples(phrasings[number % len(phrasings)], [number]):
                yield from example.context
                yield from (f" {claim}" for claim in example.claims)


def signal_files(config: RunConfig, data_root: Path | None, battery: Battery | None) -> list[str]:
    """Files (or Hub names) that the run learns from, for the manifest."""
    files = [rows.origin for rows in battery.train] if battery else []
    corpora = config.language.corpora if config.language else {}
    root = require_root(data_root) if corpora else None
    files += [str(corpus_file(root, name, "train")) for name in corpora if root]
    start = config.model.lora.start if config.model.lora else None
    return files + ([str(own_folder(start) / ADAPTER_FILE)] if start else [])
