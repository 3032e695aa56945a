"""How large a request is in tokens, and whether it fits; asked before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from freelm.data.tokens import CHARACTERS_PER_TOKEN, TextForm
from freelm.judge.engine import MIN_CONTEXT_TOKENS
from freelm.judge.requests import Request
from freelm.serve.http.errors import ApiError, bad_request, too_many_tokens
from freelm.serve.http.limits import Limits


@dataclass(frozen=True, slots=True)
class Size:
    """Tokens of a request and, where that was asked for, what they say.

    Attributes:
        context: Tokens of its text, as many as are read.
        claims: Tokens of each claim.
        read: The text as it is read, with what stands between it and a claim.
        written: Each claim as it is read, with what stands after it; behind `read` it is the
            proposition that is judged.
    """

    context: int
    claims: tuple[int, ...]
    read: str = ""
    written: tuple[str, ...] = ()

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
        limits: The server's limits.
    """

    form: TextForm
    window: int
    limits: Limits

    def __call__(self, request: Request, truncate: bool, shown: bool = False) -> Size:
        """The size of a request.

        Args:
            request: Text and claims.
            truncate: Whether a text that is too long may be cut.
            shown: Whether the size also says what is read.

        Raises:
            ApiError: 400, if a claim is too long or leaves no room for the text, or the text is too
                long and must not be cut.
        """
        claims = [self._claim(claim) for claim in request.claims]
        longest = max(map(len, claims))
        room = min(self.limits.max_context_tokens, self.window - longest)
        if room < MIN_CONTEXT_TOKENS:
            raise bad_request(
                f"a claim has {longest} tokens and leaves no room for its text in the model's "
                f"window of {self.window} tokens; shorten it",
                "claim_too_long",
            )
        if not truncate and max(map(len, request.context)) > room * CHARACTERS_PER_TOKEN:
            raise self._too_long(room)
        context = self.form.context(request.context, room)
        if context.truncated and not truncate:
            raise self._too_long(room)
        sizes = tuple(map(len, claims))
        if not shown:
            return Size(len(context.ids), sizes)
        written = tuple(self._text(claim) for claim in claims)
        return Size(len(context.ids), sizes, self._text(context.ids), written)

    def _claim(self, claim: str) -> tuple[int, ...]:
        most = self.limits.max_claim_tokens
        if len(claim) <= most * CHARACTERS_PER_TOKEN:
            ids = self.form.claim(claim)
            if len(ids) <= most:
                return ids
        raise too_many_tokens("max_claim_tokens", most, "a claim")

    def _text(self, ids: tuple[int, ...]) -> str:
        text: str = self.form.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
        return text

    def _too_long(self, room: int) -> ApiError:
        return bad_request(
            f"the text is longer than the {room} tokens that there is room for (limit "
            f"max_context_tokens {self.limits.max_context_tokens}, window {self.window}); shorten "
            'it or send "freelm": {"truncate": true}',
            "context_too_long",
        )


def refuse_endless(requests: Sequence[Request], limits: Limits) -> None:
    """Refuse requests whose characters alone say that they pass `max_request_tokens`.

    Raises:
        ApiError: 400, naming the limit.
    """
    longest = limits.max_context_tokens * CHARACTERS_PER_TOKEN  # of more, the rest is not read
    characters = sum(
        min(longest, sum(map(len, request.context))) + sum(map(len, request.claims))
        for request in requests
    )
    most = limits.max_request_tokens
    if characters > most * CHARACTERS_PER_TOKEN:
        raise too_many_tokens("max_request_tokens", most, "the request")


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
