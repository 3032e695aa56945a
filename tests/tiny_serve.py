"""Engines whose verdicts are known beforehand, and clients of guards, for tests of the server."""

import gzip
import hashlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import numpy as np
import pytest

from freelm.judge.requests import Judgement, Request
from freelm.serve.batching import Engine
from freelm.serve.http.limits import Limits
from freelm.serve.measure import Size
from freelm.serve.service import Service
from freelm.serve.settings import Settings

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


def words(request: Request, truncate: bool = False, shown: bool = False) -> Size:
    """A size of one token a word, in a form of its own: `text | claim !`."""
    sizes = sum(map(_words, request.context)), tuple(map(_words, request.claims))
    if not shown:
        return Size(*sizes)
    return Size(
        *sizes, " + ".join(request.context) + " |", tuple(f" {c} !" for c in request.claims)
    )


def _words(text: str) -> int:
    return len(text.split())


class OracleJudge:
    """Judges by `margin_of`; remembers its batches; may be slow, stopped or broken.

    Attributes:
        batches: Requests of each call.
        gate: Judging waits until it is set.
        fails_at: A context at which judging fails.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[list[Request]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails_at: str | None = None

    def __call__(self, requests: Sequence[Request]) -> list[Judgement]:
        self.gate.wait()
        time.sleep(self.seconds)
        self.batches.append(list(requests))
        if any(self.fails_at in request.context for request in requests):
            raise RuntimeError("secret words")
        return [
            Judgement(r.claims, np.array([margin_of(r.context, claim) for claim in r.claims]))
            for r in requests
        ]


def no_writing(order: Any) -> Any:
    raise AssertionError("nothing is to be written")


@pytest.fixture
def engine() -> Iterator[Callable[..., Engine]]:
    """`engine(judge, **limits)` -> a started engine that is closed after the test."""
    made: list[tuple[Engine, Any]] = []

    def make(judge: Any, begin: Any = no_writing, **limits: Any) -> Engine:
        found = Engine(judge, words, begin, Limits(**limits))
        found.start()
        made.append((found, judge))
        return found

    yield make
    for one, judge in made:
        if isinstance(judge, OracleJudge):
            judge.gate.set()
        one.close()


@pytest.fixture
def settings() -> Callable[..., Settings]:
    """`settings(key=..., max_queue=...)` -> settings of a server, limits among them."""

    def make(**changes: Any) -> Settings:
        limits = {name: changes.pop(name) for name in list(changes) if name in Limits.model_fields}
        base = Settings(names=("tiny",), limits=Limits(**limits))
        return replace(base, **changes)

    return make


@pytest.fixture
def service(engine: Any, settings: Any) -> Callable[..., Service]:
    """`service(begin, key=..., max_queue=...)` -> a service over an engine of its own."""

    def make(begin: Any = no_writing, **changes: Any) -> Service:
        return Service(engine(OracleJudge(), begin), settings(**changes))

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
def live(engine: Engine, settings: Settings) -> Iterator[Live]:
    """A server in a thread, for as long as the block."""
    from freelm.serve.app import make_app
    from freelm.serve.lifecycle import bind, make_server

    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = make_server(make_app(engine, settings), settings.limits)
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
