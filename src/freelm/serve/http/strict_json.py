"""Strict parsing of JSON bodies.

Refused: text that is not UTF-8, NaN and Infinity (1e999 too), duplicate keys, lone surrogates,
integers that fit no field, and deep or very large structures.
"""

import json
import math
from collections import Counter
from typing import Any, NoReturn

from freelm.serve.http.errors import ApiError, bad_request
from freelm.serve.http.limits import Limits

INTEGER_LIMIT = 2**63
"""Integers of at least this size fit no field, and arithmetic with them is slow."""


def parse_json(body: bytes, limits: Limits) -> Any:
    """Parse a JSON document.

    Raises:
        ApiError: 400, if the document is empty, malformed or refused.
    """
    if not body.strip():
        raise _invalid("the body is empty; send a JSON object")
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        raise _invalid(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise _too_deep(limits) from None
    except json.JSONDecodeError as error:
        raise _invalid(f"the body is not JSON: {error.msg} (character {error.pos})") from None
    except ValueError:
        raise _invalid("a number in the body has too many digits") from None
    _check_values(value, limits)
    return value


def _invalid(message: str) -> ApiError:
    return bad_request(message, "invalid_json")


def _too_deep(limits: Limits) -> ApiError:
    return bad_request(
        "the body is nested too deeply; the limit max_json_depth of this server is "
        f"{limits.max_json_depth}",
        "limit_exceeded",
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        duplicate, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise _invalid(f"an object in the body has the key {duplicate[:80]!r} twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _invalid(f"{name} is not JSON")


def _check_values(value: Any, limits: Limits) -> None:
    """Visit every value once, without recursion."""
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
                "the body has too many values; the limit max_json_values of this server is "
                f"{limits.max_json_values}",
                "limit_exceeded",
            )
        pending += [(child, depth + 1) for child in children]


def _check_scalar(value: Any) -> None:
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise _invalid("a string in the body contains a lone surrogate")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _invalid("a number in the body is too large")
    elif isinstance(value, int) and abs(value) >= INTEGER_LIMIT:
        raise _invalid("a number in the body is too large")
