import datetime
import decimal

import pyarrow as pa
import pytest

from freelm.errors import DataError
from freelm.files.tables import ArrowBlock, RecordBlock
from freelm.io.tables import table_format


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.csv", ".csv"),
        ("a.b.CSV.GZ", ".csv.gz"),
        ("dir.csv/a.jsonl", ".jsonl"),
        ("a.jsonl.gz", ".jsonl.gz"),
        ("a.parquet", ".parquet"),
    ],
)
def test_the_format_is_what_the_name_ends_in(tmp_path, name, ending):
    assert table_format(tmp_path / name) == ending


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.txt: unknown file format; available: \.csv"):
        table_format(tmp_path / "a.txt")


def test_rows_of_text_as_a_table_have_the_columns_of_the_schema():
    block = RecordBlock([{"a": 1, "b": "x"}, {"b": [1, "y"]}, {}], {2: "bad"})
    schema = pa.schema([("b", pa.string()), ("a", pa.int64()), ("c", pa.bool_())])
    assert block.table(schema) == pa.table(
        {"b": ["x", '[1, "y"]', None], "a": [1, None, None], "c": [None] * 3}, schema
    )
    assert block.values("a") == [1, None, None]
    assert len(block) == 3


def test_typed_rows_as_records_have_text_for_times_and_decimals_only():
    table = pa.table(
        {
            "n": pa.array([-1, None], pa.int8()),
            "t": pa.array([1, None], pa.timestamp("ns")),
            "d": [decimal.Decimal("1.50"), None],
            "l": [[datetime.date(2020, 1, 2)], None],
            "s": pa.array(["a", None]).dictionary_encode(),
        }
    )
    block = ArrowBlock(table)
    assert block.records() == [
        {"n": -1, "t": "1970-01-01 00:00:00.000000001", "d": "1.50", "l": ["2020-01-02"], "s": "a"},
        dict.fromkeys(table.column_names),
    ]
    assert block.table(table.schema) is table
    assert block.values("s") == ["a", None]
