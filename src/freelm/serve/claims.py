"""From what clients ask to the claims that are judged, the same for every interface.

| asked | claims |
|---|---|
| a statement | the statement |
| a question ("Is it spam?") | the question and "Yes." |
| options or levels of a question | the question and each option's description, or its name |
| options without a question | each option's description, or that the text is about its name |
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from freelm.data.tokens import CHARACTERS_PER_TOKEN
from freelm.errors import InputError
from freelm.judge.validation import check_text
from freelm.serve.http.errors import ApiError, bad_request, limit_exceeded, too_many_tokens
from freelm.serve.http.limits import Limits
from freelm.tasks.forms import label_claim

Content = str | dict[str, Any] | list[Any]
"""Text, or JSON that is read as its text."""

YES = "Yes."


@dataclass(frozen=True, slots=True)
class Option:
    """One of several answers.

    Attributes:
        name: What it is called.
        description: What it means, where the client says so.
    """

    name: str
    description: str | None = None


def as_text(content: Content) -> str:
    """Text as it is; JSON as compact text."""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def checked_text(text: str, param: str) -> str:
    """The text, if it can be judged.

    Raises:
        ApiError: 400, if it is empty.
    """
    try:
        return check_text(text, param)
    except InputError as error:
        raise bad_request(str(error), param=param) from None


def predicate_claim(instructions: str, param: str) -> str:
    """The claim of a yes/no question."""
    asked = checked_text(instructions, param).strip()
    return f"{asked} {YES}" if asked.endswith("?") else asked


def checked_instructions(instructions: str, limits: Limits, param: str) -> str:
    """What a question asks, if it can be asked.

    Raises:
        ApiError: 400, if it is empty, or alone longer than a claim may be.
    """
    # Each option repeats the instructions, so that long ones would grow a few hundred times.
    check_characters("max_claim_tokens", limits.max_claim_tokens, instructions, "a claim", param)
    return checked_text(instructions, param)


def option_claims(instructions: str | None, options: Sequence[Option], param: str) -> list[str]:
    """One claim for each option.

    Args:
        instructions: What is asked, checked; None where nothing is.
        options: What the answer may be.
        param: The place of the options in the body.

    Raises:
        ApiError: 400, if a name or description is empty or two options come to the same claim.
    """
    claims = [
        _option_claim(instructions, option, f"{param}.{i}") for i, option in enumerate(options)
    ]
    first: dict[str, int] = {}
    for i, claim in enumerate(claims):
        if claim in first:
            raise bad_request(
                f"options {first[claim]} and {i} say the same; each must differ",
                "duplicate_option",
                f"{param}.{i}",
            )
        first[claim] = i
    return claims


def _option_claim(instructions: str | None, option: Option, param: str) -> str:
    words = option.name if option.description is None else option.description
    words = checked_text(words, param).strip()
    if instructions is None and option.description is None:
        return label_claim(words)
    ended = words if words.endswith((".", "!", "?")) else f"{words}."
    if instructions is None:
        return ended
    return f"{instructions.strip()} {ended}"


def check_claim_count(claims: Sequence[Sequence[str]], limits: Limits) -> None:
    """Refuse a request of too many claims.

    Raises:
        ApiError: 400, naming the limit.
    """
    total = sum(map(len, claims))
    if total > limits.max_claims:
        raise limit_exceeded("max_claims", limits.max_claims, total, "claims", "questions")


def check_count(name: str, most: int, values: Sequence[Any], what: str, param: str) -> None:
    """Refuse more values than a limit allows.

    Raises:
        ApiError: 400, naming the limit.
    """
    if len(values) > most:
        raise limit_exceeded(name, most, len(values), what, param)


def check_characters(name: str, most: int, text: str, what: str, param: str) -> None:
    """Refuse a text of so many characters that it has more tokens than a limit allows.

    So a tokenizer, or whatever copies the text, need not see it.

    Raises:
        ApiError: 400, naming the limit.
    """
    if len(text) > most * CHARACTERS_PER_TOKEN:
        raise too_many_tokens(name, most, what, param)


def unknown_model(asked: str, served: Sequence[str]) -> ApiError:
    """A 404: the server has one model and loads no other."""
    return ApiError(
        404,
        f"the model {asked[:80]!r} is not served here; this server has {', '.join(served)}",
        "model_not_found",
        "model",
    )
