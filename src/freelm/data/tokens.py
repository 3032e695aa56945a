"""How contexts and claims become tokens; user text can never become a marker.

`TextForm` writes a proposition in tokens. FreeLM's own form is `{context} [sep] {claim} [cls]`; an
untrained base is judged through a form that asks a question in plain words (`prompted_form`).
Either way a proposition is *context ids + claim ids*, so both share one packing and one engine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from freelm.errors import InputError
from freelm.tasks.proposition import CLS, SEP

FALSE = "<|false|>"
TRUE = "<|true|>"
MARKERS = (SEP, CLS, FALSE, TRUE)

# A tokenizer is quadratic in the worst case on text without spaces. Beyond this many characters
# per available token the rest of a text cannot matter and is not tokenized; a text that is read
# completely is tokenized in segments.
CHARACTERS_PER_TOKEN = 64
SEGMENT = 10_000

OVERLAP = 4
"""Consecutive windows of a long text overlap by one part in this many."""


@dataclass(frozen=True, slots=True)
class EncodedContext:
    """A context in tokens.

    Attributes:
        ids: Token ids, including those between context and claim.
        truncated: Whether some of the text was left out.
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
        part repeatedly, so that a short question with a long passage stays complete.

        Raises:
            InputError: If `max_tokens` leaves no room for the joints.
        """
        clipped = False
        if max_tokens is not None:
            limit = max_tokens * CHARACTERS_PER_TOKEN
            clipped = any(len(part) > limit for part in parts)
            parts = tuple(part[:limit] for part in parts)
        pieces = [self._text(part, first=i == 0) for i, part in enumerate(parts)]
        fixed = self._num_fixed(len(parts))
        truncated = clipped
        if max_tokens is not None and fixed + sum(map(len, pieces)) > max_tokens:
            pieces = cut_longest(pieces, max_tokens - fixed)
            truncated = True
        return self._joined(pieces, truncated)

    def windows(self, parts: tuple[str, ...], max_tokens: int) -> list[EncodedContext]:
        """Encode a context in windows of at most `max_tokens`, without cutting its longest part.

        The longest part is read through overlapping windows; the others are repeated in each, cut
        (as in `context`) only if they fill more than half of it.

        Raises:
            InputError: If `max_tokens` leaves no room for the joints.
        """
        written = (parts[0], *(" " + part for part in parts[1:]))
        pieces = [
            [token for text in _segments(part) for token in encode_text(self.tokenizer, text)]
            for part in written
        ]
        room = max_tokens - self._num_fixed(len(parts))
        if sum(map(len, pieces)) <= room:
            return [self._joined(pieces, truncated=False)]
        longest = max(range(len(pieces)), key=lambda i: len(pieces[i]))
        others = [[] if i == longest else piece for i, piece in enumerate(pieces)]
        truncated = sum(map(len, others)) > room // 2
        if truncated:
            others = cut_longest(others, room // 2)
        width = room - sum(map(len, others))
        if width < 1:
            raise InputError(f"no room for the text in a window of {max_tokens} tokens")
        stride = max(1, width - width // OVERLAP)
        text, windows = pieces[longest], []
        for start in range(0, max(1, len(text) - (width - stride)), stride):
            others[longest] = text[start : start + width]
            windows.append(self._joined(others, truncated))
        return windows

    def _num_fixed(self, num_parts: int) -> int:
        """Tokens of a context other than those of its parts."""
        return len(self.start) + len(self.joint) * (num_parts - 1) + len(self.turn)

    def _joined(self, pieces: list[list[int]], truncated: bool) -> EncodedContext:
        ids = list(self.start)
        for i, piece in enumerate(pieces):
            ids += [*self.joint, *piece] if i else piece
        return EncodedContext((*ids, *self.turn), truncated)

    def claim(self, text: str) -> tuple[int, ...]:
        """Encode a claim and the ids after it; claims are never cut."""
        return (*self._text(text, first=False), *self.end)

    def _text(self, text: str, first: bool) -> list[int]:
        return encode_text(self.tokenizer, text if first else " " + text)


def _segments(text: str) -> Iterator[str]:
    """Pieces of at most `SEGMENT` characters that make up a text, cut before spaces if possible."""
    start = 0
    while len(text) - start > SEGMENT:
        cut = text.rfind(" ", start + 1, start + SEGMENT)
        stop = cut if cut > start else start + SEGMENT
        yield text[start:stop]
        start = stop
    yield text[start:]


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of plain text: no marker is added or recognized in the text.

    `split_special_tokens` turns a literal "[cls]" in the text into ordinary characters.
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
    # Cut the longest pieces to one level: the largest whose sum fits the budget.
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
