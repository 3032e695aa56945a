"""Validation of user input, shared by Python, the command line, files and the server."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from freelm.errors import InputError

TEMPLATE_EXAMPLE = "The text is about {}."

LongTexts = Literal["truncate", "error", "windows"]
"""What to do with a text that is too long (`freelm.judge.requests.Request`)."""


def check_text(text: object, what: str = "the text") -> str:
    """Return the text as a plain `str` (NumPy's strings included) if it can be judged.

    Args:
        text: The user's value.
        what: Its name in error messages.

    Raises:
        InputError: If it is not a string, is empty or only white space, or contains an unpaired
            surrogate, which no UTF-8 text can.
    """
    if not isinstance(text, str):
        raise InputError(f"{what} must be a string, not {type(text).__name__}")
    if not text.strip():
        raise InputError(f"{what} is empty")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise InputError(
            f"{what} contains an unpaired surrogate (U+{code:04X}) at character {error.start}; "
            "decode its source as UTF-8"
        ) from None
    return str(text)


def check_long_texts(value: LongTexts) -> LongTexts:
    """Return the value if it is one of `LongTexts`.

    Raises:
        InputError: If it is not.
    """
    if value not in get_args(LongTexts):
        choices = ", ".join(get_args(LongTexts))
        raise InputError(f"long_texts is {value!r}; it must be one of {choices}")
    return value


def check_list(values: object, what: str) -> list[object]:
    """Return the values of a sequence, NumPy array or pandas series as a list.

    Raises:
        InputError: If they are neither; a single string too, whose characters would be taken for
            texts.
    """
    as_list = getattr(values, "tolist", None)  # NumPy arrays, pandas series and indexes
    if callable(as_list):
        values = as_list()
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise InputError(f"{what} must be a list of strings, not {type(values).__name__}")
    return list(values)


def check_claims(claims: object) -> tuple[str, ...]:
    """Return the claims, stripped of surrounding white space, if they can be judged.

    Raises:
        InputError: If there are none, one is not a text, or two are equal.
    """
    values = check_list(claims, "claims")
    if not values:
        raise InputError("there is no claim; give at least one")
    checked = [check_text(claim, f"claim {i + 1}").strip() for i, claim in enumerate(values)]
    _check_distinct(checked, "claim")
    return tuple(checked)


def check_labels(labels: object) -> dict[str, str]:
    """Return label -> description, in the given order.

    Args:
        labels: A sequence of labels, each its own description, or a mapping label -> description.
            The description fills the template; the label names the answer.

    Raises:
        InputError: If there are fewer than two labels, a label or description is not a text, or
            two are equal apart from surrounding white space.
    """
    if isinstance(labels, Mapping):
        names, descriptions = list(labels), list(labels.values())
    else:
        names = descriptions = check_list(labels, "labels")
    if len(names) < 2:
        raise InputError(f"at least two labels are needed, not {len(names)}")
    checked = [check_text(name, f"label {i + 1}") for i, name in enumerate(names)]
    _check_distinct([name.strip() for name in checked], "label")
    words = [
        check_text(description, f"the description of label {name!r}").strip()
        for name, description in zip(checked, descriptions, strict=True)
    ]
    _check_distinct(words, "description")
    return dict(zip(checked, words, strict=True))


def check_template(template: object) -> str:
    """Return a template that turns labels into claims.

    Raises:
        InputError: If it does not contain exactly one `{}`, or contains any other brace: without
            `{}` every label would get the same claim, and no other field has a value.
    """
    checked = check_text(template, "the template")
    before, marker, after = checked.partition("{}")
    if not marker or any(brace in before + after for brace in "{}"):
        raise InputError(
            f"the template {checked!r} must contain exactly one {{}} and no other braces, "
            f"for example {TEMPLATE_EXAMPLE!r}"
        )
    return checked


def _check_distinct(texts: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise InputError(f"the {what} {text!r} is given twice; each must differ")
        seen.add(text)
