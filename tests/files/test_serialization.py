import datetime
import decimal
import json
import math
import uuid

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.files.serialization import csv_cell, json_text, plain_type, sound_text

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+A1",
        "-A1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "-",
        "-1+2",
        "+49 170 1234",
        "- fine",
        "=5",
        "\n=1",
        "\uff1d1+1",
    ],
)
def test_a_text_that_a_spreadsheet_would_compute_gets_an_apostrophe(text):
    assert csv_cell(text) == f"'{text}"


def test_a_long_cell_that_is_nearly_a_number_takes_no_time():
    text = "-" + "1" * 300_000 + "x"
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "text",
    ["-5", "+5", "-5.25", "-.5", "-1.5e-7", "+1E3", "-1,5", "-1.234,56", "-3%", "-inf", "-nan"],
)
def test_numbers_that_are_written_as_text_stay(text):
    assert csv_cell(text) == text


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        ("", ""),
        (True, "true"),
        (-5, "-5"),
        (-0.1, "-0.1"),
        (1e-300, "1e-300"),
        (math.inf, "inf"),
        (2**70, str(2**70)),
        (["=a", None], '["=a", null]'),
        ({"a": "ü"}, '{"a": "ü"}'),
        (b"\x00\xff", "AP8="),
        ("a=b", "a=b"),
        ("'=1", "'=1"),
        (decimal.Decimal("-5.20"), "-5.20"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    ],
)
def test_cells_of_other_values(value, cell):
    assert csv_cell(value) == cell


@given(st.text())
def test_no_text_cell_begins_as_a_formula_does_unless_it_is_a_number(text):
    cell = csv_cell(text)
    assert cell in (text, f"'{text}")
    if cell.startswith(FORMULA):
        float(cell.rstrip("%").replace(".", "").replace(",", ""))


@given(st.one_of(st.integers(), st.floats(allow_nan=False)))
def test_a_number_comes_back_from_its_cell(number):
    assert float(csv_cell(number)) == float(number)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@given(values)
def test_json_comes_back_as_it_was_also_with_unpaired_surrogates(value):
    text = json_text(value)
    text.encode()
    assert "\n" not in text
    assert json.loads(text) == value


def test_json_has_null_for_what_it_has_no_number_for():
    assert json_text({"a": [math.nan, math.inf, 1.5]}) == '{"a": [null, null, 1.5]}'
    assert json_text({"\ud800": math.nan}) == '{"\\ud800": null}'


def test_json_has_text_for_what_it_has_no_value_for():
    assert json_text([b"\xff", datetime.date(2020, 1, 2)]) == '["/w==", "2020-01-02"]'


@given(st.text(st.characters(exclude_categories=[])))
def test_sound_text_can_be_written(text):
    sound = sound_text(text)
    sound.encode()
    assert sound == "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (pa.timestamp("ns"), 1, "1970-01-01 00:00:00.000000001"),
        (pa.timestamp("s", "UTC"), 0, "1970-01-01 00:00:00Z"),
        (pa.date32(), datetime.date(2020, 1, 2), "2020-01-02"),
        (pa.time64("us"), 1, "00:00:00.000001"),
        (pa.duration("s"), 5, "5"),
        (pa.decimal128(5, 2), decimal.Decimal("-5.20"), "-5.20"),
        (pa.list_(pa.timestamp("ns")), [1], ["1970-01-01 00:00:00.000000001"]),
        (pa.struct([("t", pa.date32())]), {"t": datetime.date(2020, 1, 2)}, {"t": "2020-01-02"}),
        (pa.dictionary(pa.int8(), pa.string()), "a", "a"),
        (pa.int8(), -5, -5),
        (pa.float32(), 0.5, 0.5),
        (pa.large_string(), "a", "a"),
    ],
)
def test_types_without_values_in_json_become_text(kind, value, shown):
    array = pa.array([value, None], kind)
    assert array.cast(plain_type(kind)).to_pylist() == [shown, None]
