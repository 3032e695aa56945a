"""Values as text: JSON that every parser reads, and CSV cells that no spreadsheet executes."""

import base64
import json
import math
import re
from typing import Any

import pyarrow as pa

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters of cells that spreadsheets execute (OWASP, "CSV Injection"); the last four are
full-width forms."""

_NUMBER = re.compile(r"[+-]?((?=[.,]*\d)[\d.,]++(e[+-]?\d+)?%?|inf|infinity|nan)", re.IGNORECASE)


def csv_cell(value: Any) -> str:
    """A value as a CSV cell: empty for None, JSON for lists and mappings.

    Text that begins with `=`, `+`, `-`, `@`, a tab or a line break is prefixed by an apostrophe, so
    that spreadsheets show it instead of executing it. Numbers are unchanged, also those written as
    text (`-5`, `+1.5e3`, `-1,5`).
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, bool | int | list | dict):
        return json_text(value)
    return inert_text(sound_text(value if isinstance(value, str) else _plain(value)))


def inert_text(text: str) -> str:
    """Prefix the text by an apostrophe if a spreadsheet would execute it."""
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def json_text(value: Any) -> str:
    """A value as JSON on one line; NaN and infinities, which JSON lacks, become null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
        text.encode()
    except UnicodeEncodeError:  # an unpaired surrogate, which only an escape can represent
        return json.dumps(_finite(value), default=_plain)
    except ValueError:
        return json_text(_finite(value))
    return text


def sound_text(text: str) -> str:
    """Replace unpaired surrogates, which UTF-8 cannot encode, by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Replace times and decimals, which JSON lacks, by text in a type."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    is_text = pa.types.is_temporal(kind) or pa.types.is_decimal(kind)
    return pa.string() if is_text and not pa.types.is_interval(kind) else kind


def _plain(value: Any) -> Any:
    """A value that JSON lacks: bytes as Base64, anything else as its `str`."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
