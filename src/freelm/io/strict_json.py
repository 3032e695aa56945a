"""Reading JSON, with a bounded nesting depth."""

import json
from pathlib import Path
from typing import Any

from freelm.errors import DataError, FreeLMError, os_reason

MAX_DEPTH = 64
"""Levels of lists and objects; code that walks or converts deeper values overflows the stack."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: If it is not JSON (`json.JSONDecodeError`), nested more than `MAX_DEPTH` levels
            deep, or holds a number of thousands of digits.
    """
    too_deep = f"nested more than {MAX_DEPTH} levels deep"
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(too_deep) from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError(too_deep)
    return value


def _depth(value: Any) -> int:
    """Levels of lists and objects, found level by level."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [
            child for item in level for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def read_json(path: Path, error: type[FreeLMError] = DataError) -> Any:
    """Read a JSON file.

    Args:
        path: A UTF-8 file.
        error: Exception to raise.

    Raises:
        FreeLMError: Of type `error`, if it cannot be read or is not JSON.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise error(f"{path}: cannot be read ({os_reason(fault)})") from None
    except ValueError as fault:
        raise error(f"{path}: is not valid JSON ({fault})") from None
