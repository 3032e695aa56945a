"""Values as text: JSON that every reader takes, and CSV cells that no spreadsheet runs."""

import base64
import json
import math
import re
from typing import Any

import pyarrow as pa

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell that a spreadsheet takes for a formula begins with (OWASP, "CSV Injection"); the last
four are the full-width forms of the first."""

_NUMBER = re.compile(r"[+-]?((?=[.,]*\d)[\d.,]++(e[+-]?\d+)?%?|inf|infinity|nan)", re.IGNORECASE)


def csv_cell(value: Any) -> str:
    """A value as a CSV cell: nothing for None, JSON for lists and objects.

    A text that begins with `=`, `+`, `-`, `@`, a tab or a line end gets an apostrophe before it, so
    that spreadsheets show it and do not compute it; a number, also one that is written as text
    (`-5`, `+1.5e3`, `-1,5`), stays as it is.
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, bool | int | list | dict):
        return json_text(value)
    return inert_text(sound_text(value if isinstance(value, str) else _plain(value)))


def inert_text(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def json_text(value: Any) -> str:
    """A value as JSON in one line; not-a-number and infinities, which JSON lacks, become null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
        text.encode()
    except UnicodeEncodeError:  # an unpaired surrogate, which only an escape can write
        return json.dumps(_finite(value), default=_plain)
    except ValueError:
        return json_text(_finite(value))
    return text


def sound_text(text: str) -> str:
    """The text with U+FFFD in place of unpaired surrogates, which UTF-8 cannot write."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def plain_type(kind: pa.DataType) -> pa.DataType:
    """A type with text in place of times and decimals, for which JSON has no values."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    is_text = pa.types.is_temporal(kind) or pa.types.is_decimal(kind)
    return pa.string() if is_text and not pa.types.is_interval(kind) else kind


def _plain(value: Any) -> Any:
    """What JSON lacks: bytes as Base64, anything else as it is shown."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
