"""Engines whose verdicts are known beforehand, and clients of guards, for tests of the server."""

import gzip
import hashlib
import math
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import numpy as np
import pytest
from pydantic import BaseModel

from freelm.data.tokens import EncodedContext
from freelm.judge.requests import ContextTooLongError, Judgement, PreparedRequest, Request
from freelm.serve.batching import Engine
from freelm.serve.http.limits import Limits
from freelm.serve.protocols import load_endpoints
from freelm.serve.protocols.base import JudgingEndpoint
from freelm.serve.service import Service
from freelm.serve.settings import Settings, TlsFiles

KEY = "a-key-of-thirty-two-characters-0"


def packed(body: bytes) -> bytes:
    """A body in gzip, without the time of day: each process must name its tests alike."""
    return gzip.compress(body, mtime=0)


def margin_of(context: Sequence[str], claim: str) -> float:
    """A margin that belongs to this context and claim and no other."""
    digest = hashlib.sha256("\0".join([*context, claim]).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**31 - 1


def p(context: str, claim: str) -> float:
    """The probability that belongs to `margin_of`."""
    return 1 / (1 + math.exp(-margin_of([context], claim)))


def shares(context: str, *claims: str) -> list[float]:
    """The probabilities of claims of which exactly one is true."""
    odds = [math.exp(margin_of([context], claim)) for claim in claims]
    return [odd / sum(odds) for odd in odds]


class OracleBackend:
    """Judges by `margin_of`, with one token per word; remembers its batches.

    Attributes:
        batches: Requests of each call.
        prepared: Requests that were tokenized, in order.
        entered: Number of calls that have begun.
        gate: Judging waits until it is set.
        fails_at: A context at which judging fails.
        on_judge: Called before each batch.
        max_context_tokens: Longer contexts are cut or refused.
    """

    def __init__(self, begin: Any = None, max_context_tokens: int = 10**6) -> None:
        self.batches: list[list[Request]] = []
        self.prepared: list[Request] = []
        self.entered = 0
        self.gate = threading.Event()
        self.gate.set()
        self.fails_at: str | None = None
        self.on_judge: Callable[[], None] = lambda: None
        self.max_context_tokens = max_context_tokens
        self._begin = begin
        self._vocabulary: dict[str, int] = {}
        self._texts: dict[tuple[int, ...], tuple[str, ...]] = {}

    def prepare(self, request: Request, name: str = "the text") -> PreparedRequest:
        self.prepared.append(request)
        ids = self._ids(" ".join(request.context))
        cut = len(ids) > self.max_context_tokens
        if cut and request.long_texts == "error":
            raise ContextTooLongError(f"{name} is too long")
        ids = ids[: self.max_context_tokens]
        self._texts[ids] = request.context
        claim_ids = tuple(map(self._ids, request.claims))
        self._texts |= {ids: (claim,) for ids, claim in zip(claim_ids, request.claims, strict=True)}
        return PreparedRequest(request.claims, claim_ids, (EncodedContext(ids, cut),))

    def judge_prepared(self, requests: Sequence[PreparedRequest]) -> list[Judgement]:
        self.entered += 1
        self.gate.wait()
        self.on_judge()
        asked = [Request(self._texts[r.contexts[0].ids], r.claims) for r in requests]
        self.batches.append(asked)
        if any(self.fails_at in request.context for request in asked):
            raise RuntimeError("secret words")
        return [
            Judgement(
                claims=request.claims,
                margins=np.array([margin_of(request.context, claim) for claim in request.claims]),
                truncated=prepared.truncated,
                num_context_tokens=prepared.num_context_tokens,
                num_claim_tokens=prepared.num_claim_tokens,
            )
            for request, prepared in zip(asked, requests, strict=True)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        return " + ".join(self._texts[tuple(ids)])

    def begin(self, request: Any) -> Any:
        if self._begin is None:
            raise AssertionError("nothing is to be written")
        return self._begin(request)

    def _ids(self, text: str) -> tuple[int, ...]:
        vocabulary = self._vocabulary
        return tuple(vocabulary.setdefault(word, len(vocabulary)) for word in text.split())


def size(request: Request) -> int:
    """Tokens of a request: one per word."""
    return sum(len(text.split()) for text in (*request.context, *request.claims))


async def ask(engine: Engine, requests: Sequence[Request], client: str = "") -> list[Judgement]:
    """Judge requests as the service does."""
    return await engine.judge([engine.backend.prepare(request) for request in requests], client)


@pytest.fixture
def engine() -> Iterator[Callable[..., Engine]]:
    """`engine(backend, **limits)` -> a started engine that is closed after the test."""
    made: list[tuple[Engine, Any]] = []

    def make(backend: Any, clock: Any = time.monotonic, **limits: Any) -> Engine:
        found = Engine(backend, Limits(**limits), clock=clock)
        found.start()
        made.append((found, backend))
        return found

    yield make
    for one, backend in made:
        if isinstance(backend, OracleBackend):
            backend.gate.set()
        one.close()


@pytest.fixture
def settings() -> Callable[..., Settings]:
    """`settings(key=..., max_queue=...)` -> settings of a server, limits among them."""

    def make(**changes: Any) -> Settings:
        limits = {name: changes.pop(name) for name in list(changes) if name in Limits.model_fields}
        base = Settings(names=("tiny",), limits=Limits(**limits))
        return replace(base, **changes)

    return make


class DirectService:
    """A service that takes and returns models of the dialects, without HTTP."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._endpoints = {path: one for one in load_endpoints() for path in one.paths}

    async def post(self, path: str, request: BaseModel) -> Any:
        """The response of a route to a request."""
        endpoint, body = self._endpoints[path], request.model_dump_json(exclude_unset=True).encode()
        if isinstance(endpoint, JudgingEndpoint):
            answer = await self.service.judge(endpoint, JSON_SCOPE, body)
        else:
            task = await self.service.prepare_writing(endpoint, JSON_SCOPE, body)
            answer = await self.service.write(task)
        return endpoint.response.model_validate_json(answer)

    async def stream(self, path: str, request: BaseModel) -> AsyncIterator[bytes]:
        """The events of the response of a route."""
        body = request.model_dump_json(exclude_unset=True).encode()
        task = await self.service.prepare_writing(self._endpoints[path], JSON_SCOPE, body)
        async for event in self.service.stream(task):
            yield event


JSON_SCOPE = {"type": "http", "headers": [(b"content-type", b"application/json")]}


@pytest.fixture
def service(engine: Any, settings: Any) -> Callable[..., DirectService]:
    """`service(begin, key=..., max_queue=...)` -> a service over an engine of its own."""

    def make(begin: Any = None, backend: Any = None, **changes: Any) -> DirectService:
        one = engine(backend or OracleBackend(begin))
        return DirectService(Service(one, settings(**changes)))

    return make


@dataclass
class Live:
    """A server of a test, on a port of its own.

    Attributes:
        port: Its port on 127.0.0.1.
        name: What its model is called.
    """

    port: int
    name: str

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> int | None:
        """Status of a GET request; None if the connection fails."""
        try:
            return int(httpx2.get(f"{self.url}{path}").status_code)
        except httpx2.TransportError:
            return None

    def rejected(self, status: int) -> float:
        """How many connections were closed with a status and without an answered request."""
        text = httpx2.get(f"{self.url}/metrics").text
        lines = [line for line in text.splitlines() if line.startswith("freelm_rejected_total{")]
        return sum(float(line.split()[1]) for line in lines if f'status="{status}"' in line)

    def raw(self, *chunks: bytes, wait: float = 0.0) -> bytes:
        """Send bytes, with pauses between them, and read what comes until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as sock:
            try:
                for chunk in chunks:
                    sock.sendall(chunk)
                    time.sleep(wait)
            except OSError:
                pass
            answer = b""
            try:
                while piece := sock.recv(65536):
                    answer += piece
            except ConnectionResetError:
                pass
            return answer


@contextmanager
def live(
    engine: Engine,
    settings: Settings,
    wrapped: Callable[[Any], Any] = lambda app: app,
    tls: TlsFiles | None = None,
) -> Iterator[Live]:
    """A server in a thread, for as long as the block; `wrapped` may change its application."""
    from freelm.serve.app import make_app
    from freelm.serve.lifecycle import bind, make_server

    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = make_server(wrapped(make_app(engine, settings)), settings.limits, tls)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield Live(port, settings.names[0])
    finally:
        server.should_exit = True
        thread.join(30)


def client(app: Any, **options: Any) -> httpx2.AsyncClient:
    """A client of an application, without a socket."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    options.setdefault("base_url", "http://127.0.0.1:8000")
    return httpx2.AsyncClient(transport=transport, **options)


async def say(send: Any, status: int, body: bytes) -> None:
    """A response of a small application."""
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})
