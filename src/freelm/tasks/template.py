"""Templates of task definitions: `{field}` and nothing more.

Python's format language reaches attributes and items (`{0.__class__}`); definitions come from
other people, so everything but a plain field name is refused, and a value that contains braces
stays as it is.
"""

import re
import string
from collections.abc import Mapping

from freelm.errors import TaskError, available

_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def template_fields(template: str) -> list[str]:
    """Names of the fields that a template uses, in order.

    Raises:
        TaskError: If the template holds anything but literal text and `{field}`.
    """
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise TaskError(f"template {template!r}: {error}") from None
    names = []
    for _, name, spec, conversion in pieces:
        if name is None:
            continue
        if spec or conversion or not _FIELD_NAME.fullmatch(name):
            raise TaskError(
                f"template {template!r}: only {{field}} with a plain name is allowed, "
                f"not {{{name}}}; write {{{{ and }}}} for literal braces"
            )
        names.append(name)
    return names


def render(template: str, values: Mapping[str, str]) -> str:
    """Fill the fields of a template; values are inserted as they are.

    Raises:
        TaskError: If a field of the template has no value.
    """
    out = []
    for literal, name, _, _ in string.Formatter().parse(template):
        out.append(literal)
        if name is not None:
            if name not in values:
                raise TaskError(f"template {template!r}: no field {name!r}; {available(values)}")
            out.append(values[name])
    return "".join(out)
