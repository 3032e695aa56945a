"""Strict reading of JSON bodies: what other readers let pass or fall over is refused by name.

Refused are text that is not UTF-8, NaN and Infinity (also written as 1e999), keys that are given
twice, halves of surrogate pairs, numbers of thousands of digits, and deep or huge structures.
"""

import json
import math
from collections import Counter
from typing import Any, NoReturn

from freelm.serve.http.errors import ApiError, bad_request
from freelm.serve.http.limits import Limits

LARGEST_INTEGER = 2**63
"""Larger ones fit no field, and arithmetic with them is slow."""


def read_json(body: bytes, limits: Limits) -> Any:
    """The value of a JSON document.

    Raises:
        ApiError: 400, if the document is empty or refused.
    """
    if not body.strip():
        raise _bad("the body is empty; send a JSON object")
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        raise _bad(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise _too_deep(limits) from None
    except json.JSONDecodeError as error:
        raise _bad(f"the body is not JSON: {error.msg} (byte {error.pos})") from None
    except ValueError:
        raise _bad("the body holds a number of too many digits") from None
    _check_values(value, limits)
    return value


def _bad(message: str) -> ApiError:
    return bad_request(message, "invalid_json")


def _too_deep(limits: Limits) -> ApiError:
    most = limits.max_json_depth
    return bad_request(
        f"the body is nested too deeply; the limit max_json_depth of this server is {most}",
        "limit_exceeded",
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise _bad(f"an object of the body has the key {twice[:80]!r} twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _bad(f"{name} is not JSON")


def _check_values(value: Any, limits: Limits) -> None:
    """Look at every value once, without recursion."""
    pending = [(value, 0)]
    seen = 0
    while pending:
        current, depth = pending.pop()
        seen += 1
        if depth > limits.max_json_depth:
            raise _too_deep(limits)
        if isinstance(current, dict):
            for key in current:
                _check_scalar(key)
            children: Any = current.values()
        elif isinstance(current, list):
            children = current
        else:
            _check_scalar(current)
            continue
        if seen + len(pending) + len(children) > limits.max_json_values:
            raise bad_request(
                "the body holds too many values; the limit max_json_values of this server is "
                f"{limits.max_json_values}",
                "limit_exceeded",
            )
        pending += [(child, depth + 1) for child in children]


def _check_scalar(value: Any) -> None:
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise _bad("a string of the body holds half of a surrogate pair")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _bad("a number of the body is too large")
    elif isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
        raise _bad("a number of the body is too large")
