"""What the interfaces share: strict models, and what FreeLM adds to them under the key `freelm`."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from freelm.judge.requests import Request
from freelm.serve.judged import Judged

UNKNOWN_KEYS = 8
"""Unknown keys that are looked at one by one."""


class RequestModel(BaseModel):
    """A part of a request: types are not converted, unknown keys are refused.

    A body of thousands of faults would take the event loop a second to describe. So every list and
    mapping of a request ends at its first fault (`fail_fast`), and so does an object whose keys are
    mostly unknown.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _few_unknown_keys(cls, given: Any) -> Any:
        known = cls.model_fields
        refused = cls.model_config.get("extra") == "forbid"
        if refused and isinstance(given, dict) and len(given) > len(known) + UNKNOWN_KEYS:
            raise PydanticCustomError(
                "too_many_keys",
                "{given} keys are given; {known} are known",
                {"given": len(given), "known": len(known)},
            )
        return given


class ResponseModel(BaseModel):
    """A part of a response."""

    model_config = ConfigDict(frozen=True)


class FreeLMOptions(RequestModel):
    """FreeLM's own options, in any request under the key `freelm`."""

    truncate: bool = Field(
        False, description="Cut texts that are too long instead of refusing them."
    )
    propositions: bool = Field(False, description="Say what was judged, claim by claim.")


class JudgedClaim(ResponseModel):
    """One claim and how likely it is true by itself."""

    claim: str
    written: str = Field(description="The claim as the model reads it, behind the text.")
    probability: float


class JudgedText(ResponseModel):
    """The claims that were judged about one text.

    A proposition is `read` and the `written` of a claim, one behind the other.
    """

    context: list[str] = Field(description="Parts of the text, as they were given.")
    read: str = Field(description="The text as the model reads it, without what was cut.")
    truncated: bool
    claims: list[JudgedClaim]


class FreeLMInfo(ResponseModel):
    """FreeLM's own part of a response, under the key `freelm`."""

    truncated: bool = Field(description="Whether a text was too long and a part of it was read.")
    seconds: float = Field(description="From the request's arrival to its answer.")
    propositions: list[JudgedText] | None = None


def report(
    wishes: FreeLMOptions, requests: Sequence[Request], judged: Sequence[Judged], seconds: float
) -> FreeLMInfo:
    """What FreeLM adds to the answer of judged requests."""
    texts = None
    if wishes.propositions:
        texts = [
            JudgedText(
                context=list(request.context),
                read=found.read,
                truncated=found.truncated,
                claims=[
                    JudgedClaim(claim=claim, written=written, probability=float(p))
                    for claim, written, p in zip(
                        request.claims, found.written, found.probabilities, strict=True
                    )
                ],
            )
            for request, found in zip(requests, judged, strict=True)
        ]
    cut = any(found.truncated for found in judged)
    return FreeLMInfo(truncated=cut, seconds=round(seconds, 6), propositions=texts)
