"""A tiny comparison: the miniworld, a model of one layer, a few steps an arm."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from freelm.compare.config import CompareConfig, base_run
from freelm.compare.study import Study

TASKS = ["miniworld_topic", "miniworld_entailment", "miniworld_sentiment"]
UNSEEN = "miniworld_consistency"
BUDGET = 2500

RUN: dict[str, Any] = {
    "name": "tiny",
    "model": {
        "scratch": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_layers": 1,
            "num_heads": 2,
            "vocab_size": 300,
            "max_positions": 256,
        }
    },
    "language": {"corpora": {"miniworld": 1.0}, "block_length": 32, "blocks_per_step": 4},
    "teacher": {
        "tasks": TASKS,
        "weights": {"miniworld_topic": 0.5},
        "examples_per_step": 4,
        "max_context_tokens": 64,
        "validation_rows": 4,
    },
    "optimizer": {"learning_rate": 0.01, "warmup_steps": 2},
    "train": {"num_steps": 5, "tokens_per_batch": 512, "row_length": 64, "checkpoint_every": 2},
}

COMPARISON: dict[str, Any] = {
    "name": "tiny",
    "base": "run.yaml",
    "budget": {"tokens": BUDGET},
    "arms": [
        {"name": "alternate", "kind": "alternate"},
        {"name": "language_only", "kind": "language_only"},
    ],
    "evaluate": {
        "tasks": [*TASKS, UNSEEN],
        "limit": 8,
        "corpus": "miniworld",
        "window": 32,
        "windows": 10,
    },
}


def comparison(**changes: Any) -> dict[str, Any]:
    """The tiny comparison with some of its keys replaced."""
    return json.loads(json.dumps({**COMPARISON, **changes}))  # type: ignore[no-any-return]


def write_comparison(folder: Path, run: dict[str, Any] | None = None, **changes: Any) -> Path:
    """The files of a comparison and of its run; returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(run or RUN))
    (folder / "tiny.yaml").write_text(yaml.safe_dump(comparison(**changes)))
    return folder / "tiny.yaml"


def make_study(
    out: Path,
    root: Path,
    run: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
    **changes: Any,
) -> Study:
    """A study in a folder, its files beside it."""
    write_comparison(out, run, **changes)
    config = CompareConfig.model_validate(comparison(**changes))
    return Study(config, base_run(config, out), out, root, say)


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def record(run: Path) -> dict[str, Any]:
    """What a run's model was trained on."""
    facts = json.loads((run / "model" / "freelm.json").read_text())
    return facts["record"]  # type: ignore[no-any-return]
