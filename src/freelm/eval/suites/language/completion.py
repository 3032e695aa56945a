"""Completion by likelihood: which ending does the language model itself find likeliest?

The options of a task are scored as plain continuations, without claims or verdicts, as HellaSwag
is scored for language models. It shows what the language signal alone knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freelm.api import FreeLM
from freelm.errors import DataError
from freelm.eval.items import Item, judge_items, labelled_examples
from freelm.eval.likelihood import continuation_likelihoods
from freelm.eval.measure import Setting, measure_each, report_rows
from freelm.eval.metrics import METRICS, Predictions, bootstrap_interval, majority
from freelm.eval.results import Result
from freelm.eval.suites.unseen import report_file
from freelm.eval.texts import ENDINGS, ending_predictions, text_file
from freelm.judge.requests import Judgement, Request
from freelm.model.identity import fingerprint
from freelm.model.network import FreeLMNetwork
from freelm.tasks import Example, Phrasing, Rows, Task, default_registry

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


@dataclass(frozen=True, slots=True)
class Endings:
    """Judges requests by the likelihood of their claims, which are endings of the text.

    Attributes:
        network: The network, in evaluation mode.
    """

    network: FreeLMNetwork

    def judge_requests(self, requests: Sequence[Request]) -> list[Judgement]:
        """Log-likelihoods of each request's endings, then those per byte, as margins.

        Raises:
            InputError: If an ending does not fit the model's window.
        """
        pairs = [(" ".join(r.context), f" {ending}") for r in requests for ending in r.claims]
        logs = iter(found.log for found in continuation_likelihoods(self.network, pairs))
        return [
            Judgement(r.claims, _with_norms([next(logs) for _ in r.claims], r.claims))
            for r in requests
        ]


def _with_norms(logs: Sequence[float], endings: Sequence[str]) -> np.ndarray:
    """(2E,) log-likelihoods of endings, then those per byte; an empty one counts as a byte."""
    sizes = np.array([max(1, len(ending.encode())) for ending in endings])
    return np.concatenate([logs, np.array(logs) / sizes])


def evaluate_completion(model: FreeLM, tasks: Sequence[Task], setting: Setting) -> list[Result]:
    """Accuracy of the likeliest ending, by its summed log-likelihood and by that per byte.

    What was found of a row is kept in `setting.out` and taken over.
    """

    def measure(task: Task) -> list[Result]:
        if task.question != "options":
            raise DataError(f"task {task.name!r} has no options to complete a text with")
        rows = report_rows(task, setting.data_root)
        bare = Phrasing(name="ending", template="{option}")
        examples = labelled_examples(rows, bare, setting.limit, setting.say)
        items = _judged(model, rows, examples, setting)
        return [
            _result(task, rows.split, name, answers)
            for name, answers in ending_predictions(items).items()
        ]

    return measure_each(tasks, measure, setting)


def _judged(model: FreeLM, rows: Rows, examples: Sequence[Example], setting: Setting) -> list[Item]:
    """The likelihoods of each row's endings, those that are kept taken over."""
    task, done = rows.task, 0
    key = {"model": fingerprint(model.model), "task": task.name, "version": task.version}
    out = setting.out
    cache = None if out is None else text_file(out, task.name, rows.split, ENDINGS)

    def progress(count: int) -> None:
        nonlocal done
        done += count
        setting.progress(f"{task.name} (by likelihood)", done, len(examples))

    key |= {"split": rows.split, "measured": ENDINGS, "margins": "of endings, then per byte"}
    return judge_items(Endings(model.model.network), examples, cache, key, progress)


def _result(task: Task, split: str, name: str, answers: Predictions) -> Result:
    low, high = bootstrap_interval(answers, "accuracy")
    return Result(
        task.name, task.family, split, name, METRICS["accuracy"](answers), len(answers.targets),
        low, high, majority(answers.targets, "accuracy"), "language",
    )  # fmt: skip
