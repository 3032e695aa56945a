"""Completion by likelihood: which ending does the language model itself find likeliest?

The options of a task are scored as plain continuations, without claims or verdicts, as HellaSwag
is scored for language models. It shows what the language signal alone knows.
"""

from collections.abc import Sequence

import numpy as np

from freelm.errors import DataError
from freelm.eval.items import labelled_examples
from freelm.eval.likelihood import continuation_likelihoods
from freelm.eval.metrics import METRICS, Predictions, bootstrap_interval, majority
from freelm.eval.results import Result
from freelm.eval.suites import Setting, each_task, report_rows
from freelm.eval.unseen import report_file
from freelm.inference.predictor import FreeLM
from freelm.tasks import Phrasing, Task, default_registry

FAMILY = "story_completion"
"""Tasks of this family continue a text; where their data is there they are scored."""


def completion_tasks(setting: Setting) -> list[Task]:
    """The shipped completion tasks whose data is in the data root."""
    if setting.data_root is None:
        return []
    registry = default_registry()
    tasks = (registry.get(name) for name in registry.names())
    return [
        task
        for task in tasks
        if task.family == FAMILY
        and task.question == "options"
        and report_file(task, setting.data_root)
    ]


def evaluate_completion(model: FreeLM, tasks: Sequence[Task], setting: Setting) -> list[Result]:
    """Accuracy of the likeliest ending, by its summed log-likelihood and by that per byte."""

    def measure(task: Task) -> list[Result]:
        if task.question != "options":
            raise DataError(f"task {task.name!r} has no options to complete a text with")
        rows = report_rows(task, setting.data_root)
        bare = Phrasing(name="ending", template="{option}")
        examples = labelled_examples(rows, bare, setting.limit, setting.say)
        logs, norms, targets = [], [], []
        for example in examples:
            pairs = [(" ".join(example.context), f" {ending}") for ending in example.claims]
            found = continuation_likelihoods(model.model.network, pairs)
            own = np.array([likelihood.log for likelihood in found])
            logs.append(float(own.argmax()))
            norms.append(float((own / [len(e.encode()) for e in example.claims]).argmax()))
            targets.append(float(example.target or 0.0))
            setting.progress(f"{task.name} (by likelihood)", len(targets), len(examples))
        return [
            _result(task, rows.split, name, np.array(targets), np.array(answered))
            for name, answered in (
                ("completion_accuracy", logs),
                ("completion_accuracy_norm", norms),
            )
        ]

    return [result for found in each_task(tasks, measure, setting.say) for result in found]


def _result(task: Task, split: str, name: str, targets: np.ndarray, answered: np.ndarray) -> Result:
    answers = Predictions(targets, answered)
    low, high = bootstrap_interval(answers, "accuracy")
    return Result(
        task.name, task.family, split, name, METRICS["accuracy"](answers), len(targets),
        low, high, majority(targets, "accuracy"), "language",
    )  # fmt: skip
