"""Sources of a task's rows: a data root, the user's own files, or the Hub.

A data root is a folder with `teacher/<task>/<split>.parquet` and
`language/<corpus>/<split>.parquet`.
Rows are read as they are; `Task.example` gives them meaning.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from freelm.errors import DataError, EmptyRowError, available
from freelm.io.strict_json import read_json
from freelm.io.tables import read_table
from freelm.tasks.forms import Wording, render_form
from freelm.tasks.task import Example, Phrasing, Task


@dataclass(frozen=True)
class Rows:
    """The rows of one split of a task.

    Attributes:
        task: The task that they belong to.
        split: Name of the split.
        table: The columns that the task reads.
        origin: File or Hub name, for messages and manifests.
    """

    task: Task
    split: str
    table: pa.Table
    origin: str

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def row(self, index: int) -> dict[str, Any]:
        """The row of an index as column -> value."""
        row: dict[str, Any] = self.table.slice(index, 1).to_pylist()[0]
        return row

    def labels(self) -> list[Any]:
        """The value of the label column in every row."""
        top, *path = self.task.label.column.split(".")
        values = self.table.column(top).to_pylist()
        for key in path:
            values = [value.get(key) if isinstance(value, dict) else None for value in values]
        return values

    def example(self, index: int, phrasing: Phrasing) -> Example:
        """The row of an index as propositions.

        Raises:
            DataError: As `Task.example`, naming the row.
        """
        row_id = f"{self.task.name}/{self.split}/{index}"
        return self.task.example(self.row(index), row_id, phrasing)

    def form(self, index: int, wording: Wording) -> Example:
        """The row of an index as claims of one form.

        Raises:
            DataError: As `render_form`, naming the row.
        """
        row_id = f"{self.task.name}/{self.split}/{index}"
        return render_form(self.task, self.row(index), row_id, wording)

    def examples(
        self,
        phrasing: Phrasing,
        indices: Iterable[int] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Iterator[Example]:
        """Rows as propositions, in order, without those that have no text.

        Args:
            phrasing: One of the task's.
            indices: Which rows; None means all.
            say: Receives a line for each row that is skipped.

        Raises:
            DataError: As `Task.example`, naming the row.
        """
        for index in range(len(self)) if indices is None else indices:
            try:
                yield self.example(index, phrasing)
            except EmptyRowError as error:
                say(f"skipped: {error}")


def load_rows(task: Task, split: str, data_root: Path | None = None) -> Rows:
    """Load one split of a task: from the data root, else its files, else the Hub.

    Raises:
        DataError: If the split is nowhere, cannot be read, is empty or lacks a column.
    """
    table, origin = _find(task, split, data_root)
    if table.num_rows == 0:
        raise DataError(f"{origin}: has no rows")
    missing = sorted(task.columns() - set(table.column_names))
    if missing:
        raise DataError(
            f"{origin}: task {task.name!r} needs column {', '.join(map(repr, missing))}; "
            f"{available(table.column_names)}"
        )
    for name in sorted(task.columns()):
        if table.column_names.count(name) > 1:
            raise DataError(f"{origin}: column {name!r} appears twice")
    return Rows(task, split, table.select(sorted(task.columns())), origin)


def available_splits(task: Task, data_root: Path | None = None) -> list[str]:
    """The splits of the data root, else of the task's files, else those named for the Hub."""
    folder = _root_folder(task, data_root)
    local = sorted(path.stem for path in folder.glob("*.parquet")) if folder else []
    if local:
        return local
    if task.source.files:
        return sorted(task.source.files)
    return sorted(task.source.hub.splits) if task.source.hub else []


def overlapping_rows(task: Task, data_root: Path | None) -> list[int]:
    """Training rows that are evaluation rows of another task, from the root's `overlaps.json`."""
    if data_root is None or not (data_root / "overlaps.json").is_file():
        return []
    train_file = f"teacher/{task.source.root or task.name}/train.parquet"
    listed = read_json(data_root / "overlaps.json").get("overlaps", [])
    rows = {n for o in listed if o["train_file"] == train_file for n in o["train_row_numbers"]}
    return sorted(rows)


def read_source(path: Path) -> pa.Table:
    """Read a file of rows, or a folder saved by `datasets`.

    Raises:
        DataError: If it is missing, empty, of an unknown format or unreadable.
    """
    return _read_saved_dataset(path) if path.is_dir() else read_table(path)


def _read_saved_dataset(folder: Path) -> pa.Table:
    """Read what `datasets.Dataset.save_to_disk` wrote: Arrow streams named in state.json."""
    if not (folder / "state.json").is_file():
        raise DataError(f"{folder}: not a folder saved by `datasets` (state.json is missing)")
    state = read_json(folder / "state.json")
    try:
        names = [item["filename"] for item in state["_data_files"]]
    except (KeyError, TypeError):
        raise DataError(f"{folder / 'state.json'}: lists no data files") from None
    try:
        tables = []
        for name in names:
            with pa.memory_map(str(folder / name)) as file:
                tables.append(pa.ipc.open_stream(file).read_all())
        return pa.concat_tables(tables)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{folder}: cannot be read ({error})") from None


def _find(task: Task, split: str, data_root: Path | None) -> tuple[pa.Table, str]:
    folder = _root_folder(task, data_root)
    if folder:
        path = folder / f"{split}.parquet"
        if not path.is_file():
            there = available(p.stem for p in folder.glob("*.parquet"))
            raise DataError(f"{path}: task {task.name!r} has no split {split!r}; {there}")
        return read_source(path), str(path)
    if split in task.source.files:
        base = task.path.parent if task.path else Path()
        path = base / task.source.files[split]
        return read_source(path), str(path)
    if task.source.hub and split in task.source.hub.splits:
        return _from_hub(task, split)
    where = f"data root {data_root}" if data_root else "no data root given (--data or FREELM_DATA)"
    raise DataError(
        f"task {task.name!r}: split {split!r} not found ({where}); "
        f"{available(available_splits(task, data_root))}"
    )


def _root_folder(task: Task, data_root: Path | None) -> Path | None:
    if data_root is None:
        return None
    folder = data_root / "teacher" / (task.source.root or task.name)
    return folder if folder.is_dir() else None


def _from_hub(task: Task, split: str) -> tuple[pa.Table, str]:
    hub = task.source.hub
    assert hub is not None
    name = f"hub:{hub.path}" + (f"/{hub.config}" if hub.config else "") + f":{hub.splits[split]}"
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{name}: reading from the Hub needs `pip install datasets`, or give a data root"
        ) from None
    try:
        loaded = datasets.load_dataset(hub.path, hub.config, split=hub.splits[split])
    except Exception as error:  # the Hub client raises many kinds; the user needs one line
        raise DataError(
            f"{name}: cannot be loaded ({' '.join(str(error).split())[:200]})"
        ) from None
    return loaded.data.table, name
