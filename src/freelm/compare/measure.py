"""What is measured of a trained model: its answers to the tasks, and its loss on text.

Answers are stored per item, so that intervals can resample items and models can be compared on the
same items.
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
from freelm.eval.items import JudgedRow, Judges, judge_items, labelled_examples, predictions
from freelm.eval.measure import Setting, judge_rows, report_rows
from freelm.eval.metrics import constant_answer, metric_named
from freelm.eval.suites.language.perplexity import text_loss
from freelm.model.fingerprint import fingerprint
from freelm.model.network import FreeLMNetwork
from freelm.report.page import write_files
from freelm.tasks import Example, Rows, Task
from freelm.tasks.label_word_task import PHRASING, label_word_task

Say = Callable[[str], None]
Versions = dict[str, str | None]

MEASURED_FILE, ITEMS_FOLDER = "measured.json", "items"


@dataclass(frozen=True)
class TaskAnswers:
    """A model's answers to one task, as its first metric reads them.

    Attributes:
        task: Name of the task.
        family: Its family.
        split: The evaluated split.
        metric: Its first metric.
        columns: Inputs of the metric: arrays (N,), one value per item.
        constant: The same for the best answer that ignores the text.
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
    """A model's loss on a text, window by window.

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
class SeedResult:
    """One arm trained with one seed, measured.

    Attributes:
        tasks: Its answers, task by task.
        text: Its loss on text; one entry per model, none if no corpus is configured.
        language_tokens: Tokens of raw text trained on.
        teacher_tokens: Tokens of tasks trained on.
        seconds: Time in optimizer steps.
        steps: Optimizer steps.
        notes: Caveats for the reader.
        code: Versions of the code and libraries that trained and measured.
        held_out: Answers to the tasks of the battery in a phrasing that is never trained.
    """

    tasks: list[TaskAnswers]
    text: list[TextAnswers]
    language_tokens: int = 0
    teacher_tokens: int = 0
    seconds: float = 0.0
    steps: int = 0
    notes: list[str] = field(default_factory=list)
    code: list[Versions] = field(default_factory=list)
    held_out: list[TaskAnswers] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return self.language_tokens + self.teacher_tokens


def unique(versions: Sequence[Versions]) -> list[Versions]:
    """Versions without repetitions, in their order."""
    return [one for place, one in enumerate(versions) if one not in versions[:place]]


class Evaluator:
    """Measures models on the same tasks and text.

    Args:
        evaluation: What is measured.
        data_root: Where rows and texts are.
        say: Receives progress messages.
    """

    def __init__(self, evaluation: Evaluation, data_root: Path | None, say: Say) -> None:
        self.evaluation, self.data_root, self.say = evaluation, data_root, say

    def verdicts(
        self, model: FreeLM, tasks: Sequence[Task], out: Path, held_out: bool = False
    ) -> tuple[list[TaskAnswers], dict[str, str]]:
        """Answers by verdicts, and the prompts chosen for a model that was taught none.

        Args:
            model: The model.
            tasks: The tasks.
            out: Folder that caches the answers.
            held_out: Ask in the first held-out phrasing instead of the first trained one; tasks
                without one are skipped.

        Raises:
            DataError: If rows of a task are missing or invalid.
        """
        setting = Setting(self.data_root, self.evaluation.limit, out, say=self.say)
        answers = []
        for task in tasks:
            for phrasing in (task.held_out_phrasings if held_out else task.training_phrasings)[:1]:
                rows = report_rows(task, self.data_root)
                _, items = judge_rows(model, rows, phrasing, setting)
                answers.append(_answers(task, rows, items))
        return answers, setting.prompts

    def label_word_examples(self, task: Task) -> tuple[Rows, list[Example]]:
        """The rows that verdicts are measured on, with label words in place of claims.

        Raises:
            DataError: If there are none.
        """
        rows = report_rows(task, self.data_root)
        used = labelled_examples(rows, task.training_phrasings[0], self.evaluation.limit)
        numbers = [int(example.id.rpartition("/")[2]) for example in used]
        own = replace(rows, task=label_word_task(task))
        return own, list(own.examples(own.task.phrasings[0], numbers))

    def label_words(
        self, judge: Judges, task: Task, out: Path, model: FreeLM, settings: Mapping[str, Any]
    ) -> TaskAnswers:
        """Answers to a task by the likelihood of its label words.

        Args:
            judge: Gives the likelihoods.
            task: The task.
            out: Folder that caches the answers.
            model: The model behind the judge.
            settings: What else the answers depend on: demonstrations.
        """
        rows, examples = self.label_word_examples(task)
        key = {"model": fingerprint(model.model), "task": task.name, **settings}
        key |= {"version": task.version, "split": rows.split, "phrasing": PHRASING}
        file = out / ITEMS_FOLDER / f"{task.name}.{rows.split}.{PHRASING}.jsonl"
        return _answers(rows.task, rows, judge_items(judge, examples, ResultCache(file, key)))

    def text(self, network: FreeLMNetwork) -> list[TextAnswers]:
        """Loss on the test split of the corpus; empty if no corpus is configured."""
        corpus = self.evaluation.corpus
        if corpus is None:
            return []
        stream = load_token_stream(test_file(corpus, self.data_root), network.tokenizer)
        limit, window = self.evaluation.windows, self.evaluation.window
        loss = text_loss(network, stream, limit, window=window)
        return [TextAnswers(corpus, loss.nats, loss.targets, loss.bytes_per_token)]


def test_file(corpus: str, data_root: Path | None) -> Path:
    """The test split of a corpus.

    Raises:
        DataError: If it is missing.
    """
    if data_root is None:
        raise DataError("perplexity needs a data root: --data DIR or FREELM_DATA")
    return corpus_file(data_root, corpus, "test")


def _answers(task: Task, rows: Rows, items: Sequence[JudgedRow]) -> TaskAnswers:
    name = task.metrics[0]
    answered, columns = predictions(task, items)[name], metric_named(name).columns
    constant = columns(constant_answer(answered.targets, name))
    return TaskAnswers(task.name, task.family, rows.split, name, columns(answered), constant)


def save_result(result: SeedResult, key: str, folder: Path) -> None:
    """Write a result.

    Args:
        result: The result.
        key: Fingerprint of everything that it depends on.
        folder: Where to.

    Raises:
        DataError: If it cannot be written.
    """
    text = json.dumps({"key": key, **asdict(result)}, default=lambda array: array.tolist())
    write_files({MEASURED_FILE: text + "\n"}, folder)


def load_result(folder: Path, key: str) -> SeedResult | None:
    """The result that a folder holds; None if there is none with this key."""
    try:
        facts = json.loads((folder / MEASURED_FILE).read_text(encoding="utf-8"))
        if facts.pop("key") != key:
            return None
        for name in ("tasks", "held_out"):
            facts[name] = [_task_answers(task) for task in facts[name]]
        facts["text"] = [
            TextAnswers(**{**t, "nats": np.array(t["nats"]), "targets": np.array(t["targets"])})
            for t in facts["text"]
        ]
        return SeedResult(**facts)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or damaged: it is measured again


def _task_answers(facts: dict[str, Any]) -> TaskAnswers:
    arrays = {name: tuple(map(np.array, facts[name])) for name in ("columns", "constant")}
    return TaskAnswers(**{**facts, **arrays})
