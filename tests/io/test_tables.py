import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freelm.errors import DataError
from freelm.io import tables
from freelm.io.tables import open_parquet, read_csv_rows, read_jsonl_rows, read_table

COLUMNS = {"text": ["one", "two", "three"], "label": [0, 1, 1], "other": [1, 2, 3]}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# -- CSV ------------------------------------------------------------------------------------------


def test_csv_cells_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n007,1\n1e5,0\ntrue,1\n2020-01-01,0\nNA,1\n,0\n")
    assert read_table(path).to_pydict() == {
        "text": ["007", "1e5", "true", "2020-01-01", "NA", ""],
        "label": ["1", "0", "1", "0", "1", "0"],
    }


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\ufefftext,label\nä語,1\n")
    assert read_table(path).to_pydict() == {"text": ["ä語"], "label": ["1"]}


def test_quoted_cells_may_hold_newlines_commas_and_quotes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"one\n\ntwo, ""three""",1\nfour,0\n')
    assert read_table(path)["text"].to_pylist() == ['one\n\ntwo, "three"', "four"]


def test_file_of_several_chunks_is_read_completely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "CHUNK_ROWS", 7)
    texts = [f"{n}\n" * (1 + n % 40) for n in range(30)]
    content = "text,label\n" + "".join(f'"{text}",1\n' for text in texts)
    assert read_table(write(tmp_path / "a.csv", content))["text"].to_pylist() == texts
    rows = [{"x": None} if n < 10 else {"x": n + 0.5, "y": "late"} for n in range(30)]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert read_table(path).to_pylist() == [{**row, "y": row.get("y")} for row in rows]


def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\r\none,1\r\n")
    assert read_table(path).to_pydict() == {"text": ["one"], "label": ["1"]}


def test_csv_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\nsüß,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"cannot be read as CSV: row 1: line 2: is not UTF-8"):
        read_table(path)


def test_a_row_with_too_few_cells_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\none,1\ntwo\n")
    with pytest.raises(
        DataError,
        match="cannot be read as CSV: row 2: the row has 1 cells and the header 2",
    ):
        read_table(path)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_row_of_some_megabytes_is_read(tmp_path: Path, kind: str) -> None:
    novel = "a cat sleeps; " * 300_000
    rows = [("one", 1), (novel, 0), ("two", 1)]
    if kind == "csv":
        content = "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)
    else:
        content = "".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows)
    found = read_table(write(tmp_path / f"a.{kind}", content))
    assert found["text"].to_pylist() == ["one", novel, "two"]


# -- JSON lines and Parquet -----------------------------------------------------------------------


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    rows = [{"text": "007", "label": 1, "more": {"deep": ["x"]}}, {"text": "ä\n", "label": 0}]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert read_table(path).to_pylist() == [rows[0], {**rows[1], "more": None}]


def test_json_text_that_looks_like_a_date_stays_text(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "2020-01-01", "options": ["2020-01-01"], "more": {"day": "2021-01-01"}, "n": 1},
        {"text": "2021-05-05 10:00:00", "options": [], "more": {"day": "2021-01-02"}, "n": 2},
    ]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert read_table(path).to_pylist() == rows


@pytest.mark.parametrize(
    "content", ['{"text": "one"\n', "not json\n", '[{"text": "one"}]\n', '{"text": "\xff"}\n']
)
def test_broken_json_lines_are_named(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "a.jsonl", content.encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.jsonl: cannot be read as JSON lines"):
        read_table(path)


def test_parquet_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["007"], "label": [1]}), path)
    assert read_table(path).to_pydict() == {"text": ["007"], "label": [1]}


def test_broken_parquet_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table(COLUMNS), tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    for bad in (content[:100], b"text,label\n"):
        path = write(tmp_path / "a.parquet", bad)
        with pytest.raises(DataError, match=r"a\.parquet: cannot be read"):
            read_table(path)


# -- files in general -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_an_empty_or_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: no such file"):
        read_table(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}: is empty"):
        read_table(write(tmp_path / name, b""))


