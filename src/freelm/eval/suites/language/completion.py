"""Which ending of a text the language model itself finds likeliest.

The options of a task are scored as plain continuations, without claims or verdicts, as HellaSwag
is scored for language models. It shows what the language signal alone has learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freelm.api import FreeLM
from freelm.errors import DataError
from freelm.eval.cache import ResultCache
from freelm.eval.items import JudgedRow, judge_items, labelled_examples
from freelm.eval.likelihood import continuation_likelihoods
from freelm.eval.measure import Setting, measure_each, report_rows
from freelm.eval.metrics import METRICS, Predictions, majority
from freelm.eval.results import Result
from freelm.eval.statistics import bootstrap_interval
from freelm.eval.suites.unseen import report_file
from freelm.eval.texts import ENDINGS, ending_predictions, text_file
from freelm.judge.requests import Judgement, Request
from freelm.model.fingerprint import fingerprint
from freelm.model.network import FreeLMNetwork
from freelm.tasks import Example, Phrasing, Rows, Task, default_registry

FAMILY = "story_completion"
"""Family of the tasks whose options continue a text."""


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
    """Judges requests by the likelihood of their claims, which are endings of the context.

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
    """Log-likelihoods of E endings, then those per byte (at least one), shape (2E,)."""
    sizes = np.array([max(1, len(ending.encode())) for ending in endings])
    return np.concatenate([logs, np.array(logs) / sizes])


def evaluate_completion(model: FreeLM, tasks: Sequence[Task], setting: Setting) -> list[Result]:
    """Accuracy of the likeliest ending, by its log-likelihood and by that per byte.

    Tasks that fail are skipped.
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


def _judged(
    model: FreeLM, rows: Rows, examples: Sequence[Example], setting: Setting
) -> list[JudgedRow]:
    """The likelihoods of each row's endings."""
    task = rows.task
    key = {"model": fingerprint(model.model), "task": task.name, "version": task.version}
    key |= {"split": rows.split, "measured": ENDINGS, "margins": "of endings, then per byte"}
    path = setting.out and text_file(setting.out, task.name, rows.split, ENDINGS)
    progress = setting.counter(f"{task.name} (by likelihood)", len(examples))
    return judge_items(Endings(model.model.network), examples, ResultCache(path, key), progress)


def _result(task: Task, split: str, name: str, answers: Predictions) -> Result:
    interval = bootstrap_interval(answers, "accuracy")
    constant = majority(answers.targets, "accuracy")
    value, n = METRICS["accuracy"](answers), len(answers.targets)
    return Result(task.name, task.family, split, name, value, n, *interval, constant, "language")
