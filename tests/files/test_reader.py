import gzip
import io
import json
import random
from itertools import repeat

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freelm.errors import DataError
from freelm.files import reader as table_reader
from freelm.files.reader import open_source
from freelm.io import tables
from tiny_files import FORMATS, some_rows, write_rows


@pytest.fixture
def put(tmp_path):
    """`put("a.csv", b"...")` -> the source of a file with this content."""

    def call(name, content):
        packed = gzip.compress(content) if name.endswith(".gz") else content
        (tmp_path / name).write_bytes(packed)
        return open_source(tmp_path / name)

    return call


def read(source, start=0, stop=None, size=3):
    """(records, row -> fault) of some rows."""
    records, faults = [], {}
    for block in source.blocks(start, source.num_rows if stop is None else stop, repeat(size)):
        faults |= {start + len(records) + place: fault for place, fault in block.faults.items()}
        records += block.records()
    return records, faults


# -- any format ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", FORMATS)
def test_rows_are_complete_and_in_order_for_any_start_and_block_size(tmp_path, ending):
    rows = some_rows(25)
    source = open_source(write_rows(tmp_path / f"rows{ending}", rows))
    expected = [{k: str(v) for k, v in row.items()} for row in rows] if "csv" in ending else rows
    assert source.num_rows == 25
    assert source.schema.names == ["id", "text", "share"]
    rng = random.Random(0)
    for _ in range(30):
        start, stop = sorted(rng.choices(range(26), k=2))
        size = rng.randint(1, 12)
        blocks = list(source.blocks(start, stop, repeat(size)))
        assert [len(block) for block in blocks] == [
            min(size, stop - place) for place in range(start, stop, size)
        ]
        assert [record for block in blocks for record in block.records()] == expected[start:stop]
        assert [v for b in blocks for v in b.values("text")] == [
            row["text"] for row in rows[start:stop]
        ]


@pytest.mark.parametrize("ending", FORMATS)
def test_a_missing_file_is_named(tmp_path, ending):
    with pytest.raises(DataError, match=r"rows.*: no such file"):
        open_source(tmp_path / f"rows{ending}")


@pytest.mark.parametrize("name", ["rows.xlsx", "rows.json.zip", "rows", "rows.parquet.gz"])
def test_an_unknown_kind_of_file_is_refused_with_those_that_are_known(tmp_path, name):
    with pytest.raises(DataError, match=r"unknown file format; available: \.csv, \.csv\.gz"):
        open_source(tmp_path / name)


def test_endings_may_be_in_capitals(put):
    assert read(put("ROWS.CSV", b"text\na\n"))[0] == [{"text": "a"}]


@pytest.mark.parametrize("ending", [".csv.gz", ".jsonl.gz"])
@pytest.mark.parametrize("damage", [lambda b: b[:-12], lambda b: b[:30] + b"x" * 9 + b[39:]])
def test_a_damaged_gzip_file_is_named(tmp_path, ending, damage):
    path = write_rows(tmp_path / f"rows{ending}", some_rows(50))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="is damaged or not a gzip file"):
        open_source(path)


def test_what_only_has_the_name_of_a_gzip_file_is_named(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(b"text\na\n")
    with pytest.raises(DataError, match=r"a\.csv\.gz: is damaged or not a gzip file"):
        open_source(tmp_path / "a.csv.gz")


# -- CSV -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize(
    "content",
    [
        b'id,text\n1,"a\n\nb"\n2,"c ""d"", e"\n',
        b'\xef\xbb\xbfid,text\r\n1,"a\n\nb"\r\n2,"c ""d"", e"',
        b'\n\nid,text\n\n1,"a\n\nb"\n\n\n2,"c ""d"", e"\n\n'[2:],
    ],
    ids=["plain", "bom", "blank lines"],
)
def test_csv_as_it_comes(put, name, content):
    source = put(name, content)
    assert read(source) == ([{"id": "1", "text": "a\n\nb"}, {"id": "2", "text": 'c "d", e'}], {})
    assert source.num_rows == 2
    assert source.schema == pa.schema([("id", pa.string()), ("text", pa.string())])


