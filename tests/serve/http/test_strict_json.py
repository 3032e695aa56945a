import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.serve.http.errors import ApiError
from freelm.serve.http.limits import Limits
from freelm.serve.http.strict_json import parse_json

LIMITS = Limits()

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text("ab\u00e9"), v, max_size=4)
)


@given(values)
def test_what_is_json_is_read_as_it_is(value):
    assert parse_json(json.dumps(value).encode(), LIMITS) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode(), LIMITS) == value


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{", "not JSON"),
        (b"hello", "not JSON"),
        (b"\xff\xfe{}", "not UTF-8 (byte 0)"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[1e999]", "too large"),
        (b"[" + b"9" * 30 + b"]", "too large"),
        (b"[" + b"9" * 10_000 + b"]", "too many digits"),
        (b'{"a": 1, "a": 2}', "the key 'a' twice"),
        (b'{"x": [{"a": 1, "\\u0061": 2}]}', "the key 'a' twice"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"\\udc00x": 1}', "surrogate"),
    ],
)
def test_what_others_let_pass_is_refused(body, words):
    with pytest.raises(ApiError) as refused:
        parse_json(body, LIMITS)
    assert (refused.value.status, refused.value.code) == (400, "invalid_json")
    assert words in refused.value.message


@pytest.mark.parametrize("depth", [33, 900, 100_000])
@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_deep_nesting_is_refused_by_the_name_of_its_limit(depth, pair):
    opening = "[" if pair == "[]" else '{"a":'
    closing = "]" if pair == "[]" else "}"
    body = opening * depth + "1" + closing * depth
    with pytest.raises(ApiError, match="max_json_depth"):
        parse_json(body.encode(), LIMITS)


def test_nesting_up_to_the_limit_is_read():
    parse_json(b"[" * 32 + b"]" * 32, LIMITS)


def test_too_many_values_are_refused_by_the_name_of_their_limit():
    limits = Limits(max_json_values=10)
    parse_json(b"[1,2,3,4,5,6,7,8,9]", limits)
    with pytest.raises(ApiError, match="max_json_values"):
        parse_json(b"[1,2,3,4,5,6,7,8,9,10]", limits)


def test_a_surrogate_pair_is_a_character():
    assert parse_json(b'["\\ud83d\\ude00"]', LIMITS) == ["\U0001f600"]
