"""Hostile bytes on a real socket: each gets its status, and the next honest request its answer."""

import json
import time

import httpx2
import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.serve.batching import Engine
from freelm.serve.limits import Limits
from freelm.serve.settings import Settings
from tiny_serve import OracleJudge, live, no_writing, words

HONEST = {
    "model": "tiny",
    "input": "a text",
    "questions": [{"type": "predicate", "instructions": "It rains."}],
}
SLOW = 0.5


@pytest.fixture(scope="module")
def server():
    limits = Limits(
        header_seconds=SLOW,
        body_seconds=SLOW,
        max_body_bytes=200_000,
        max_header_bytes=8_000,
        max_connections=20,
    )
    engine = Engine(OracleJudge(), words, no_writing, limits)
    with live(engine, Settings(names=("tiny",), limits=limits)) as found:
        yield found


@pytest.fixture(autouse=True)
def honest_requests_go_on(server):
    yield
    answer = httpx2.post(f"{server.url}/v1/decisions", json=HONEST, timeout=20)
    assert answer.status_code == 200


def status(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    if body:
        assert sorted(json.loads(body)["error"]) == ["code", "message", "param", "type"]
    return int(head.split()[1])


def post(body, *headers, length=None, path="/v1/decisions"):
    size = len(body) if length is None else length
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        "Connection: close",
        f"Content-Length: {size}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", 400),
        (b"\x00", 400),
        (b"not json", 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 30_000, 400),
        (b'{"model": NaN}', 400),
        (b'{"model": 1e400}', 400),
        (b'{"model": ' + b"9" * 50_000 + b"}", 400),
        (b'{"model": "a", "model": "b"}', 400),
        (b'{"model": "\\ud800", "input": "x", "questions": []}', 400),
        (b"\xff\xfe", 400),
        (b'"' + b"x" * 300_000 + b'"', 413),
    ],
)
def test_bodies(server, body, expected):
    assert status(server.raw(post(body))) == expected


def test_a_body_that_is_said_to_be_large_is_not_waited_for(server):
    started = time.monotonic()
    assert status(server.raw(post(b"", length=10**12))) == 413
    assert time.monotonic() - started < 5


def test_a_compressed_body_is_not_unpacked(server):
    assert status(server.raw(post(b"\x1f\x8b" * 100, "Content-Encoding: gzip"))) == 415


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 403),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 20_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
        (b"BREW / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 405),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 404),
        (b"GET /..%2f..%2fetc HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 404),
    ],
)
def test_heads(server, given, expected):
    assert status(server.raw(given)) == expected


def test_slow_headers_end(server):
    started = time.monotonic()
    assert status(server.raw(b"GET / HT", b"TP/1.1\r\nHost", wait=0.1)) == 408
    assert SLOW / 2 < time.monotonic() - started < 10


def test_a_header_a_moment_does_not_keep_a_connection(server):
    drops = [b"GET / HTTP/1.1\r\n", *(f"X-{i}: y\r\n".encode() for i in range(30))]
    started = time.monotonic()
    answer = server.raw(*drops, wait=0.05)
    assert not answer or status(answer) == 408
    assert time.monotonic() - started < 10


def test_a_silent_connection_ends(server):
    assert status(server.raw(b"")) == 408


def test_a_slow_body_ends(server):
    whole = post(json.dumps(HONEST).encode())
    assert status(server.raw(whole[:-10])) == 408


def test_connections_beyond_the_limit_are_told_so(server):
    import socket

    held = []
    try:
        for _ in range(20):
            held.append(socket.create_connection(("127.0.0.1", server.port)))
        time.sleep(0.1)
        assert status(server.raw(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")) == 503
    finally:
        for sock in held:
            sock.close()
        time.sleep(0.1)


def test_a_client_that_leaves_leaves_no_work(server):
    import socket

    for _ in range(10):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(post(json.dumps(HONEST).encode()))


def test_two_requests_in_one_packet_are_both_answered(server):
    one = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    assert server.raw(one + last).count(b"200 OK") == 2