def test_a_csv_row_of_another_length_is_bad_and_keeps_what_fits(put):
    records, faults = read(put("a.csv", b"a,b\n1,2\n3\n4,5,6\n7,8\n"))
    assert records == [
        {"a": "1", "b": "2"},
        {"a": "3", "b": None},
        {"a": "4", "b": "5"},
        {"a": "7", "b": "8"},
    ]
    assert faults == {
        1: "the row has 1 cells and the header 2",
        2: "the row has 3 cells and the header 2",
    }


def test_a_stray_quote_makes_one_bad_row(put):
    records, faults = read(put("a.csv", b'a,b\n1,2\n"x"y,3\n4,"u\n"v,5\n6,7\n'))
    assert records == [{"a": "1", "b": "2"}, {}, {}, {"a": "6", "b": "7"}]
    assert faults == {
        1: "line 3: is not CSV (',' expected after '\"')",
        2: "lines 4 to 5: is not CSV (',' expected after '\"')",
    }


def test_unclosed_quote_is_reported_with_its_lines(put):
    records, faults = read(put("a.csv", b'a\nx\n"y\nz\n'))
    assert records == [{"a": "x"}, {}]
    assert faults == {1: "lines 3 to 4: a quoted cell is not closed"}


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(put, monkeypatch):
    monkeypatch.setattr(tables, "MAX_CELL", 1000)
    source = put("a.csv", b'a\nx\n"y' + b"1234567\n" * 500)
    records, faults = read(source)
    assert faults == {1: "lines 3 to 127: a quoted cell is not closed"}
    assert records[:3] == [{"a": "x"}, {}, {"a": "1234567"}]
    assert len(records) == source.num_rows == 2 + 375


def test_a_cell_may_be_longer_than_the_readers_own_limit(put):
    assert read(put("a.csv", b"a\n" + b"x" * 200_000 + b"\n"))[0] == [{"a": "x" * 200_000}]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_row_that_is_not_utf_8_is_a_bad_row_at_its_place(put, name):
    content = "a,b\nok,1\ncafé,2\nnaïve,3\n".encode("latin-1") + "größe,4\n".encode()
    source = put(name, content)
    records, faults = read(source)
    assert records == [{"a": "ok", "b": "1"}, {}, {}, {"a": "größe", "b": "4"}]
    assert faults == {1: "line 3: is not UTF-8", 2: "line 4: is not UTF-8"}
    assert source.num_rows == 4


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("téxt\nok\n".encode("latin-1"), "its header is not UTF-8; save the file as UTF-8"),
        ("text\n".encode("utf-16"), "its header is not UTF-8"),
        (b"", "has no header"),
        (b"\n", "has no header"),
        (b"a,b,a\n1,2,3\n", "column 'a' appears twice"),
        (b'"a"b,c\n', "its header cannot be read"),
    ],
)
def test_unreadable_csv_file_is_named(put, name, content, message):
    with pytest.raises(DataError, match=rf"a\.csv.*: {message}"):
        put(name, content)


# -- JSON lines ------------------------------------------------------------------------------------


def lines(*values):
    return "".join(json.dumps(value) + "\n" for value in values).encode()


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_json_lines_as_they_come(put, name):
    content = b'\xef\xbb\xbf{"text": "a\\nb", "x": {"y": [1, null]}}\r\n\n  \n{"z": 1.50}'
    records, faults = read(put(name, content))
    assert records == [{"text": "a\nb", "x": {"y": [1, None]}}, {"z": 1.5}]
    assert faults == {}