@pytest.mark.parametrize("name", ["a.xlsx", "a.txt", "a.pkl", "a"])
def test_an_unknown_kind_of_file_names_those_that_are_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"unknown file format; available: \.csv, .*\.parquet"):
        read_table(write(tmp_path / name, b"x"))


# -- limits ---------------------------------------------------------------------------------------


def test_the_limit_of_csv_cells_is_not_changed_for_others(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = write(tmp_path / "a.csv", "text\n" + "x" * 200_000 + "\nsecond\n")
    rows = read_csv_rows(path)
    assert next(rows) == ({"text": "x" * 200_000}, None)
    assert csv.field_size_limit() == before
    with pytest.raises(csv.Error, match="field larger"):
        list(csv.reader(["x" * 200_000]))
    assert list(rows) == [({"text": "second"}, None)]


def test_a_line_of_json_without_an_end_is_one_bad_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_LINE", 20)
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n{"a": "' + "x" * 100 + '"}\n{"a": 2}\n')
    assert list(read_jsonl_rows(path)) == [
        ({"a": 1}, None),
        ({}, "line 2 is longer than 20 bytes"),
        ({"a": 2}, None),
    ]


@pytest.mark.parametrize("line", ["[" * 100_000, '{"a": ' * 50_000 + "1" + "}" * 50_000])
def test_deep_json_lines_are_refused_in_one_line(tmp_path: Path, line: str) -> None:
    """In a process of its own: pyarrow's JSON reader ended the process on such a line."""
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n' + line + "\n")
    code = (
        "import sys, pathlib\n"
        "from freelm.errors import DataError\n"
        "from freelm.io.tables import read_table\n"
        "try:\n"
        "    read_table(pathlib.Path(sys.argv[1]))\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "row 2: line 2 cannot be read as JSON (nested more than 64 levels" in result.stdout


BIG = "x" * 1_000_000


@pytest.mark.parametrize(
    "values",
    [
        [BIG] * 200,
        pa.array([BIG] * 200, pa.large_string()),
        [BIG.encode()] * 200,
        [[BIG, BIG]] * 100,
        [{"deep": [{"er": BIG}]}] * 200,
        [[BIG] * 200],
        [BIG[:-6] + f"{n:06d}" for n in range(200)],
    ],
    ids=["text", "large", "bytes", "lists", "structs", "one row", "distinct"],
)
def test_a_parquet_bomb_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: Any
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": values}), path, compression="zstd")
    assert path.stat().st_size < 2_000_000
    monkeypatch.setattr(tables, "memory_limit", lambda: 100_000_000)
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(DataError, match=r"needs 0\.2 GB of memory, more than .*0\.1 GB"):
        read_table(path)
    assert pa.default_memory_pool().max_memory() <= max(before, 100_000_000)


def test_many_repeated_rows_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": pa.nulls(10_000_000, pa.int64())}), path)
    monkeypatch.setattr(tables, "memory_limit", lambda: 10_000_000)
    with pytest.raises(DataError, match="more than the limit"):
        read_table(path)


def test_texts_that_repeat_are_read_as_they_are(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": ["a", None, "a"],
            "kinds": pa.array(["x", "y", "x"]).dictionary_encode(),
            "lists": [["a", "b"], None, []],
            "deep": [{"b": b"1", "n": [{"t": "a"}]}, None, {"b": None, "n": []}],
            "large": pa.array(["a", "b", None], pa.large_string()),
            "views": pa.array(["a", "b", None], pa.string_view()),
            "maps": pa.array([[("k", "v")], None, []], pa.map_(pa.string(), pa.string())),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    with open_parquet(tmp_path / "a.parquet") as file:
        assert file.read().to_pylist() == table.to_pylist()
        views = table.schema.get_field_index("views")
        assert file.schema == table.schema.set(views, pa.field("views", pa.string()))
        columns = ["lists", "text"]
        found = pa.concat_tables(file.batches(2, columns=columns))
        assert found.to_pylist() == table.select(columns).to_pylist()
