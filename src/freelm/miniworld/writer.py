"""Writes a miniworld as a data root: Parquet files and a manifest, written atomically."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from freelm.errors import DataError
from freelm.io.atomic import atomic_folder
from freelm.miniworld.documents import documents
from freelm.miniworld.tasks import TASKS, task_rows
from freelm.miniworld.world import SPLITS

CORPUS = "miniworld"
MANIFEST = "MANIFEST.json"

TRAIN_ROWS = 4000
EVALUATION_ROWS = 400
NUM_DOCUMENTS = 6000


def write_miniworld(
    root: Path,
    seed: int = 0,
    train_rows: int = TRAIN_ROWS,
    evaluation_rows: int = EVALUATION_ROWS,
    num_documents: int = NUM_DOCUMENTS,
) -> None:
    """Write a data root: `teacher/<task>/<split>.parquet` and `language/miniworld/<split>.parquet`.

    The root is written to a temporary folder and renamed, so it is complete if it exists;
    `MANIFEST.json` names every file with its rows and checksum. The same arguments
    give the same bytes.

    Args:
        root: New or empty folder.
        seed: Seed of the world.
        train_rows: Training rows of each task.
        evaluation_rows: Rows of each of validation and test of each task.
        num_documents: Training documents of the corpus; validation and test have a tenth each.

    Raises:
        DataError: If the folder holds something already or cannot be written.
    """
    root = Path(root)
    try:
        if root.is_dir() and any(root.iterdir()):
            raise DataError(f"{root}: is not empty; name a new folder for the miniworld")
        with atomic_folder(root) as new:
            _write_files(new, seed, train_rows, evaluation_rows, num_documents)
    except OSError as error:
        raise DataError(f"{root}: cannot be written ({error.strerror})") from None


def _write_files(
    folder: Path, seed: int, train_rows: int, evaluation_rows: int, num_documents: int
) -> None:
    files = []
    for split in SPLITS:
        count = train_rows if split == "train" else evaluation_rows
        for task in TASKS:
            rows = task_rows(task, split, count, seed)
            entry = {"kind": "teacher", "task": task, "split": split}
            files.append(_write_table(folder, f"teacher/{task}/{split}.parquet", rows, entry))
        count = num_documents if split == "train" else max(1, num_documents // 10)
        texts = [{"text": text} for text in documents(split, count, seed)]
        entry = {"kind": "language", "task": CORPUS, "split": split}
        files.append(_write_table(folder, f"language/{CORPUS}/{split}.parquet", texts, entry))
    files.sort(key=lambda entry: entry["file"])
    manifest = {"generator": "freelm.miniworld", "seed": seed, "files": files}
    path = folder / MANIFEST
    path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _write_table(
    folder: Path, name: str, rows: list[dict[str, Any]], entry: dict[str, str]
) -> dict[str, Any]:
    """Write one file; returns its entry in the manifest."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, path)
    content = path.read_bytes()
    return {
        "file": name,
        **entry,
        "rows": table.num_rows,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "columns": table.column_names,
    }
