"""Errors that clients see: a status code and an error object.

Every error response has the body `{"error": {"message", "type", "param", "code"}}`.
"""

import json
from collections.abc import Iterable

from freelm.serve.http.asgi import Send

RETRYABLE = frozenset({429, 503})
"""Responses with these statuses carry `Retry-After`."""

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

LAST_EVENT = b"data: [DONE]\n\n"
"""Ends every stream of server-sent events."""


class ApiError(Exception):
    """A request that cannot be answered.

    Args:
        status: HTTP status code, 4xx or 5xx.
        message: One sentence for the client that says what to do.
        code: Machine-readable error code.
        param: Path of the offending value in the body, such as `questions.2.choices`.
        retry_after: Seconds after which to try again, for 429 and 503.
        headers: More response headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        retry_after: int = 1,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.extra_headers = tuple(headers)

    @property
    def kind(self) -> str:
        """The error's type, in the words that OpenAI clients know."""
        default = "server_error" if self.status >= 500 else "invalid_request_error"
        return _TYPES.get(self.status, default)

    @property
    def body(self) -> bytes:
        """The error object as JSON."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        # ASCII, because a message may quote a lone surrogate, which UTF-8 cannot encode.
        return json.dumps({"error": error}).encode("ascii")

    @property
    def event(self) -> bytes:
        """The error object as a server-sent event, for a stream that has started."""
        return b"data: " + self.body + b"\n\n"

    @property
    def headers(self) -> dict[str, str]:
        """Response headers."""
        retry = {"retry-after": str(self.retry_after)} if self.status in RETRYABLE else {}
        return {"content-type": "application/json", **retry, **dict(self.extra_headers)}


class ClientDisconnected(Exception):
    """The client closed its connection before the answer was ready."""


def bad_request(message: str, code: str = "invalid_value", param: str | None = None) -> ApiError:
    """A 400."""
    return ApiError(400, message, code, param)


def limit_exceeded(limit: str, maximum: float, given: int, what: str, param: str) -> ApiError:
    """A 400 that names the limit that was exceeded."""
    return ApiError(
        400,
        f"{given} {what} are given; the limit {limit} of this server is {maximum}",
        "limit_exceeded",
        param,
    )


def too_many_tokens(limit: str, maximum: int, what: str, param: str | None = None) -> ApiError:
    """A 400 for a text with more tokens than a limit allows."""
    return ApiError(
        400,
        f"{what} has more than {maximum} tokens, the limit {limit} of this server; shorten it",
        "limit_exceeded",
        param,
    )


def body_too_large(maximum: int) -> ApiError:
    """A 413 that names the limit."""
    return ApiError(
        413,
        f"the body is too large; the limit max_body_bytes of this server is {maximum}",
        "body_too_large",
    )


def server_stopping() -> ApiError:
    """A 503 for requests that are unfinished when the server stops."""
    return ApiError(503, "the server is stopping", "stopping", retry_after=5)


def internal_error() -> ApiError:
    """A 500 that reveals nothing about its cause."""
    return ApiError(500, "the server failed; its log has the request id", "internal_error")


async def send_error(send: Send, error: ApiError, close: bool = False) -> None:
    """Send an error response.

    Args:
        send: The ASGI channel.
        error: The error.
        close: Close the connection afterwards, because the request body was not read.
    """
    headers = error.headers | {"content-length": str(len(error.body))}
    if close:
        headers["connection"] = "close"
    await send(
        {
            "type": "http.response.start",
            "status": error.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": error.body})
