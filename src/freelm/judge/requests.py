"""What the judge takes and returns: requests, the same tokenized, and judgements. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from freelm.data.tokens import EncodedContext
from freelm.errors import InputError
from freelm.judge.probabilities import FloatArray, option_probabilities, sigmoid
from freelm.judge.validation import LongTexts
from freelm.model.calibration import NO_CHANGE, ChoiceTemperature

Ids = tuple[int, ...]


class ClaimTooLongError(InputError):
    """A claim leaves no room for its context in the model's window."""


class ContextTooLongError(InputError):
    """A context does not fit, and the request forbids cutting it."""


@dataclass(frozen=True, slots=True)
class Request:
    """Claims about one context.

    Attributes:
        context: The parts of the context.
        claims: The claims to judge.
        long_texts: What to do with a context that is too long: `truncate` cuts the end of its
            longest part; `error` refuses it; `windows` reads the longest part in overlapping
            windows and averages each claim's margin over them.
    """

    context: tuple[str, ...]
    claims: tuple[str, ...]
    long_texts: LongTexts = "truncate"


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A tokenized request: its size is known, and it can be judged without tokenizing again.

    Attributes:
        claims: The claims as text.
        claim_ids: Token ids of each claim, its closing marker included.
        contexts: The encoded context: one, or one per window.
    """

    claims: tuple[str, ...]
    claim_ids: tuple[Ids, ...]
    contexts: tuple[EncodedContext, ...]

    @property
    def truncated(self) -> bool:
        """Whether part of the context was cut."""
        return any(context.truncated for context in self.contexts)

    @property
    def num_context_tokens(self) -> int:
        """Tokens of the context, summed over its windows."""
        return sum(len(context.ids) for context in self.contexts)

    @property
    def num_claim_tokens(self) -> int:
        """Tokens of all claims."""
        return sum(map(len, self.claim_ids))

    def split(self, max_tokens: int) -> list["PreparedRequest"]:
        """Divide the claims into consecutive parts of at most `max_tokens` tokens each.

        Every part has the same context, encoded once, and at least one claim.
        `Judgement.join` puts the parts' judgements back together.
        """
        starts = [0]
        size = self.num_context_tokens
        for index, ids in enumerate(self.claim_ids):
            if index > starts[-1] and size + len(ids) > max_tokens:
                starts.append(index)
                size = self.num_context_tokens
            size += len(ids)
        stops = [*starts[1:], len(self.claims)]
        return [
            replace(self, claims=self.claims[a:b], claim_ids=self.claim_ids[a:b])
            for a, b in zip(starts, stops, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts of one request.

    Attributes:
        claims: The claims that were judged.
        margins: (claims,) calibrated margins: logits of P(true), divided by the temperature.
        truncated: Whether part of the context was cut.
        windows: Number of windows the context was read in.
        choice_temperature: Further temperature of claims that compete.
        num_context_tokens: Tokens of the context, summed over its windows.
        num_claim_tokens: Tokens of all claims.
    """

    claims: tuple[str, ...]
    margins: FloatArray
    truncated: bool = False
    windows: int = 1
    choice_temperature: ChoiceTemperature = NO_CHANGE
    num_context_tokens: int = 0
    num_claim_tokens: int = 0

    @property
    def num_tokens(self) -> int:
        """Tokens of context and claims."""
        return self.num_context_tokens + self.num_claim_tokens

    @property
    def probabilities(self) -> FloatArray:
        """(claims,) P(true) of each claim by itself."""
        return sigmoid(self.margins)

    @property
    def shares(self) -> FloatArray:
        """(claims,) probability of each claim, given that exactly one of them is true."""
        temperature = float(self.choice_temperature.of(len(self.margins)))
        return option_probabilities(self.margins, temperature)

    def select(self, claims: Sequence[str]) -> "Judgement":
        """The judgement of some of the claims, in the given order.

        Token counts and everything about the context stay those of the whole request.

        Raises:
            KeyError: If a claim was not judged.
        """
        index = {claim: i for i, claim in enumerate(self.claims)}
        chosen = [index[claim] for claim in claims]
        return replace(self, claims=tuple(claims), margins=self.margins[chosen])

    @classmethod
    def join(cls, parts: Sequence["Judgement"]) -> "Judgement":
        """The judgement of a request from those of its parts (`PreparedRequest.split`)."""
        return replace(
            parts[0],
            claims=tuple(claim for part in parts for claim in part.claims),
            margins=np.concatenate([part.margins for part in parts]),
            num_claim_tokens=sum(part.num_claim_tokens for part in parts),
        )
