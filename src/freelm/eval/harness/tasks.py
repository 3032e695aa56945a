"""lm-evaluation-harness: its tasks on our models, and our tasks in its form.

A task of ours is exported as one YAML file and its rendered rows: a context per claim, the same
continuation `<|true|>` after each. The answer is the option whose continuation is likeliest, so the
accuracy of a choice equals ours; a predicate is asked as the choice between its two claims. This
module does not need the harness; `freelm.eval.harness.model` does.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from freelm.api import FreeLM
from freelm.data.tokens import FALSE, TRUE
from freelm.errors import DataError
from freelm.eval.items import labelled_examples
from freelm.eval.likelihood import Likelihood, continuation_likelihoods
from freelm.eval.measure import report_rows
from freelm.judge.requests import Request
from freelm.tasks import CLS, SEP, Example, Task

PREFIX = "freelm_"
"""Prefix of our tasks in the harness: `rte` is its own task, `freelm_rte` ours."""

JOINT = f" {SEP} "
END = f" {CLS}"


def answer_pairs(model: FreeLM, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
    """How likely each continuation is after its context.

    A context that ends with `[cls]` is a proposition and `<|true|>` or `<|false|>` its verdict:
    their likelihood is P(true) or P(false) of our own judge. Everything else is plain text.

    Args:
        model: The model.
        pairs: (context, continuation) texts.
    """
    verdicts = [i for i, pair in enumerate(pairs) if _is_verdict(*pair)]
    asked = set(verdicts)
    texts = [i for i in range(len(pairs)) if i not in asked]
    judged = model.judge_requests([_request(pairs[i][0]) for i in verdicts]) if verdicts else []
    found: dict[int, Likelihood] = {}
    for i, answer in zip(verdicts, judged, strict=True):
        margin = float(answer.margins[0]) * (1 if pairs[i][1].strip() == TRUE else -1)
        found[i] = Likelihood(-float(np.logaddexp(0.0, -margin)), margin > 0)
    likelihoods = continuation_likelihoods(model.model.network, [pairs[i] for i in texts])
    found.update(zip(texts, likelihoods, strict=True))
    return [found[i] for i in range(len(pairs))]


def _is_verdict(context: str, continuation: str) -> bool:
    return context.endswith(END) and continuation.strip() in (TRUE, FALSE)


def _request(context: str) -> Request:
    *parts, claim = context.removesuffix(END).split(JOINT)
    return Request(tuple(parts), (claim,))


def export_task(
    task: Task, folder: Path, data_root: Path | None = None, limit: int | None = None
) -> Path:
    """Write a task's report split as a task of the harness: `freelm_<name>.yaml` and `.jsonl`.

    Args:
        task: The task, asked in its first training phrasing.
        folder: The folder to write to.
        data_root: Where its rows are.
        limit: Maximum number of rows.

    Returns:
        The YAML file, which names the file of rows by its full path, as the harness needs it.

    Raises:
        DataError: If the rows cannot be loaded, a score is not one of the levels, or the folder
            cannot be written.
    """
    rows = report_rows(task, data_root)
    examples = labelled_examples(rows, task.training_phrasings[0], limit)
    name = PREFIX + task.name.replace("/", "_")
    file = (folder / f"{name}.jsonl").resolve()
    config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {rows.split: str(file)}},
        "test_split": rows.split,
        "output_type": "multiple_choice",
        "doc_to_text": "target",
        "doc_to_choice": "propositions",
        "doc_to_target": TRUE,
        "target_delimiter": " ",
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": task.version, "family": task.family, "reference": task.reference},
    }
    lines = "".join(json.dumps(_row(task, example)) + "\n" for example in examples)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(lines, encoding="utf-8")
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror})") from None
    return path


def _row(task: Task, example: Example) -> dict[str, object]:
    """A row in the harness's form."""
    target = example.target or 0.0
    if task.question == "score":
        if target not in task.levels:
            raise DataError(f"{example.id}: score {target:g} is not one of the task's levels")
        target = task.levels.index(target)
    context = JOINT.join(_unmarked(part) for part in example.context)
    propositions = [f"{context}{JOINT}{_unmarked(claim)}{END}" for claim in example.claims]
    return {"id": example.id, "propositions": propositions, "target": int(target)}


def _unmarked(text: str) -> str:
    """Text without a literal `[sep]`, which would split it when the harness passes it back."""
    return text.replace(SEP, "[ sep ]")
