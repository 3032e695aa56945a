"""Data roots of invented rows for shipped tasks, made of the row that each one's tests have."""

import random
from pathlib import Path
from typing import Any

import yaml

from freelm.tasks import Task
from tiny_runs import sentence, write_rows

ROWS = Path(__file__).parent / "tasks" / "definition_rows"


def varied(value: Any, number: int) -> Any:
    """The same cell for another row."""
    return f"{value} {number}" if isinstance(value, str) else value


def invented_root(root: Path, tasks: list[Task], corpora: list[str]) -> Path:
    """Twenty rows of every split of each task, and a training and a test split of each corpus."""
    for task in tasks:
        (path,) = ROWS.rglob(f"{task.name}.yaml")
        stored = yaml.safe_load(path.read_text(encoding="utf-8"))
        texts = set(task.fields.values())
        rows = [
            {k: varied(v, n) if k in texts else v for k, v in stored["row"].items()}
            for n in range(20)
        ]
        for split in ("train", "validation", "test"):
            write_rows(
                root / "teacher" / (task.source.root or task.name) / f"{split}.parquet", rows
            )
    rng = random.Random(0)
    for corpus in corpora:
        for split in ("train", "test"):
            rows = [{"text": " ".join(sentence(rng) for _ in range(60))} for _ in range(20)]
            write_rows(root / "language" / corpus / f"{split}.parquet", rows)
    return root
