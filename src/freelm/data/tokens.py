"""The token form of contexts and claims: where user text meets the markers, and never becomes one.

`TextForm` writes a proposition in tokens. FreeLM's own form is `{context} [sep] {claim} [cls]`; an
untrained base is judged through a form that asks a question in plain words (`prompted_form`).
Either way a proposition is *context ids + claim ids*, so both share one packing and one engine.
"""

from dataclasses import dataclass
from typing import Any

from freelm.errors import InputError
from freelm.tasks.proposition import CLS, SEP

FALSE = "<|false|>"
TRUE = "<|true|>"
MARKERS = (SEP, CLS, FALSE, TRUE)

# A tokenizer is quadratic in the worst case on text without spaces; beyond this many characters
# per kept token the rest of a text cannot matter and is not tokenized.
CHARACTERS_PER_TOKEN = 64


@dataclass(frozen=True, slots=True)
class EncodedContext:
    """A context in tokens.

    Attributes:
        ids: Token ids up to and including what stands before a claim.
        truncated: Whether text was left out.
    """

    ids: tuple[int, ...]
    truncated: bool


@dataclass(frozen=True)
class TextForm:
    """How a proposition is written in tokens, and which two tokens are its verdict.

    Attributes:
        tokenizer: A Hugging Face tokenizer.
        start: Ids before the first part of the context.
        joint: Ids between two parts of the context.
        turn: Ids between the context and the claim.
        end: Ids after the claim; the verdict is read at the last one.
        false_id: Token whose logit speaks for "false".
        true_id: Token whose logit speaks for "true".
    """

    tokenizer: Any
    start: tuple[int, ...]
    joint: tuple[int, ...]
    turn: tuple[int, ...]
    end: tuple[int, ...]
    false_id: int
    true_id: int

    def context(self, parts: tuple[str, ...], max_tokens: int | None = None) -> EncodedContext:
        """Encode the parts of a context.

        When they are longer than `max_tokens` together, tokens are cut from the end of the longest
        part, again and again, so that a short question beside a long passage stays whole.

        Raises:
            InputError: If `max_tokens` leaves no room for the joints.
        """
        clipped = False
        if max_tokens is not None:
            limit = max_tokens * CHARACTERS_PER_TOKEN
            clipped = any(len(part) > limit for part in parts)
            parts = tuple(part[:limit] for part in parts)
        pieces = [self._text(part, first=i == 0) for i, part in enumerate(parts)]
        fixed = len(self.start) + len(self.joint) * (len(parts) - 1) + len(self.turn)
        truncated = clipped
        if max_tokens is not None and fixed + sum(map(len, pieces)) > max_tokens:
            pieces = cut_longest(pieces, max_tokens - fixed)
            truncated = True
        ids = list(self.start)
        for i, piece in enumerate(pieces):
            ids += [*self.joint, *piece] if i else piece
        return EncodedContext((*ids, *self.turn), truncated)

    def claim(self, text: str) -> tuple[int, ...]:
        """Encode a claim with what stands after it; claims are never cut."""
        return (*self._text(text, first=False), *self.end)

    def _text(self, text: str, first: bool) -> list[int]:
        return encode_text(self.tokenizer, text if first else " " + text)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of plain text: no marker is added, and none is read out of the text.

    `split_special_tokens` makes a literal "[cls]" in the text ordinary characters.
    """
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return ids


def cut_longest(pieces: list[list[int]], budget: int) -> list[list[int]]:
    """Cut token lists from their ends, the longest first, to `budget` tokens in all.

    Raises:
        InputError: If the budget is smaller than one token for each piece that has any.
    """
    lengths = [len(piece) for piece in pieces]
    if budget < sum(1 for length in lengths if length):
        raise InputError(f"no room for the text: {budget} tokens are left for {len(pieces)} parts")
    # The level that the longest pieces are cut to: the largest whose sum fits the budget.
    level = budget
    while sum(min(length, level) for length in lengths) > budget:
        level -= 1
    spare = budget - sum(min(length, level) for length in lengths)
    cut = []
    for piece in pieces:
        extra = 1 if len(piece) > level and spare > 0 else 0
        spare -= extra
        cut.append(piece[: level + extra])
    return cut


def freelm_form(tokenizer: Any) -> TextForm:
    """FreeLM's form for a tokenizer that has the four markers."""
    sep, cls, false, true = (tokenizer.convert_tokens_to_ids(marker) for marker in MARKERS)
    return TextForm(tokenizer, (), (sep,), (sep,), (cls,), false, true)
