"""The proposition: a context and a claim about it, as text.

Nothing here knows tokens. The token form of a proposition is `freelm.data.packing`'s business, so
that text typed by a user can never turn into a marker.
"""

import re
from dataclasses import dataclass

SEP = "[sep]"
CLS = "[cls]"


@dataclass(frozen=True, slots=True)
class Proposition:
    """A claim about a context; it is true or false.

    Attributes:
        context: The parts of the judged text, joined by `[sep]` when read by the model.
        claim: A statement in plain words about the context.
    """

    context: tuple[str, ...]
    claim: str

    @property
    def text(self) -> str:
        """The proposition as the paper writes it: `{context} [sep] {claim} [cls]`."""
        return f" {SEP} ".join((*self.context, self.claim)) + f" {CLS}"


def normalise(text: str) -> str:
    """Reduce a claim to its words, so that claims that differ only in form compare equal.

    Case, punctuation and spacing are dropped: `"Here, it IS so."` -> `"here it is so"`.
    """
    return " ".join(re.findall(r"\w+", text.casefold()))
