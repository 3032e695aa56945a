"""What the interfaces share: strict models, and what FreeLM adds to them under the key `freelm`."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from freelm.inference.engine import Request
from freelm.serve.judged import Judged


class Asked(BaseModel):
    """A part of a request: types are not converted, unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answered(BaseModel):
    """A part of a response."""

    model_config = ConfigDict(frozen=True)


class Wishes(Asked):
    """FreeLM's own options, in any request under the key `freelm`."""

    truncate: bool = Field(
        False, description="Cut texts that are too long instead of refusing them."
    )
    propositions: bool = Field(False, description="Say what was judged, claim by claim.")


class JudgedClaim(Answered):
    """One claim and how likely it is true by itself."""

    claim: str
    probability: float


class JudgedText(Answered):
    """The claims that were judged about one text; a proposition is the text and a claim."""

    context: list[str] = Field(description="Parts of the text, as they were given.")
    truncated: bool
    claims: list[JudgedClaim]


class Report(Answered):
    """FreeLM's own part of a response, under the key `freelm`."""

    truncated: bool = Field(description="Whether a text was too long and a part of it was read.")
    seconds: float = Field(description="From the request's arrival to its answer.")
    propositions: list[JudgedText] | None = None


def report(
    wishes: Wishes, requests: Sequence[Request], judged: Sequence[Judged], seconds: float
) -> Report:
    """What FreeLM adds to the answer of judged requests."""
    texts = None
    if wishes.propositions:
        texts = [
            JudgedText(
                context=list(request.context),
                truncated=found.truncated,
                claims=[
                    JudgedClaim(claim=claim, probability=float(p))
                    for claim, p in zip(request.claims, found.probabilities, strict=True)
                ],
            )
            for request, found in zip(requests, judged, strict=True)
        ]
    cut = any(found.truncated for found in judged)
    return Report(truncated=cut, seconds=round(seconds, 6), propositions=texts)
