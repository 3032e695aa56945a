import csv
import datetime
import decimal
import random
from itertools import repeat

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freelm.files import writer as table_writer
from freelm.files.reader import open_source
from freelm.files.writer import open_writer
from tiny_files import FORMATS, read_rows, some_rows, write_rows

ANSWERS = pa.schema([("label", pa.string()), ("p", pa.float64()), ("cut", pa.bool_())])


def answer(i):
    return {"label": "ä" if i % 3 else None, "p": i / 7, "cut": i % 2 == 0}


def convert(source, target, ending, size=4):
    """Copy a file with answers added to each row."""
    with open_writer(target, ending, source.schema, ANSWERS) as writer:
        place = 0
        for block in source.blocks(0, source.num_rows, repeat(size)):
            rows = [answer(place + i) for i in range(len(block))]
            writer.write(block, pa.Table.from_pylist(rows, ANSWERS))
            place += len(block)
    return target


def as_cells(row):
    """A row as CSV holds it."""
    named = {None: "", True: "true", False: "false"}
    return {k: named[v] if v is None or isinstance(v, bool) else str(v) for k, v in row.items()}


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_any_format_becomes_any_other_with_its_rows_and_columns_in_order(tmp_path, source, target):
    rows = some_rows(23)
    path = write_rows(tmp_path / f"in{source}", rows)
    found = read_rows(convert(open_source(path), tmp_path / f"out{target}", target))
    own = [as_cells(row) for row in rows] if "csv" in source else rows
    expected = [{**row, **answer(i)} for i, row in enumerate(own)]
    assert found == ([as_cells(row) for row in expected] if "csv" in target else expected)
    assert all(list(row) == ["id", "text", "share", "label", "p", "cut"] for row in found)


@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_rows_give_the_same_bytes_at_any_time_under_any_name(tmp_path, ending):
    source = open_source(write_rows(tmp_path / "in.jsonl", some_rows(23)))
    one = convert(source, tmp_path / "one", ending)
    assert convert(source, tmp_path / "other", ending).read_bytes() == one.read_bytes()


@pytest.mark.parametrize("ending", FORMATS)
def test_no_rows_make_a_file_with_columns(tmp_path, ending):
    path = write_rows(tmp_path / "in.parquet", some_rows(3))
    source = open_source(path)
    target = tmp_path / f"out{ending}"
    with open_writer(target, ending, source.schema, ANSWERS):
        pass
    assert read_rows(target) == []
    if ending == ".csv":
        assert target.read_bytes() == b"id,text,share,label,p,cut\n"
    if ending == ".parquet":
        assert pq.read_schema(target) == pa.schema([*source.schema, *ANSWERS])


def test_parquet_keeps_every_type_and_value(tmp_path):
    table = pa.table(
        {
            "ns": pa.array([1, None], pa.timestamp("ns", "Europe/Berlin")),
            "decimal": pa.array([decimal.Decimal("-1.50"), None], pa.decimal128(30, 2)),
            "small": pa.array([-1, None], pa.int8()),
            "half": pa.array([0.5, None], pa.float32()),
            "word": pa.array(["a", None]).dictionary_encode(),
            "nested": pa.array([[{"x": 1, "y": [b"z"]}], None]),
            "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            "day": pa.array([datetime.date(2020, 1, 2), None]),
            "": pa.array(["nameless", None], pa.large_string()),
        }
    ).replace_schema_metadata({"pandas": "{}"})
    pq.write_table(table, tmp_path / "in.parquet")
    source = open_source(tmp_path / "in.parquet")
    found = pq.read_table(convert(source, tmp_path / "out.parquet", ".parquet"))
    assert found.select(table.column_names).equals(table)
    assert found.schema.metadata is None
    assert found.schema.field("p").type == pa.float64()


def test_the_size_of_row_groups_is_bounded_and_does_not_follow_the_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(table_writer, "ROW_GROUP", 10)
    source = open_source(write_rows(tmp_path / "in.jsonl", some_rows(47)))
    facts = pq.read_metadata(convert(source, tmp_path / "a", ".parquet", size=5))
    assert [facts.row_group(i).num_rows for i in range(5)] == [10, 10, 10, 10, 7]
    monkeypatch.setattr(table_writer, "ROW_GROUP_BYTES", 1)
    assert pq.read_metadata(convert(source, tmp_path / "b", ".parquet", 5)).num_row_groups == 10


def test_json_lines_keep_the_keys_that_each_row_has(tmp_path):
    rows = [{"b": 1, "a": {"x": [1, "y"]}}, {"a": 5}, {"n": 2**70, "f": 1e-300}]
    source = open_source(write_rows(tmp_path / "in.jsonl", rows))
    found = read_rows(convert(source, tmp_path / "out.jsonl", ".jsonl"))
    assert found == [{**row, **answer(i)} for i, row in enumerate(rows)]
    assert [list(row)[:-3] for row in found] == [list(row) for row in rows]


def test_formulas_are_inert_in_csv_alone_and_in_headers_too(tmp_path):
    rows = [{"=h": "=1+1", "n": -5, "t": "-5"}, {"=h": "@x", "n": -0.5, "t": "+1 and more"}]
    source = open_source(write_rows(tmp_path / "in.jsonl", rows))
    found = read_rows(convert(source, tmp_path / "out.csv", ".csv"))
    assert [list(row.values())[:3] for row in found] == [
        ["'=1+1", "-5", "-5"],
        ["'@x", "-0.5", "'+1 and more"],
    ]
    assert next(iter(found[0])) == "'=h"
    for ending in (".jsonl", ".parquet"):
        found = read_rows(convert(source, tmp_path / f"out{ending}", ending))
        assert [row["=h"] for row in found] == ["=1+1", "@x"]


def test_a_csv_cell_may_hold_any_text(tmp_path):
    rng = random.Random(0)
    pieces = ['"', ",", "\n", "\r", "\r\n", ";", "\t", "'", "a", " ", "\x00", "\u2028", "ä", "\\"]
    texts = ["x" + "".join(rng.choices(pieces, k=rng.randint(0, 6))) for _ in range(200)]
    rows = [{"text": text, "other": texts[-i]} for i, text in enumerate(texts)]
    source = open_source(write_rows(tmp_path / "in.jsonl", rows))
    path = convert(source, tmp_path / "out.csv", ".csv")
    again = open_source(path)
    records = [r for block in again.blocks(0, 200, repeat(50)) for r in block.records()]
    assert [{"text": r["text"], "other": r["other"]} for r in records] == rows
    with path.open(newline="", encoding="utf-8") as file:
        assert [row["text"] for row in csv.DictReader(file)] == texts


def test_text_that_no_utf8_file_can_hold_is_written_as_well_as_the_format_can(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a\\ud800b", "n": NaN}\n')
    source = open_source(tmp_path / "in.jsonl")
    (row,) = read_rows(convert(source, tmp_path / "out.jsonl", ".jsonl"))
    assert (row["text"], row["n"]) == ("a\ud800b", None)
    for ending in (".csv", ".parquet"):
        (row,) = read_rows(convert(source, tmp_path / f"out{ending}", ending))
        assert row["text"] == "a\ufffdb"


def test_an_error_of_the_disk_comes_through(tmp_path):
    source = open_source(write_rows(tmp_path / "in.jsonl", some_rows(3)))
    with pytest.raises(IsADirectoryError), open_writer(tmp_path, ".csv", source.schema, ANSWERS):
        pass
