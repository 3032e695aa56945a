"""All limits of the server in one settings object; each has a test."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from freelm.errors import ConfigError, describe_validation, suggest

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Limits(BaseModel):
    """What a client may ask for, and how long things may take. Sizes are upper bounds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_connections: Count = Field(512, description="open connections; more are answered 503")
    max_clients: Count = Field(256, description="requests in progress; more are answered 503")
    max_queue: Count = Field(
        256, description="jobs that wait to be judged, or written; shared by clients (429)"
    )

    max_header_bytes: Count = Field(16_384, description="request line and headers (431)")
    header_seconds: Seconds = Field(10, description="time to send the headers (408)")
    max_body_bytes: Count = Field(1_048_576, description="body of a request (413)")
    body_seconds: Seconds = Field(30, description="time to send the body (408)")
    request_seconds: Seconds = Field(30, description="wait for the model (503, or 400 at once)")
    write_seconds: Seconds = Field(30, description="time to read a part of the answer")
    drain_seconds: Count = Field(20, description="time to finish open requests when stopping")

    max_json_depth: Count = Field(32, description="nesting of objects and arrays in a body")
    max_json_values: Count = Field(20_000, description="values in a body")
    max_questions: Count = Field(400, description="questions in a request")
    max_options: Count = Field(255, description="options of a choice, labels of a classification")
    max_levels: Count = Field(64, description="levels of a score")
    max_claims: Count = Field(2_000, description="claims in a request, all questions together")
    max_texts: Count = Field(1_000, description="documents, pairs or inputs in a request")
    max_context_tokens: Annotated[int, Field(ge=8)] = Field(
        1_024, description="tokens of a text; longer ones are refused, or cut on request"
    )

    max_claim_tokens: Count = Field(256, description="tokens of a claim")
    max_request_tokens: Count = Field(
        65_536, description="tokens of a request, all its texts and claims together"
    )

    max_prompts: Count = Field(8, description="prompts of a completion request")
    max_n: Count = Field(8, description="completions of one prompt")
    max_prompt_tokens: Count = Field(1_024, description="tokens of a prompt")
    max_tokens: Count = Field(512, description="tokens written for one completion")
    max_stops: Count = Field(4, description="stop strings of a completion request")
    max_writers: Count = Field(16, description="completions written at once; more wait")

    batch_tokens: Count = Field(2_048, description="tokens gathered into one batch")
    longest_wait_ms: Annotated[float, Field(ge=0, le=1000)] = Field(
        4, description="longest time that a request waits for others to share its batch"
    )


def parse_limits(settings: list[str]) -> Limits:
    """Limits from settings `name=value`; the others have their defaults.

    Raises:
        ConfigError: If a setting has another form, or a limit is unknown or out of range.
    """
    values = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"limit {setting!r} must have the form name=value")
        if name not in Limits.model_fields:
            hint = suggest(name, Limits.model_fields)
            raise ConfigError(f"limits: {name}: unknown key; {hint}")
        values[name] = value
    try:
        return Limits.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"limits: {describe_validation(error)}") from None
