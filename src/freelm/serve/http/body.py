"""From the bytes of a request body to the value of its JSON. Runs on a worker thread."""

from typing import Any

from freelm.serve.http.asgi import Scope, header_values
from freelm.serve.http.compression import DECOMPRESSORS, decompress
from freelm.serve.http.errors import ApiError
from freelm.serve.http.limits import Limits
from freelm.serve.http.strict_json import parse_json


def read_body(scope: Scope, body: bytes, limits: Limits) -> Any:
    """Decompress and parse a body.

    Args:
        scope: The ASGI scope, for its content headers.
        body: The body as received.
        limits: Sizes.

    Raises:
        ApiError: 415 for another media type or compression; 413 if the decompressed body is too
            large; 400 if it is not strict JSON.
    """
    kinds = header_values(scope, b"content-type")
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "send the header Content-Type: application/json", "not_json")
    coding = _content_coding(scope)
    if coding is not None:
        body = decompress(body, coding, limits.max_body_bytes)
    return parse_json(body, limits)


def _content_coding(scope: Scope) -> str | None:
    words = ",".join(header_values(scope, b"content-encoding")).lower().split(",")
    codings = [coding for word in words if (coding := word.strip()) not in ("", "identity")]
    if not codings:
        return None
    if len(codings) == 1 and codings[0] in DECOMPRESSORS:
        return codings[0]
    known = ", ".join(DECOMPRESSORS)
    raise ApiError(
        415,
        f"send the body uncompressed or with one of these content codings: {known}",
        "unsupported_encoding",
        headers=[("accept-encoding", known)],
    )
