"""ASGI middleware in front of the routes: request log, concurrency limit, reading of bodies."""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable

from freelm.serve.http.asgi import App, Message, Receive, Scope, Send, header_values
from freelm.serve.http.auth import client_id
from freelm.serve.http.errors import (
    LAST_EVENT,
    ApiError,
    ClientDisconnected,
    bad_request,
    body_too_large,
    internal_error,
    send_error,
    server_stopping,
)
from freelm.serve.http.keys import client_of
from freelm.serve.http.limits import Limits
from freelm.serve.scheduling import ClientShares

log = logging.getLogger("freelm.serve")

CLIENT_DISCONNECTED = 499
"""Status that is logged for a client that left before its answer; never sent."""

OTHER = "other"
"""Logged and counted in place of paths and methods that clients make up."""

_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"})

Record = Callable[[str, int, float], None]


class RequestLog:
    """Gives every request an id, turns exceptions into error responses, and logs one line.

    Args:
        app: The application.
        routes: Paths that may appear in log lines and metrics.
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
        exchange = _Exchange(scope, receive, send)
        started = time.perf_counter()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ApiError as error:
            await exchange.fail(error)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            # The server is stopping and `drain_seconds` are over.
            await exchange.fail(server_stopping())
        except Exception as error:
            # The message may quote a client's text, so only its type is logged.
            log.error("request %s failed: %s", exchange.id, type(error).__name__)
            log.debug("request %s failed", exchange.id, exc_info=error)
            await exchange.fail(internal_error())
        finally:
            seconds = time.perf_counter() - started
            route = scope["path"] if scope["path"] in self._routes else OTHER
            method = scope["method"] if scope["method"] in _METHODS else OTHER
            status = exchange.status
            self._record(route, status, seconds)
            client = client_of(scope)
            fields = {
                "method": method,
                "route": route,
                "status": status,
                "milliseconds": round(1000 * seconds, 1),
                "request_id": exchange.id,
                "key": None if client is None else client.entry.name,
            }
            line = "%s %s %d %.1f ms %s"
            log.info(line, *list(fields.values())[:5], extra={"request": fields})


class _Exchange:
    """The channels of one request, and what has passed through them."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.id = uuid.uuid4().hex
        self._scope = scope
        self.status = CLIENT_DISCONNECTED
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
            self._streaming = _is_event_stream(message)
            ids = [
                (b"x-request-id", self.id.encode()),
                (b"x-typesafe-request-id", self.id.encode()),
            ]
            client = client_of(self._scope)
            rates = [] if client is None else client.headers
            message = {**message, "headers": [*message.get("headers", []), *ids, *rates]}
        elif not message.get("more_body"):
            self._streaming = False
        await self._send(message)

    async def fail(self, error: ApiError) -> None:
        """Send an error; in an event stream that has started, as its last events.

        Any other response that has started is cut off.
        """
        if self.status == CLIENT_DISCONNECTED:
            await send_error(self.send, error, close=not self._body_read)
        elif self._streaming:
            await self.send({"type": "http.response.body", "body": error.event + LAST_EVENT})


def _is_event_stream(start: Message) -> bool:
    return any(
        name == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in start.get("headers", [])
    )


class ConcurrencyGuard:
    """Refuses requests beyond the number that may be in progress at once.

    Beyond it a client that has less than an equal share may still add some, so that the slow
    requests of one client lock nobody out.

    Args:
        app: The application.
        limits: The number.
        open_paths: Paths that are always answered.
    """

    def __init__(self, app: App, limits: Limits, open_paths: frozenset[str]) -> None:
        self._app = app
        self._shares = ClientShares(limits.max_clients)
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        client = client_id(scope)
        if not self._shares.admits(client, 1):
            raise ApiError(
                503,
                "too many requests at once; the limit max_clients of this server is "
                f"{self._shares.capacity}, shared by its clients",
                "too_many_clients",
            )
        self._shares.add(client, 1)
        try:
            await self._app(scope, receive, send)
        finally:
            self._shares.remove(client)


class BodyGuard:
    """Checks heads, reads bodies within their limits, and cancels work for clients that left.

    Args:
        app: The application; it receives each body in one message.
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
        await _run_while_connected(self._app, scope, body, receive, send)

    def _check_head(self, scope: Scope) -> None:
        if scope.get("http_version", "1.1") not in ("1.0", "1.1"):
            raise ApiError(505, "this server speaks HTTP/1.1", "bad_http_version")
        lengths = header_values(scope, b"content-length")
        if len(lengths) > 1 or (lengths and header_values(scope, b"transfer-encoding")):
            # A proxy may trust the other header, and take the body for a second request.
            raise bad_request("the length of the body is stated twice", "bad_length")
        # The protocol limits only heads that arrive in several packets.
        lines = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        maximum = self._limits.max_header_bytes
        if lines + len(scope.get("raw_path") or b"") + len(scope["query_string"]) > maximum:
            raise ApiError(
                431,
                "the headers are too large; the limit max_header_bytes of this server is "
                f"{maximum}",
                "headers_too_large",
            )

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        maximum = self._limits.max_body_bytes
        for length in header_values(scope, b"content-length"):
            if length.isdecimal() and len(length) < 20 and int(length) > maximum:
                raise body_too_large(maximum)
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnected
                    body += message.get("body", b"")
                    if len(body) > maximum:
                        raise body_too_large(maximum)
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise ApiError(
                408,
                "the body did not arrive in time; the limit body_seconds of this server is "
                f"{self._limits.body_seconds:g}",
                "body_timeout",
            ) from None


async def _run_while_connected(
    app: App, scope: Scope, body: bytes, receive: Receive, send: Send
) -> None:
    """Run an app with a body that has been read; cancel it when the client disconnects."""
    delivered = answered = False
    disconnect = asyncio.ensure_future(_wait_for_disconnect(receive))

    async def receive_body() -> Message:
        nonlocal delivered
        if not delivered:
            delivered = True
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.shield(disconnect)
        return {"type": "http.disconnect"}

    async def forward(message: Message) -> None:
        nonlocal answered
        await send(message)
        answered |= message["type"] == "http.response.body" and not message.get("more_body")

    answer = asyncio.ensure_future(app(scope, receive_body, forward))
    try:
        await asyncio.wait({answer, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done() and not answered:
            raise ClientDisconnected
        await answer
    finally:
        # Also when this task itself is cancelled.
        answer.cancel()
        disconnect.cancel()
        await asyncio.gather(answer, disconnect, return_exceptions=True)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
