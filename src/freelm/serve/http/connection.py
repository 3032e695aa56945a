"""uvicorn's HTTP/1.1 protocol with limits on connections, slow clients and ambiguous heads."""

import asyncio
import logging
import re
import sys
from typing import Any

import h11
import uvicorn
from h11._receivebuffer import ReceiveBuffer
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from freelm.serve.http.asgi import App, Receive, Scope, Send
from freelm.serve.http.auth import OPEN_PATHS
from freelm.serve.http.errors import ApiError, send_error
from freelm.serve.http.limits import Limits

log = logging.getLogger("freelm.serve")

RESERVED_CONNECTIONS = 16
"""Connections beyond `max_connections`, on which only `/health` is answered."""

CLIENT_NOT_READING = 499
"""Status under which connections are counted whose client does not read."""

PROBE_SECONDS = 0.5
"""Time between two checks whether a half-closed client is still there."""

_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\n[ \t]")
"""A line that ends with a bare LF, or continues the line before it."""


class ServerConfig(uvicorn.Config):
    """uvicorn's settings and our limits. It can be pickled, for worker processes."""

    def __init__(self, app: Any, limits: Limits, **options: Any) -> None:
        super().__init__(app, http=LimitedProtocol, **options)
        self.limits = limits
        self.reserved: dict[LimitedProtocol, None] = {}


class LimitedProtocol(H11Protocol):
    """Enforces the limits of a `ServerConfig`.

    What it refuses never becomes a request: it is logged here and reported to the function `reject`
    in the state of the application's lifespan.
    """

    config: ServerConfig

    def __init__(self, config: ServerConfig, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        self.limits = config.limits
        # h11 has no setting for this.
        self.conn._receive_buffer = _StrictBuffer()
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._probe_timer: asyncio.TimerHandle | None = None
        self._half_closed = False

    def connection_made(self, transport: Any) -> None:
        """Count the connection; one too many may only ask for `/health`."""
        super().connection_made(transport)
        # Any unsent byte pauses writing: so at most one message is buffered per connection, and
        # the write timer covers the last bytes of an answer, too. TLS transports pause already at
        # their limit, not only above it.
        transport.set_write_buffer_limits(high=int(self.scheme == "https"), low=0)
        if len(self.connections) > self.limits.max_connections:
            self._reserve()
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers of the connection."""
        self.config.reserved.pop(self, None)
        self._cancel_header_timer()
        self._cancel_write_timer()
        self._cancel_probe()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        self._watch_headers()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection of a client that waits for an answer but sends nothing more.

        TLS connections have no half-closed state.
        """
        unanswered = self.cycle is not None and not self.cycle.response_complete
        if self.scheme == "https" or not unanswered or self.cycle.more_body:
            return False
        if not self._half_closed:
            self._half_closed = True
            self._probe()
        return True

    def on_response_complete(self) -> None:
        """Go on with the next request, or close a connection that brings no more."""
        super().on_response_complete()
        if self._half_closed and self.cycle.response_complete:
            self.transport.close()

    def pause_writing(self) -> None:
        """Start the time that the client has to read."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.limits.write_seconds, self._abort)

    def resume_writing(self) -> None:
        """Stop the time that the client has to read."""
        super().resume_writing()
        self._cancel_write_timer()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP. Called from an exception handler of uvicorn."""
        # h11 says which status the error stands for.
        status = getattr(sys.exc_info()[1], "error_status_hint", 400)
        if status == 431:
            message = (
                "the headers are too large; the limit max_header_bytes of this server is "
                f"{self.limits.max_header_bytes}"
            )
            self._reject(ApiError(431, message, "headers_too_large"))
        else:
            self._reject(ApiError(400, "this is not HTTP/1.1", "bad_request"))

    def _reserve(self) -> None:
        """Take one of the reserved connections, if need be that of the oldest."""
        reserved = self.config.reserved
        if len(reserved) >= RESERVED_CONNECTIONS:
            # A probe sends its request at once: the oldest connection is idle.
            oldest = next(iter(reserved))
            del reserved[oldest]
            oldest.transport.abort()
        reserved[self] = None
        self.app = _only_health(self.app)

    def _watch_headers(self) -> None:
        """Run the header timer exactly while the headers of a request are incomplete."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._cancel_header_timer()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(
                self.limits.header_seconds, self._reject_slow_headers
            )

    def _cancel_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _cancel_probe(self) -> None:
        if self._probe_timer is not None:
            self._probe_timer.cancel()
            self._probe_timer = None

    def _probe(self) -> None:
        """Find out whether a half-closed client is still there.

        A closed connection looks the same until something is sent: its computer answers the first
        interim response with a reset, and the second one fails.
        """
        waiting = self.conn.our_state is h11.SEND_RESPONSE and not self.cycle.response_started
        if self.transport.is_closing() or not waiting or self.scope["http_version"] == "1.0":
            return
        interim = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
        self.transport.write(self.conn.send(interim) or b"")
        self._probe_timer = self.loop.call_later(PROBE_SECONDS, self._probe)

    def _reject_slow_headers(self) -> None:
        self._reject(ApiError(408, "the headers did not arrive in time", "header_timeout"))

    def _abort(self) -> None:
        """Drop a client that does not read its answer."""
        log.info("connection aborted: write_timeout")
        self.app_state["reject"](CLIENT_NOT_READING)
        self.transport.abort()

    def _reject(self, error: ApiError) -> None:
        """Send an error outside of any request, and close the connection."""
        self._cancel_header_timer()
        log.info("connection rejected: %d %s", error.status, error.code)
        self.app_state["reject"](error.status)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = {
                **error.headers,
                "content-length": str(len(error.body)),
                "connection": "close",
            }
            start = h11.Response(
                status_code=error.status,
                headers=list(headers.items()),
                reason=STATUS_PHRASES[error.status],
            )
            for event in (start, h11.Data(data=error.body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class _StrictBuffer(ReceiveBuffer):
    """Refuses bare LF and folded lines in heads and trailers (RFC 9112, sections 2.2 and 5.2).

    h11 accepts them, and a proxy in front may read them differently.
    """

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """The lines of a head, if it is complete."""
        before = bytes(self._data)
        lines: list[bytearray] | None = super().maybe_extract_lines()
        if lines is not None and _AMBIGUOUS.search(before, 0, len(before) - len(self._data)):
            raise h11.LocalProtocolError("bare LF or folded line")
        return lines


def _only_health(app: App) -> App:
    """An application that answers `/health`, and 503 to everything else."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in OPEN_PATHS:
            await app(scope, receive, send)
        else:
            error = ApiError(503, "too many connections", "too_many_connections")
            await send_error(send, error, close=True)

    return answer
