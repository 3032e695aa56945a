"""What stands before the routes: the ledger of requests, the crowd, and the reading of bodies."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable

from freelm.serve.http.auth import header_values
from freelm.serve.http.compression import UNPACKERS, unpack
from freelm.serve.http.errors import (
    LAST_EVENT,
    ApiError,
    App,
    ClientDisconnected,
    Message,
    Receive,
    Scope,
    Send,
    body_too_large,
    internal_error,
    send_error,
    server_stopping,
)
from freelm.serve.http.limits import Limits
from freelm.serve.http.strict_json import read_json

log = logging.getLogger("freelm.serve")

CLIENT_LEFT = 499
"""Recorded where nobody was there to get a status; never sent."""

OTHER = "other"
"""Stands for paths and methods that clients make up: their words are neither logged nor counted."""

_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"})

Record = Callable[[str, int, float], None]


class RequestLog:
    """Gives every request an id, answers what goes wrong, and writes one line about it.

    Args:
        app: What answers.
        routes: Paths that are named in lines and counts.
        record: Called with path, status and seconds of every request.
    """

    def __init__(self, app: App, routes: frozenset[str], record: Record) -> None:
        self._app = app
        self._routes = routes
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry = _Entry(scope, receive, send)
        started = time.perf_counter()
        try:
            await self._app(scope, entry.receive, entry.send)
        except ApiError as problem:
            await entry.answer(problem)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            # The server ends, and the time to finish what is in work (`drain_seconds`) is over.
            await entry.answer(server_stopping())
        except Exception as error:
            # The message may quote a client's text, so only its kind is said.
            log.error("request %s failed: %s", entry.id, type(error).__name__)
            log.debug("request %s failed", entry.id, exc_info=error)
            await entry.answer(internal_error())
        finally:
            seconds = time.perf_counter() - started
            route = scope["path"] if scope["path"] in self._routes else OTHER
            method = scope["method"] if scope["method"] in _METHODS else OTHER
            self._record(route, entry.status, seconds)
            log.info("%s %s %d %.1f ms %s", method, route, entry.status, 1000 * seconds, entry.id)


class _Entry:
    """One request on its way: what has been received and sent."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.id = uuid.uuid4().hex
        self.status = CLIENT_LEFT
        self._receive = receive
        self._send = send
        self._body_read = False
        self._streaming = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._body_read |= message["type"] == "http.request" and not message.get("more_body")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._streaming = _is_stream(message)
            ids = [
                (b"x-request-id", self.id.encode()),
                (b"x-typesafe-request-id", self.id.encode()),
            ]
            message = {**message, "headers": [*message.get("headers", []), *ids]}
        elif not message.get("more_body"):
            self._streaming = False
        await self._send(message)

    async def answer(self, problem: ApiError) -> None:
        """Send a problem; in a stream that has begun, as its last events.

        Any other response that has begun breaks off.
        """
        if self.status == CLIENT_LEFT:
            await send_error(self.send, problem, close=not self._body_read)
        elif self._streaming:
            await self.send({"type": "http.response.body", "body": problem.event + LAST_EVENT})


def _is_stream(start: Message) -> bool:
    return any(
        name == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in start.get("headers", [])
    )


class ConcurrencyGuard:
    """Refuses requests beyond the number that may be in work at once.

    Args:
        app: What is guarded.
        limits: The number.
        open_paths: What is answered however many are inside.
    """

    def __init__(self, app: App, limits: Limits, open_paths: frozenset[str]) -> None:
        self._app = app
        self._most = limits.max_clients
        self._open_paths = open_paths
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        if self._inside >= self._most:
            raise ApiError(
                503,
                f"too many requests at once; the limit max_clients of this server is {self._most}",
                "too_many_clients",
            )
        self._inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1


class BodyGuard:
    """Reads requests within limits and as strict JSON; ends the work for a client that leaves.

    Args:
        app: What gets the bodies; it sees each in one message.
        limits: Sizes and times.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._check_head(scope)
        body = await self._read(scope, receive)
        if scope["method"] == "POST":
            body = self._clean(scope, body)
        await _run_while_present(self._app, scope, body, receive, send)

    def _check_head(self, scope: Scope) -> None:
        """Count the head once more: the protocol bounds only heads that come in several packets."""
        lines = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        most = self._limits.max_header_bytes
        if lines + len(scope.get("raw_path") or b"") + len(scope["query_string"]) > most:
            raise ApiError(
                431,
                f"the headers are too large; the limit max_header_bytes of this server is {most}",
                "headers_too_large",
            )

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        most = self._limits.max_body_bytes
        for length in header_values(scope, b"content-length"):
            if length.isdecimal() and len(length) < 20 and int(length) > most:
                raise body_too_large(most)
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnected
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise body_too_large(most)
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise ApiError(
                408,
                "the body did not arrive in time; the limit body_seconds of this server is "
                f"{self._limits.body_seconds:g}",
                "body_timeout",
            ) from None

    def _clean(self, scope: Scope, body: bytes) -> bytes:
        """The body's JSON, unpacked and written again, so that every reader reads the same."""
        kinds = header_values(scope, b"content-type")
        if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
            raise ApiError(415, "send the header Content-Type: application/json", "not_json")
        body = self._unpacked(scope, body)
        return json.dumps(read_json(body, self._limits), ensure_ascii=False).encode()

    def _unpacked(self, scope: Scope, body: bytes) -> bytes:
        named = ",".join(header_values(scope, b"content-encoding")).lower().split(",")
        codings = [coding for word in named if (coding := word.strip()) not in ("", "identity")]
        if not codings:
            return body
        if len(codings) > 1 or codings[0] not in UNPACKERS:
            known = ", ".join(UNPACKERS)
            raise ApiError(
                415,
                f"send the body uncompressed, or in one of these codings: {known}",
                "unsupported_encoding",
                headers=[("accept-encoding", known)],
            )
        return unpack(body, codings[0], self._limits.max_body_bytes)


async def _run_while_present(
    app: App, scope: Scope, body: bytes, receive: Receive, send: Send
) -> None:
    """Run an app with a body that has been read; cancel it when the client leaves."""
    given = answered = False
    leaving = asyncio.ensure_future(_until_left(receive))

    async def receive_again() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.shield(leaving)
        return {"type": "http.disconnect"}

    async def send_on(message: Message) -> None:
        nonlocal answered
        await send(message)
        answered |= message["type"] == "http.response.body" and not message.get("more_body")

    working = asyncio.ensure_future(app(scope, receive_again, send_on))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and not answered:
            raise ClientDisconnected
        await working
    finally:
        # Also on the way out of a cancellation of this task itself.
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
