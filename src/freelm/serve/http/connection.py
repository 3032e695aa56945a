"""The HTTP protocol of the server: uvicorn's, with limits on connections and on slow headers."""

import asyncio
import logging
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from freelm.serve.http.errors import ApiError
from freelm.serve.http.limits import Limits

log = logging.getLogger("freelm.serve")


def guarded_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """A protocol class that keeps limits.

    What it refuses never becomes a request: it is logged here, and told to the function `reject` in
    the state of the application's lifespan.
    """

    class Guarded(H11Protocol):
        _header_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.max_connections:
                self._reject(ApiError(503, "too many connections", "too_many_connections"))
            else:
                self._watch_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_headers()

        def send_400_response(self, msg: str) -> None:
            # Called while the error is handled; h11 says which status it stands for.
            status = getattr(sys.exc_info()[1], "error_status_hint", 400)
            if status == 431:
                words = (
                    "the headers are too large; the limit max_header_bytes of this server is "
                    f"{limits.max_header_bytes}"
                )
                self._reject(ApiError(431, words, "headers_too_large"))
            else:
                self._reject(ApiError(400, "this is not HTTP/1.1", "bad_request"))

        def _watch_headers(self) -> None:
            """Run the clock exactly while a request has begun whose headers are not complete."""
            if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
                self._forget_timer()
            elif self._header_timer is None:
                self._header_timer = self.loop.call_later(limits.header_seconds, self._give_up)

        def _forget_timer(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

        def _give_up(self) -> None:
            self._reject(ApiError(408, "the headers did not arrive in time", "header_timeout"))

        def _reject(self, problem: ApiError) -> None:
            """Answer outside of any request, and close."""
            self._forget_timer()
            log.info("no request: %d %s", problem.status, problem.code)
            self.app_state["reject"](problem.status)
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                headers = {
                    **problem.headers,
                    "content-length": str(len(problem.body)),
                    "connection": "close",
                }
                start = h11.Response(
                    status_code=problem.status,
                    headers=list(headers.items()),
                    reason=STATUS_PHRASES[problem.status],
                )
                for event in (start, h11.Data(data=problem.body), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Guarded
