"""How large a request is in tokens, and whether it fits; asked before anything is computed."""

from dataclasses import dataclass
from itertools import islice

from freelm.data.tokens import TextForm
from freelm.inference.engine import MIN_CONTEXT_TOKENS, Request
from freelm.serve.problems import refuse


@dataclass(frozen=True, slots=True)
class Size:
    """Tokens of a request.

    Attributes:
        context: Tokens of its text, as many as are read.
        claims: Tokens of each claim.
    """

    context: int
    claims: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of text and claims."""
        return self.context + sum(self.claims)


@dataclass(frozen=True)
class Measure:
    """Measures requests for one model.

    Attributes:
        form: How propositions are written.
        window: Tokens of the longest path (text and claim) of the model.
        max_context_tokens: The server's limit for a text.
    """

    form: TextForm
    window: int
    max_context_tokens: int

    def __call__(self, request: Request, truncate: bool) -> Size:
        """The size of a request.

        Args:
            request: Text and claims.
            truncate: Whether a text that is too long may be cut.

        Raises:
            Problem: 400, if a claim leaves no room for the text, or the text is too long and must
                not be cut.
        """
        claims = tuple(len(self.form.claim(claim)) for claim in request.claims)
        room = min(self.max_context_tokens, self.window - max(claims))
        if room < MIN_CONTEXT_TOKENS:
            raise refuse(
                f"a claim has {max(claims)} tokens and leaves no room for its text in the model's "
                f"window of {self.window} tokens; shorten it",
                "claim_too_long",
            )
        context = self.form.context(request.context, room)
        if context.truncated and not truncate:
            raise refuse(
                f"the text is longer than the {room} tokens that there is room for (limit "
                f"max_context_tokens {self.max_context_tokens}, window {self.window}); shorten it "
                'or send "freelm": {"truncate": true}',
                "context_too_long",
            )
        return Size(len(context.ids), claims)


def split_claims(request: Request, size: Size, budget: int) -> list[tuple[Request, int]]:
    """Requests of at most `budget` tokens each, as far as single claims allow, with their tokens.

    All have the whole text; their claims are those of the request in order.
    """
    claims, sizes = iter(request.claims), iter(size.claims)
    counts: list[list[int]] = []
    filled = budget
    for tokens in sizes:
        if not counts or filled + tokens > budget:
            counts.append([0, size.context])
            filled = size.context
        counts[-1][0] += 1
        counts[-1][1] += tokens
        filled += tokens
    return [
        (Request(request.context, tuple(islice(claims, count))), tokens) for count, tokens in counts
    ]
