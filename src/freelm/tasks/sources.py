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
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from freelm.errors import DataError, EmptyRowError, available
from freelm.io.strict_json import read_json
from freelm.tasks.forms import Wording, render_form
from freelm.tasks.task import Example, Phrasing, Task

READERS = {".csv": "CSV", ".jsonl": "JSON lines", ".json": "JSON lines", ".parquet": "Parquet"}


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
            raise DataError(f"{origin}: two columns are called {name!r}")
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


def read_table(path: Path) -> pa.Table:
    """Read a CSV, JSON lines or Parquet file, or a folder saved by `datasets`.

    Every CSV cell is read as text: guessing types would turn the text "007" into 7.

    Raises:
        DataError: If the file is missing, empty, of an unknown kind or unreadable.
    """
    if path.is_dir():
        return _read_saved_dataset(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.suffix not in READERS:
        raise DataError(f"{path}: unknown file type; {available(READERS)}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty")
    try:
        if path.suffix == ".parquet":
            return pa.parquet.read_table(path)
        return _read_csv(path) if path.suffix == ".csv" else _read_json_lines(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0]
        if "UTF8" in reason or "UTF-8" in reason:
            reason = "is not UTF-8 text; save it as UTF-8"
        raise DataError(f"{path}: cannot be read as {READERS[path.suffix]}: {reason}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _read_csv(path: Path) -> pa.Table:
    read = pa.csv.ReadOptions(block_size=_block_size(path))
    with path.open("rb") as file:
        header = pa.csv.open_csv(file, read_options=read, parse_options=_CSV).schema.names
    convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()))
    return pa.csv.read_csv(path, read_options=read, parse_options=_CSV, convert_options=convert)


_CSV = pa.csv.ParseOptions(newlines_in_values=True)


def _read_json_lines(path: Path) -> pa.Table:
    read = pa.json.ReadOptions(block_size=_block_size(path))
    table = pa.json.read_json(path, read_options=read)
    # The reader parses text such as "2020-01-01" as a date; the second read keeps it as text.
    schema = pa.schema([field.with_type(_without_times(field.type)) for field in table.schema])
    if schema != table.schema:
        parse = pa.json.ParseOptions(explicit_schema=schema)
        table = pa.json.read_json(path, read_options=read, parse_options=parse)
    table.validate(full=True)
    return table


def _without_times(kind: pa.DataType) -> pa.DataType:
    """A type inferred from JSON with strings in place of times."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_times(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_without_times(kind.value_type))
    return pa.string() if pa.types.is_temporal(kind) else kind


def _block_size(path: Path) -> int:
    """Bytes that a reader takes at once; a longer row cannot be read."""
    return min(max(path.stat().st_size, 2**16), 2**26)


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
        return read_table(path), str(path)
    if split in task.source.files:
        base = task.path.parent if task.path else Path()
        path = base / task.source.files[split]
        return read_table(path), str(path)
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
