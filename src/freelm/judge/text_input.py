"""Checks of what users type, the same at every entry: Python, command line, files and server."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from freelm.errors import InputError

TEMPLATE_EXAMPLE = "The text is about {}."

LongTexts = Literal["truncate", "error", "windows"]
"""What happens to a text that is too long (`freelm.judge.engine.Request`)."""


def check_text(text: object, what: str = "the text") -> str:
    """Return the text if it can be judged.

    Args:
        text: What the user gave.
        what: Its name in messages.

    Raises:
        InputError: If it is no string, is empty or only white space, or holds half of a surrogate
            pair, which no UTF-8 text can.
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
            f"{what} holds an unpaired surrogate (U+{code:04X}) at character {error.start}; "
            "decode its source as UTF-8"
        ) from None
    return text


def check_long_texts(value: LongTexts) -> LongTexts:
    """Return what is to happen to long texts, if it is one of `LongTexts`.

    Raises:
        InputError: If it is not.
    """
    if value not in get_args(LongTexts):
        choices = ", ".join(get_args(LongTexts))
        raise InputError(f"long_texts is {value!r}; it must be one of {choices}")
    return value


def check_list(values: object, what: str) -> list[object]:
    """Return the values as a list.

    Raises:
        InputError: If they are no list, or one string, whose characters would be taken for texts.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        raise InputError(f"{what} must be a list of strings, not {type(values).__name__}")
    return list(values)


def check_claims(claims: object) -> tuple[str, ...]:
    """Return the claims, without white space around them, if they can be judged.

    Raises:
        InputError: If there is none, one is not a text, or two are the same.
    """
    listed = check_list(claims, "claims")
    if not listed:
        raise InputError("there is no claim; give at least one")
    checked = [check_text(claim, f"claim {i + 1}").strip() for i, claim in enumerate(listed)]
    _refuse_duplicates(checked, "claim")
    return tuple(checked)


def check_labels(labels: object) -> dict[str, str]:
    """Return label -> description, in the order given, if one can be chosen.

    Args:
        labels: A sequence of labels, each its own description, or a mapping label -> description.
            The description fills the template; the label names the answer.

    Raises:
        InputError: If there are fewer than two labels, a label or description is not a text, or
            two are the same (white space around them does not count).
    """
    if isinstance(labels, Mapping):
        names, descriptions = list(labels), list(labels.values())
    else:
        names = descriptions = check_list(labels, "labels")
    if len(names) < 2:
        raise InputError(f"at least two labels are needed, not {len(names)}")
    checked = [check_text(name, f"label {i + 1}") for i, name in enumerate(names)]
    _refuse_duplicates([name.strip() for name in checked], "label")
    words = [
        check_text(description, f"the description of label {name!r}").strip()
        for name, description in zip(checked, descriptions, strict=True)
    ]
    _refuse_duplicates(words, "description")
    return dict(zip(checked, words, strict=True))


def fill_template(template: object, label: str) -> str:
    """Put a label (or its description) in the place of a template's `{}`.

    The label is put in as it is: braces inside it have no meaning.

    Raises:
        InputError: If the template does not hold exactly one `{}`, or any other brace: without
            `{}` every label would get the same claim, and no other field has a value.
    """
    checked = check_text(template, "the template")
    before, marker, after = checked.partition("{}")
    if not marker or any(brace in before + after for brace in "{}"):
        raise InputError(
            f"the template {checked!r} must hold exactly one {{}} and no other braces, "
            f"for example {TEMPLATE_EXAMPLE!r}"
        )
    return before + label + after


def _refuse_duplicates(texts: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise InputError(f"the {what} {text!r} is given twice; each must differ")
        seen.add(text)
