"""Typed questions that decision models are compared by, and the time that each takes.

Seven data sets are asked as predicate, choice or score questions with label descriptions of our
own, on entire test or validation splits. The time is the median of one question asked alone.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from freelm.api import FreeLM
from freelm.errors import DataError, InputError
from freelm.eval.exposure import TRAINED_ON, why_seen
from freelm.eval.items import JudgedRow
from freelm.eval.measure import (
    Setting,
    figures,
    joined_notes,
    judge_rows,
    measure_each,
    report_rows,
)
from freelm.eval.references import decision_models, setting_difference
from freelm.eval.results import Result, interval, shown, value_with_spread
from freelm.eval.sections import (
    TASK_COLUMNS,
    Block,
    Findings,
    Paragraph,
    Table,
    result_table,
    task_summary,
)
from freelm.eval.suite import Suite, Tasks
from freelm.judge.requests import Request
from freelm.tasks import Example, Phrasing, Task, default_registry

NAME = "decisions"
PHRASING = "decision"
QUESTIONS_FILE = Path(__file__).with_name("decisions.yaml")

TIMED = 50
"""Questions that are timed, after `WARM_UP` others."""
WARM_UP = 3


@cache
def decision_questions() -> dict[str, Phrasing]:
    """Task -> the phrasing of its typed question."""
    stated = yaml.safe_load(QUESTIONS_FILE.read_text(encoding="utf-8"))
    return {name: _phrasing(default_registry().get(name), facts) for name, facts in stated.items()}


def _phrasing(task: Task, facts: dict[str, Any]) -> Phrasing:
    if "claims" in facts:
        return Phrasing(name=PHRASING, claims=facts["claims"])
    described = facts.get("labels", task.label.descriptions)
    claims = {
        name: facts["template"].replace("{label}", words) for name, words in described.items()
    }
    return Phrasing(name=PHRASING, claims=claims)


def evaluate_decisions(model: FreeLM, tasks: Tasks, setting: Setting) -> list[Result]:
    """Accuracy, macro-F1, Brier score, ECE and median time of each question.

    Args:
        model: The model.
        tasks: Some of the suite's tasks; None means all. A task whose data is missing is skipped.
        setting: How to evaluate.

    Raises:
        InputError: If a task has no question in the suite.
    """
    questions = decision_questions()
    names = list(questions) if tasks is None else [task.name for task in tasks]
    for name in names:
        if name not in questions:
            raise InputError(
                f"task {name!r} has no question in the decision suite; available: "
                f"{', '.join(questions)}"
            )

    def measure(task: Task) -> list[Result]:
        rows = report_rows(task, setting.data_root)
        examples, items = judge_rows(model, rows, questions[task.name], setting)
        num_labels = len(examples[0].labels)
        results = figures(rows, _as_choices(task, items), num_labels, NAME, task=_as_choice(task))
        note = _note(task, model, setting)
        results.append(_latency(model, task, rows.split, examples))
        return [replace(result, note=joined_notes(note, result.note)) for result in results]

    chosen = [default_registry().get(name) for name in names]
    return measure_each(chosen, measure, setting)


def _as_choice(task: Task) -> Task:
    """The task with the suite's metrics; the levels of a score are options like others here."""
    question = "choice" if task.question == "score" else task.question
    return task.model_copy(update={"question": question, "metrics": ["accuracy", "macro_f1"]})


def _as_choices(task: Task, items: list[JudgedRow]) -> list[JudgedRow]:
    """Answers whose target is the index of a label.

    Raises:
        DataError: If a score lies between two levels.
    """
    if task.question != "score":
        return items
    for item in items:
        if item.target not in task.levels:
            raise DataError(f"{item.id}: score {item.target:g} is none of the levels")
    return [replace(item, target=float(task.levels.index(item.target))) for item in items]


def _latency(model: FreeLM, task: Task, split: str, examples: Sequence[Example]) -> Result:
    """Median milliseconds of one question asked alone, with its bootstrap interval."""
    if not model.facts.markers:
        model = model.with_prompt("true-or-false")
    requests = [Request(example.context, example.claims) for example in examples]
    for request in requests[:WARM_UP]:
        model.judge_requests([request])
    spent = []
    for request in requests[:TIMED]:
        begin = time.perf_counter()
        model.judge_requests([request])
        spent.append(1000 * (time.perf_counter() - begin))
    times = np.array(spent)
    draws = np.random.default_rng(0).integers(0, len(times), (1000, len(times)))
    low, high = np.percentile(np.median(times[draws], axis=1), [2.5, 97.5])
    return Result(
        task.name, task.family, split, "latency_ms", float(np.median(times)), len(times),
        float(low), float(high), None, NAME,
    )  # fmt: skip


def _note(task: Task, model: FreeLM, setting: Setting) -> str:
    """How this setting differs from the zero-shot one of the published figures."""
    reason = why_seen(task, model.facts.record, default_registry())
    if reason == TRAINED_ON:
        seen = "its training split was trained on, in other words than these"
    elif reason:
        seen = f"not trained on itself, but {reason}"
    else:
        seen = "not trained on" if model.facts.record.get("tasks") else "untrained base"
    rows = f"{setting.limit:,} rows drawn at random" if setting.limit else "the entire split"
    return f"{seen}; {rows}"


def _section(findings: Findings) -> list[Block]:
    results = findings.of(NAME)
    blocks: list[Block] = [
        findings.paragraph(
            "Typed questions with label descriptions of our own, one question at a time."
        ),
        result_table(results, TASK_COLUMNS),
    ]
    rows = [
        (
            r.task,
            r.metric,
            value_with_spread(r),
            interval(r),
            reference.model,
            shown(r, reference.value),
            setting_difference(reference, findings.why_seen(r.task)),
        )
        for r in results
        for reference in decision_models(r, findings.references)
    ]
    if rows:
        text = (
            "Published figures of decision models were measured zero-shot on other items (200 a "
            "set, half-width about 5 points). They show the order of magnitude; no difference is "
            "claimed."
        )
        head = ("task", "metric", "ours", "95% interval", "decision model", "theirs", "setting")
        blocks += [Paragraph(text), Table(head, rows)]
    return blocks


def _summary(findings: Findings) -> list[str]:
    sentences = task_summary(findings, NAME, "Typed questions of the decision suite")
    times = [r for r in findings.of(NAME) if r.metric == "latency_ms"]
    if times:
        listed = ", ".join(f"{r.task} {r.value:.0f} ms" for r in times)
        sentences.append(f"Median time of one question, asked alone: {listed}.")
    return sentences


SUITE = Suite(
    name=NAME,
    title="Decisions",
    measure=evaluate_decisions,
    section=_section,
    summary=_summary,
    order=30,
    card_heading="Typed questions of the decision suite, in words of their own",
    accepts=lambda task: task.name in decision_questions(),
)
