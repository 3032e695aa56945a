"""What can be wrong with a request, as status code and error object; nothing else is ever said.

Every error of the server has the body `{"error": {"message", "type", "param", "code"}}`.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

RETRYABLE = frozenset({429, 503})
"""These carry `Retry-After`."""

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

LAST_EVENT = b"data: [DONE]\n\n"
"""Ends every stream of server-sent events."""


class Problem(Exception):
    """A request that cannot be answered.

    Args:
        status: HTTP status code, 4xx or 5xx.
        message: One sentence for the client that says what to do.
        code: A word for programs.
        param: The place in the body that it is about, such as `questions.2.choices`.
        retry_after: Seconds after which to try again, for 429 and 503.
        headers: More headers of the response.

    Attributes:
        text: Which of several texts it is about, counted from 0.
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
        self.more_headers = tuple(headers)
        self.text: int | None = None

    @property
    def kind(self) -> str:
        """The error's type: whose fault it is, in the words that clients know."""
        server = "server_error" if self.status >= 500 else "invalid_request_error"
        return _TYPES.get(self.status, server)

    @property
    def body(self) -> bytes:
        """The error object as JSON."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        # ASCII: a message may quote a character that UTF-8 cannot carry.
        return json.dumps({"error": error}).encode("ascii")

    @property
    def event(self) -> bytes:
        """The error object as a server-sent event, for a stream that has begun."""
        return b"data: " + self.body + b"\n\n"

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response."""
        retry = {"retry-after": str(self.retry_after)} if self.status in RETRYABLE else {}
        return {"content-type": "application/json", **retry, **dict(self.more_headers)}


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


def refuse(message: str, code: str = "invalid_value", param: str | None = None) -> Problem:
    """A 400: the client can mend it."""
    return Problem(400, message, code, param)


def over_limit(limit: str, most: int, given: int, what: str, param: str) -> Problem:
    """A 400 that names the limit that was passed."""
    return Problem(
        400,
        f"{given} {what} are given; the limit {limit} of this server is {most}",
        "limit_exceeded",
        param,
    )


def over_tokens(limit: str, most: int, what: str, param: str | None = None) -> Problem:
    """A 400 for a text of more tokens than a limit allows."""
    return Problem(
        400,
        f"{what} has more than {most} tokens, the limit {limit} of this server; shorten it",
        "limit_exceeded",
        param,
    )


def body_too_large(most: int) -> Problem:
    """A 413 that names the limit of bodies."""
    return Problem(
        413,
        f"the body is too large; the limit max_body_bytes of this server is {most}",
        "body_too_large",
    )


def stopping() -> Problem:
    """A 503 for what is not finished when the server ends."""
    return Problem(503, "the server is stopping", "stopping", retry_after=5)


def internal_error() -> Problem:
    """A 500 without a word about its cause."""
    return Problem(500, "the server failed; its log has the request id", "internal_error")


async def send_problem(send: Send, problem: Problem, close: bool = False) -> None:
    """Answer a request with a problem.

    Args:
        send: The ASGI channel.
        problem: What is wrong.
        close: Whether the connection is of no more use, since its body was not read.
    """
    headers = dict(problem.headers) | {"content-length": str(len(problem.body))}
    if close:
        headers["connection"] = "close"
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": problem.body})