def test_a_line_that_is_no_object_is_a_bad_row_at_its_place(put):
    bad = [
        b"oops",
        b'{"text": "a"',
        b"[1]",
        b'"text"',
        b'{"text": "caf\xe9"}',
        b'{"\\ud800": 1}',
        b"[" * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
    ]
    content = b"\n\n".join([b'{"text": "first"}', *bad, b'{"text": "last"}'])
    records, faults = read(put("a.jsonl", content))
    assert records == [{"text": "first"}, *({} for _ in bad), {"text": "last"}]
    assert list(faults) == list(range(1, len(bad) + 1))
    reasons = list(faults.values())
    assert reasons[0] == "line 3 is not JSON (Expecting value at character 1)"
    assert reasons[2] == "line 7 is not a JSON object"
    assert reasons[4] == "line 11 is not UTF-8 (byte 13 of the line)"
    assert reasons[5] == "line 13 has a key with an unpaired surrogate"
    assert reasons[6].startswith("line 15 cannot be read as JSON (")
    assert reasons[7].startswith("line 17 cannot be read as JSON (")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([None, 1, None, 2.5], pa.float64()),
        ([True, None], pa.bool_()),
        (["a", "2020-01-01"], pa.string()),
        (["a", 1], pa.string()),
        ([True, 1], pa.string()),
        ([1, 2**70], pa.string()),
        (["\ud800"], pa.string()),
        ([None, None], pa.string()),
        ([[], [1]], pa.list_(pa.int64())),
        ([[]], pa.list_(pa.string())),
        ([[1], ["a"]], pa.string()),
        ([{}], pa.string()),
        ([[{}]], pa.string()),
        ([{"b": 1}, {"a": 2.5}], pa.struct([("b", pa.int64()), ("a", pa.float64())])),
        ([{"b": None}], pa.struct([("b", pa.string())])),
    ],
)
@pytest.mark.parametrize("scan_rows", [1, 1000])
def test_a_column_has_the_type_that_its_values_share_or_is_text(
    put, monkeypatch, values, kind, scan_rows
):
    monkeypatch.setattr(table_reader, "SCAN_ROWS", scan_rows)
    source = put("a.jsonl", lines(*({"x": value} for value in values)))
    assert source.schema == pa.schema([("x", kind)])
    (block,) = source.blocks(0, len(values), repeat(100))
    table = block.table(source.schema)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    found = pq.read_table(sink).column("x").to_pylist()
    if kind != pa.string():
        wanted = [
            v and {**dict.fromkeys(["b", "a"]), **v} if v == {"a": 2.5} else v for v in values
        ]
        wanted = [{"b": 1, "a": None} if v == {"b": 1} else v for v in wanted]
        assert found == wanted
    else:
        shown = [v if isinstance(v, str | None) else json.dumps(v) for v in values]
        assert found == [v and v.replace("\ud800", "\ufffd") for v in shown]


def test_integer_too_large_for_a_float_is_rounded(put, monkeypatch):
    monkeypatch.setattr(table_reader, "SCAN_ROWS", 1)
    source = put("a.jsonl", lines({"x": 2**53 + 1, "y": [2**53 + 1]}, {"x": 0.5, "y": [0.5]}))
    (block,) = source.blocks(0, 2, repeat(2))
    assert block.table(source.schema).to_pylist() == [
        {"x": 2.0**53, "y": [2.0**53]},
        {"x": 0.5, "y": [0.5]},
    ]


def test_columns_are_those_of_all_rows_in_the_order_they_first_come(put):
    source = put("a.jsonl", lines({"b": 1}, {"a": 1, "b": 2}, {"c": 1, "a": 2}))
    assert source.schema.names == ["b", "a", "c"]


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_a_file_without_lines_has_no_rows(put, content):
    source = put("a.jsonl", content)
    assert (source.num_rows, source.schema.names, read(source)) == (0, [], ([], {}))


# -- Parquet ---------------------------------------------------------------------------------------


def test_row_groups_before_the_start_are_not_read(put, monkeypatch):
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": [str(i) for i in range(100)]}), sink, row_group_size=10)
    source = put("a.parquet", sink.getvalue())
    read_groups = []
    own = pq.ParquetFile.iter_batches

    def watched(self, **options):
        read_groups.extend(options["row_groups"])
        return own(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    assert read(source, 25, 32)[0] == [{"text": str(i)} for i in range(25, 32)]
    assert min(read_groups) == 2


def test_a_parquet_file_that_is_wrong_is_named(put):
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read as Parquet"):
        put("a.parquet", b"PAR1 and no more")
    sink = io.BytesIO()
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    pq.write_table(twice, sink)
    with pytest.raises(DataError, match="column 'x' appears twice"):
        put("a.parquet", sink.getvalue())


def test_a_damaged_page_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [str(i) * 50 for i in range(500)]})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[100:400] = bytes(300)
    path.write_bytes(content)
    source = open_source(path)
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read"):
        read(source)
