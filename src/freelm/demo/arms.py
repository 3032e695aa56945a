"""The two arms of the demo: the language signal alone, and both signals alternating.

Both start from the same random weights and see the same number of tokens.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from freelm.api import FreeLM
from freelm.config import RunConfig, load_config, shipped_config
from freelm.data.roots import miniworld_root
from freelm.data.text import corpus_file, load_token_stream
from freelm.eval.items import judge_items, labelled_examples, predictions
from freelm.eval.measure import report_rows
from freelm.eval.metrics import METRICS, majority
from freelm.eval.suites.language.perplexity import text_loss
from freelm.miniworld import TASKS, UNSEEN_FAMILY
from freelm.tasks import Phrasing, Task, default_registry
from freelm.train.folder import read_metrics
from freelm.train.run import train

CONFIG = "miniworld"
ARMS = ("language_only", "alternate")
WINDOW = 128
"""Window of the perplexity, in tokens: the block length of training."""


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What an arm came to.

    Attributes:
        arm: Name of the interaction.
        seen_accuracy: Mean test accuracy on the tasks of the battery.
        held_out_phrasing_accuracy: The same in phrasings that were never trained.
        unseen_family_accuracy: Test accuracy on the family that was left out.
        unseen_family_majority: Accuracy of always giving its most frequent answer.
        perplexity: On the test split of the raw text.
        tokens: Tokens trained on.
        seconds: Training time.
    """

    arm: str
    seen_accuracy: float
    held_out_phrasing_accuracy: float
    unseen_family_accuracy: float
    unseen_family_majority: float
    perplexity: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class DemoRun:
    """A finished demo.

    Attributes:
        results: One per arm, in the order of `ARMS`.
        by_task: Arm -> task -> test accuracy.
        metrics: Arm -> the lines of its training metrics.
        model: Folder of the FreeLM that was trained.
    """

    results: list[ArmResult]
    by_task: dict[str, dict[str, float]]
    metrics: dict[str, list[dict[str, float]]]
    model: Path


def run_demo(out: Path, say: Callable[[str], None], overrides: list[str] | None = None) -> DemoRun:
    """Train and measure both arms; an arm that was finished before is not trained again.

    Args:
        out: Folder of the demo.
        say: Told what is going on.
        overrides: `key.path=value` changes of the configuration.
    """
    config = load_config(shipped_config(CONFIG), overrides)
    # Alternation goes first: the other arm gets exactly as many tokens as it took.
    say("arm 1 of 2, both signals")
    folders = {"alternate": _train(config, out / "alternate", say)}
    alone = _language_only(config, _tokens(folders["alternate"]))
    say("arm 2 of 2, raw text alone, with the same number of tokens")
    folders["language_only"] = _train(alone, out / "language_only", say)
    results, by_task = [], {}
    for arm in ARMS:
        say(f"measuring {arm}")
        result, by_task[arm] = _measure(arm, folders[arm])
        results.append(result)
    lines = {arm: _metrics(folders[arm]) for arm in ARMS}
    return DemoRun(results, by_task, lines, folders["alternate"])


def _language_only(config: RunConfig, tokens: int) -> RunConfig:
    """The configuration of the language-only arm with the same number of tokens."""
    assert config.language is not None
    per_step = config.language.block_length * config.language.blocks_per_step
    return config.model_copy(
        update={
            "name": f"{config.name}-language-only",
            "interaction": config.interaction.model_copy(update={"kind": "language_only"}),
            "train": config.train.model_copy(
                update={"num_steps": max(1, round(tokens / per_step))}
            ),
        }
    )


def _train(config: RunConfig, folder: Path, say: Callable[[str], None]) -> Path:
    say(f"training {config.train.num_steps} steps in {folder}")
    begin = time.monotonic()
    model = train(config, folder, miniworld_root(), say=say)
    say(f"trained in {time.monotonic() - begin:.0f} s")
    return model


def _metrics(model: Path) -> list[dict[str, float]]:
    return read_metrics(model.parent)


def _tokens(model: Path) -> int:
    return int(sum(record.get("tokens", 0) for record in _metrics(model)))


def _measure(arm: str, folder: Path) -> tuple[ArmResult, dict[str, float]]:
    model = FreeLM.from_pretrained(folder)
    tasks = [default_registry().get(name) for name in TASKS]
    seen = [task for task in tasks if task.family != UNSEEN_FAMILY]
    unseen = next(task for task in tasks if task.family == UNSEEN_FAMILY)
    by_task = {task.name: _accuracy(model, task, task.training_phrasings[0]) for task in tasks}
    held_out = [_accuracy(model, task, task.held_out_phrasings[0]) for task in seen]
    stream = load_token_stream(
        corpus_file(miniworld_root(), "miniworld", "test"), model.model.network.tokenizer
    )
    result = ArmResult(
        arm=arm,
        seen_accuracy=sum(by_task[task.name] for task in seen) / len(seen),
        held_out_phrasing_accuracy=sum(held_out) / len(held_out),
        unseen_family_accuracy=by_task[unseen.name],
        unseen_family_majority=_majority(unseen),
        perplexity=text_loss(model.model.network, stream, window=WINDOW).perplexity,
        tokens=_tokens(folder),
        seconds=sum(record.get("seconds", 0.0) for record in _metrics(folder)),
    )
    return result, by_task


def _accuracy(model: FreeLM, task: Task, phrasing: Phrasing) -> float:
    examples = labelled_examples(report_rows(task, miniworld_root()), phrasing, None)
    items = judge_items(model, examples)
    return METRICS["accuracy"](predictions(task, items)["accuracy"])


def _majority(task: Task) -> float:
    rows = report_rows(task, miniworld_root())
    examples = labelled_examples(rows, task.training_phrasings[0], None)
    return majority([example.target or 0.0 for example in examples], "accuracy")


def as_line(result: ArmResult) -> str:
    """A result as one line of JSON."""
    return json.dumps(asdict(result))
