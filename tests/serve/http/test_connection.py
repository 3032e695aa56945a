"""Clients that send no more, or are gone: the two look alike to the server."""

import json
import socket
import time

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.serve.batching import Engine
from freelm.serve.http import connection
from freelm.serve.http.limits import Limits
from freelm.serve.settings import Settings
from tiny_serve import OracleBackend, live

BODY = json.dumps({"query": "q", "documents": ["d"]}).encode()
REQUEST = (
    b"POST /rerank HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
) + BODY
PROBES = 3


@pytest.fixture
def blocked(monkeypatch):
    """A server whose model does not answer until its gate is opened."""
    monkeypatch.setattr(connection, "PROBE_SECONDS", 0.01)
    backend = OracleBackend()
    backend.gate.clear()
    engine = Engine(backend, Limits())
    with live(engine, Settings(names=("tiny",))) as server:
        yield server, engine, backend
        backend.gate.set()


def wait_until(condition):
    for _ in range(1_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def test_a_half_closed_client_waits_through_interim_responses(blocked):
    server, _, backend = blocked
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(REQUEST)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while answer.count(b"HTTP/1.1 100 ") < PROBES:
            answer += sock.recv(65536)
        backend.gate.set()
        while piece := sock.recv(65536):
            answer += piece
    assert b"HTTP/1.1 200 OK" in answer


def test_the_work_of_a_client_that_closed_is_dropped(blocked):
    server, engine, backend = blocked
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(REQUEST)
        wait_until(lambda: backend.entered)
    wait_until(lambda: engine.stats.dropped == 1 and not engine.waiting)


def test_a_client_that_closed_in_the_middle_of_its_body_is_not_waited_for(blocked):
    server, engine, _ = blocked
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(REQUEST[:-1])
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(65536) == b""
    assert engine.waiting == 0
