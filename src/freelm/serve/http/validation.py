"""Validation errors of a request body as one message: path, problem and code."""

from collections.abc import Mapping, Sequence
from typing import Any

from freelm.serve.http.errors import ApiError, bad_request

_FORMS = {
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
}
"""Kind of fault -> what the value should have been."""

Fault = Mapping[str, Any]


def describe_errors(faults: Sequence[Fault], body: Any) -> ApiError:
    """The worst of the faults that a schema finds in a body, as a 400.

    Args:
        faults: What pydantic found (`ValidationError.errors()`), each `loc` without its first part.
        body: The body.
    """
    places = [_place(fault, body) for fault in faults]
    # Of a value that may have several forms, the deepest fault is that of the form that was meant.
    deepest = max(places, key=len)
    here = [fault for fault, place in zip(faults, places, strict=True) if place == deepest]
    others = [fault for fault in here if fault["type"] not in _FORMS]
    param = ".".join(map(str, deepest))
    words, code = _of_form(here) if not others else _words(others[0])
    return bad_request(f"{param or 'the body'} {words}", code, param or None)


def _place(fault: Fault, body: Any) -> tuple[str | int, ...]:
    """The path of a fault in the body.

    Between these the schema names the form by which it read a value, which is none of the sender's
    words: such a name leads nowhere in the body.
    """
    place: list[str | int] = []
    value = body
    for step in fault["loc"]:
        if step in (value if isinstance(value, dict) else _numbers(value)):
            value = value[step]
            place.append(step)
    if fault["type"] == "missing" and fault["loc"]:
        place.append(fault["loc"][-1])
    if fault["type"] in ("union_tag_not_found", "union_tag_invalid"):
        place.append(fault["ctx"]["discriminator"].strip("'"))
    return tuple(place)


def _numbers(value: Any) -> range:
    return range(len(value) if isinstance(value, list) else 0)


def _of_form(faults: Sequence[Fault]) -> tuple[str, str]:
    forms = dict.fromkeys(_FORMS[fault["type"]] for fault in faults)
    return f"must be {' or '.join(forms)}", "invalid_type"


def _words(fault: Fault) -> tuple[str, str]:
    """What is said of a fault, behind its place, and its code."""
    kind, details = fault["type"], fault.get("ctx", {})
    if kind in ("missing", "union_tag_not_found"):
        return "is missing", "missing_field"
    if kind == "extra_forbidden":
        return "is an unknown key", "unknown_key"
    if kind == "too_short":
        least, given = details["min_length"], details["actual_length"]
        return f"needs at least {least}, and {given or 'none'} is given", "too_few_items"
    if kind in ("union_tag_invalid", "literal_error"):
        known = details.get("expected_tags") or details["expected"]
        return f"must be one of {known}", "invalid_value"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if message.startswith("Input should "):
        return f"must {message.removeprefix('Input should ')}", "invalid_value"
    return f"cannot be read: {message}", "invalid_value"
