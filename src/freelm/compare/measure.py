"""What a model of an arm comes to: its answers to the tasks, and how well it predicts text.

Answers are kept item by item, so that intervals can be drawn over items and seeds, and models be
compared on the same items.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from freelm.api import FreeLM
from freelm.compare.config import Evaluation
from freelm.data.text import corpus_file, load_token_stream
from freelm.errors import DataError
from freelm.eval.cache import ResultCache
from freelm.eval.items import Item, Judges, judge_items, labelled_examples, predictions
from freelm.eval.measure import Setting, judge_rows, report_rows
from freelm.eval.metrics import constant_answer, metric_named
from freelm.eval.suites.language.perplexity import text_loss
from freelm.io.atomic import atomic_write
from freelm.model.identity import fingerprint
from freelm.model.network import FreeLMNetwork
from freelm.tasks import Example, Rows, Task
from freelm.tasks.label_words import PHRASING, label_word_task

Say = Callable[[str], None]

MEASURED_FILE, ITEMS_FOLDER = "measured.json", "items"


@dataclass(frozen=True)
class TaskAnswers:
    """A model's answers to one task, as its first metric reads them.

    Attributes:
        task: Name of the task.
        family: Its family.
        split: The split that it was measured on.
        metric: Its first metric.
        columns: What the metric is computed from: arrays (N,), one value an item.
        constant: The same for the best answer that ignores the text, one for all items.
    """

    task: str
    family: str
    split: str
    metric: str
    columns: tuple[np.ndarray, ...]
    constant: tuple[np.ndarray, ...]

    @property
    def value(self) -> float:
        """The metric."""
        return metric_named(self.metric).statistic(*self.columns)

    @property
    def majority(self) -> float:
        """The metric of the best answer that ignores the text."""
        return metric_named(self.metric).statistic(*self.constant)

    def __len__(self) -> int:
        return len(self.columns[0])


@dataclass(frozen=True)
class TextAnswers:
    """How much a text surprised a model, window by window.

    Attributes:
        corpus: Name of the corpus.
        nats: (W,) summed loss of each window.
        targets: (W,) predicted tokens of each window.
        bytes_per_token: UTF-8 bytes of the text per token of the model.
    """

    corpus: str
    nats: np.ndarray
    targets: np.ndarray
    bytes_per_token: float


@dataclass(frozen=True)
class Measured:
    """What one seed of an arm came to.

    Attributes:
        tasks: Its answers, task by task.
        text: How well it predicts text, None where nothing was asked; of several models, each.
        language_tokens: Tokens of raw text trained on.
        teacher_tokens: Tokens of tasks trained on.
        seconds: In optimizer steps.
        steps: Optimizer steps.
        notes: What must be known to read the figures rightly.
        code: Versions of the code and libraries that trained its models and that measured them.
    """

    tasks: list[TaskAnswers]
    text: list[TextAnswers]
    language_tokens: int = 0
    teacher_tokens: int = 0
    seconds: float = 0.0
    steps: int = 0
    notes: list[str] = field(default_factory=list)
    code: list[dict[str, str | None]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return self.language_tokens + self.teacher_tokens


def distinct(versions: Sequence[dict[str, str | None]]) -> list[dict[str, str | None]]:
    """Versions of code, each once, in their order."""
    return [one for place, one in enumerate(versions) if one not in versions[:place]]


class Measurer:
    """Measures models on the same tasks and text.

    Args:
        evaluation: What is measured.
        data_root: Where rows and texts are.
        say: Told what is going on.
    """

    def __init__(self, evaluation: Evaluation, data_root: Path | None, say: Say) -> None:
        self.evaluation, self.data_root, self.say = evaluation, data_root, say

    def verdicts(
        self, model: FreeLM, tasks: Sequence[Task], out: Path
    ) -> tuple[list[TaskAnswers], dict[str, str]]:
        """Answers by propositions, each task in its first training phrasing.

        Args:
            model: A trained model, or an untrained base, which gets its best prompt.
            tasks: The tasks.
            out: Folder in which answers are kept.

        Returns:
            The answers, and for an untrained base the prompt of each task.

        Raises:
            DataError: If a task's rows are missing or wrong.
        """
        setting = Setting(self.data_root, self.evaluation.limit, out, say=self.say)
        answers = []
        for task in tasks:
            rows = report_rows(task, self.data_root)
            _, items = judge_rows(model, rows, task.training_phrasings[0], setting)
            answers.append(_answers(task, rows, items))
        return answers, setting.prompts

    def label_word_examples(self, task: Task) -> tuple[Rows, list[Example]]:
        """The report rows of a task with label words: the rows that propositions are made of.

        Raises:
            DataError: If there are none.
        """
        rows = report_rows(task, self.data_root)
        usual = task.training_phrasings[0]
        kept = labelled_examples(rows, usual, self.evaluation.limit)
        numbers = [int(example.id.rpartition("/")[2]) for example in kept]
        own = replace(rows, task=label_word_task(task))
        return own, list(own.examples(own.task.phrasings[0], numbers))

    def label_words(
        self, judge: Judges, task: Task, out: Path, model: FreeLM, way: Mapping[str, Any]
    ) -> TaskAnswers:
        """Answers to a task by the likelihood of its label words.

        Args:
            judge: Whatever gives the likelihoods.
            task: The task.
            out: Folder in which answers are kept.
            model: The model that the likelihoods are of.
            way: What else the answers depend on: demonstrations.
        """
        rows, examples = self.label_word_examples(task)
        key: dict[str, Any] = {"model": fingerprint(model.model), "task": task.name, **way}
        key |= {"version": task.version, "split": rows.split, "phrasing": PHRASING}
        file = out / ITEMS_FOLDER / f"{task.name}.{rows.split}.{PHRASING}.jsonl"
        items = judge_items(judge, examples, ResultCache(file, key))
        return _answers(rows.task, rows, items)

    def text(self, network: FreeLMNetwork) -> list[TextAnswers]:
        """How well a model predicts the test split of the corpus; empty where none was named."""
        corpus = self.evaluation.corpus
        if corpus is None:
            return []
        if self.data_root is None:
            raise DataError("perplexity needs a data root: --data DIR or FREELM_DATA")
        stream = load_token_stream(corpus_file(self.data_root, corpus, "test"), network.tokenizer)
        limit, window = self.evaluation.windows, self.evaluation.window
        loss = text_loss(network, stream, limit, window=window)
        return [TextAnswers(corpus, loss.nats, loss.targets, loss.bytes_per_token)]


def _answers(task: Task, rows: Rows, items: Sequence[Item]) -> TaskAnswers:
    name = task.metrics[0]
    answered, columns = predictions(task, items)[name], metric_named(name).columns
    constant = columns(constant_answer(answered.targets, name))
    return TaskAnswers(task.name, task.family, rows.split, name, columns(answered), constant)


# -- on disk ---------------------------------------------------------------------------------------


def write_measured(measured: Measured, key: str, folder: Path) -> None:
    """Keep what was measured.

    Args:
        measured: What.
        key: What it depends on.
        folder: Where; the file is there whole or not at all.
    """
    facts = {"key": key, **asdict(measured)}
    text = json.dumps(facts, default=lambda array: array.tolist())
    try:
        atomic_write(folder / MEASURED_FILE, text + "\n")
    except OSError as error:
        raise DataError(f"{folder / MEASURED_FILE}: cannot be written ({error.strerror})") from None


def read_measured(folder: Path, key: str) -> Measured | None:
    """What was kept in a folder; None where that is nothing, or depends on something else."""
    try:
        facts = json.loads((folder / MEASURED_FILE).read_text(encoding="utf-8"))
        if facts.pop("key") != key:
            return None
        tasks = [_task_answers(task) for task in facts.pop("tasks")]
        text = [
            TextAnswers(**{**t, "nats": np.array(t["nats"]), "targets": np.array(t["targets"])})
            for t in facts.pop("text")
        ]
        return Measured(tasks, text, **facts)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it is measured again


def _task_answers(facts: dict[str, Any]) -> TaskAnswers:
    arrays = {name: tuple(map(np.array, facts[name])) for name in ("columns", "constant")}
    return TaskAnswers(**{**facts, **arrays})
