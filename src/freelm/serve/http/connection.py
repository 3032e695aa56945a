"""uvicorn's HTTP/1.1 protocol with limits on connections, slow headers and slow readers."""

import asyncio
import logging
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from freelm.serve.http.asgi import App, Receive, Scope, Send
from freelm.serve.http.auth import OPEN_PATHS
from freelm.serve.http.errors import ApiError, send_error
from freelm.serve.http.limits import Limits

log = logging.getLogger("freelm.serve")

RESERVED_CONNECTIONS = 16
"""Connections beyond `max_connections`, on which only `/health` is answered."""


def limited_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """A protocol class that enforces limits.

    What it refuses never becomes a request: it is logged here and reported to the function `reject`
    in the state of the application's lifespan.
    """
    reserved: dict[asyncio.Protocol, None] = {}

    class LimitedProtocol(H11Protocol):
        _header_timer: asyncio.TimerHandle | None = None
        _write_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            # Any unsent byte pauses writing: so at most one message is buffered per connection, and
            # the write timer covers the last bytes of an answer, too.
            transport.set_write_buffer_limits(0)
            if len(self.connections) > limits.max_connections:
                if len(reserved) >= RESERVED_CONNECTIONS:
                    # A probe sends its request at once: the oldest connection is idle.
                    next(iter(reserved)).transport.abort()  # type: ignore[attr-defined]
                    reserved.pop(next(iter(reserved)), None)
                reserved[self] = None
                self.app = _only_health(self.app)
            self._watch_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            reserved.pop(self, None)
            self._cancel_header_timer()
            self._cancel_write_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_headers()

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._write_timer is None:
                self._write_timer = self.loop.call_later(limits.write_seconds, self._abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._cancel_write_timer()

        def send_400_response(self, msg: str) -> None:
            # Called from an exception handler; h11 says which status the error stands for.
            status = getattr(sys.exc_info()[1], "error_status_hint", 400)
            if status == 431:
                message = (
                    "the headers are too large; the limit max_header_bytes of this server is "
                    f"{limits.max_header_bytes}"
                )
                self._reject(ApiError(431, message, "headers_too_large"))
            else:
                self._reject(ApiError(400, "this is not HTTP/1.1", "bad_request"))

        def _watch_headers(self) -> None:
            """Run the header timer exactly while the headers of a request are incomplete."""
            if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
                self._cancel_header_timer()
            elif self._header_timer is None:
                self._header_timer = self.loop.call_later(
                    limits.header_seconds, self._reject_slow_headers
                )

        def _cancel_header_timer(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

        def _cancel_write_timer(self) -> None:
            if self._write_timer is not None:
                self._write_timer.cancel()
                self._write_timer = None

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

    return LimitedProtocol


CLIENT_NOT_READING = 499
"""Status under which connections are counted whose client does not read."""


def _only_health(app: App) -> App:
    """An application that answers `/health`, and 503 to everything else."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in OPEN_PATHS:
            await app(scope, receive, send)
        else:
            error = ApiError(503, "too many connections", "too_many_connections")
            await send_error(send, error, close=True)

    return answer
