"""Hostile bytes on a real socket: each gets its status, and the next honest request its answer."""

import json
import socket
import time
from contextlib import ExitStack, contextmanager, suppress

import httpx2
import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.serve.batching import Engine
from freelm.serve.http.limits import Limits
from freelm.serve.settings import Settings
from tiny_serve import OracleBackend, live, packed

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
        write_seconds=SLOW,
    )
    engine = Engine(OracleBackend(), limits)
    with live(engine, Settings(names=("tiny",), limits=limits)) as found:
        yield found


@pytest.fixture(autouse=True)
def honest_requests_go_on(server):
    yield
    answer = httpx2.post(f"{server.url}/v1/decisions", json=HONEST, timeout=20)
    assert answer.status_code == 200


def status(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    found = int(head.split()[1])
    if body and found != 200:
        assert sorted(json.loads(body)["error"]) == ["code", "message", "param", "type"]
    return found


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
        (b'{"model": Infinity}', 400),
        (b'{"model": -Infinity}', 400),
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
    # It is answered, and not with the 408 of a body that never arrives.
    assert status(server.raw(post(b"", length=10**12))) == 413


@pytest.mark.parametrize(
    ("body", "coding", "expected"),
    [
        (packed(json.dumps(HONEST).encode()), "gzip", 200),
        (packed(b'"' + bytes(10**7) + b'"'), "gzip", 413),
        (packed(packed(bytes(10**7))), "gzip, gzip", 415),
        (b"\x1f\x8b" * 100, "gzip", 400),
        (json.dumps(HONEST).encode(), "br", 415),
    ],
)
def test_compressed_bodies(server, body, coding, expected):
    assert len(body) < 200_000
    assert status(server.raw(post(body, f"Content-Encoding: {coding}"))) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application/json; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/xml", 415),
        ("", 415),
    ],
)
def test_types_of_content(server, kind, expected):
    whole = post(json.dumps(HONEST).encode())
    whole = whole.replace(b"Content-Type: application/json", f"Content-Type: {kind}".encode())
    assert status(server.raw(whole)) == expected


SPECIAL = "[sep] [cls] <|true|> <|false|> <|endoftext|> <|im_start|>"
BRACES = "{} {0} {x.__class__} {{y}} %s ${z}"


@pytest.mark.parametrize("words", [SPECIAL, BRACES])
def test_words_that_look_like_code_are_words(server, words):
    question = {"type": "predicate", "instructions": words}
    body = {**HONEST, "input": words, "questions": [question], "freelm": {"propositions": True}}
    answer = httpx2.post(f"{server.url}/v1/decisions", json=body, timeout=20)
    assert answer.status_code == 200
    [text] = answer.json()["freelm"]["propositions"]
    assert (text["context"], text["claims"][0]["claim"]) == ([words], words)
    body = {"input": words, "labels": [words, "other"]}
    answer = httpx2.post(f"{server.url}/classify", json=body, timeout=20)
    assert answer.status_code == 200
    assert {words, "other"} >= {answer.json()["data"][0]["label"]}


@pytest.mark.parametrize("template", ["no field", BRACES, "{0}", "{x.__class__}", "{} {}", ""])
def test_a_template_has_one_place_and_no_code(server, template):
    body = {"input": "a", "labels": ["x", "y"], "template": template}
    answer = httpx2.post(f"{server.url}/classify", json=body, timeout=20)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "template"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"tiny","questions":[],"input":[' + b"1," * 18_000 + b"1]}",
        b"{" + b",".join(b'"k%d":1' % i for i in range(18_000)) + b"}",
    ],
)
def test_a_body_of_faults_does_not_hold_the_server_up(server, body):
    answer = server.raw(post(body))
    assert status(answer) == 400
    assert len(answer) < 2_000


def test_what_is_refused_before_a_request_is_counted(server):
    before = server.rejected(431)
    assert status(server.raw(b"GET /" + b"y" * 20_000)) == 431
    assert server.rejected(431) == before + 1


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
        (b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: [::1]evil\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80:80\r\nConnection: close\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: evil@127.0.0.1\r\nConnection: close\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\nHost: 127.0.0.1\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\nX: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y\r\n z\r\n\r\n", 400),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 404),
        (b"GET /..%2f..%2fetc HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 404),
    ],
)
def test_heads(server, given, expected):
    assert status(server.raw(given)) == expected


def test_a_body_with_two_lengths_closes_the_connection(server):
    """What follows might be a second request to one reader, and a body to another."""
    smuggled = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    answer = server.raw(
        b"POST /v1/decisions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled
    )
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


def test_a_body_may_contain_bare_line_feeds(server):
    body = json.dumps(HONEST, indent=1).encode()
    assert b"\n " in body
    assert status(server.raw(post(body))) == 200


def final_status(answer):
    """Status of the final response, after any interim ones."""
    while answer.startswith(b"HTTP/1.1 100 "):
        answer = answer.partition(b"\r\n\r\n")[2]
    return status(answer)


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_a_half_closed_client_gets_its_answer(server, version):
    # Without `Connection: close`: the server has to notice that no other request can come.
    request = post(json.dumps(HONEST).encode()).replace(b"Connection: close\r\n", b"")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(request.replace(b"HTTP/1.1", version))
        sock.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert final_status(answer) == 200


def test_a_half_closed_client_gets_all_its_answers(server):
    one = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(one * 3)
        sock.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200 ") == 3


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/health", "/ready", "/v1/models", "/v1/models/tiny", "/openapi.json"]
)
def test_a_head_is_the_answer_without_its_body(server, path):
    asked = f" {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    head, _, body = server.raw(b"HEAD" + asked).partition(b"\r\n\r\n")
    whole, _, _ = server.raw(b"GET" + asked).partition(b"\r\n\r\n")

    def facts(lines):
        changing = (b"date", b"x-request-id", b"x-typesafe-request-id")
        return [line for line in lines.split(b"\r\n") if not line.lower().startswith(changing)]

    assert (facts(head), body) == (facts(whole), b"")


def test_slow_headers_end(server):
    assert status(server.raw(b"GET / HT", b"TP/1.1\r\nHost", wait=0.1)) == 408


def test_a_header_a_moment_does_not_keep_a_connection(server):
    # They would take 3 seconds, six times as long as they may.
    drops = [b"GET / HTTP/1.1\r\n", *(f"X-{i}: y\r\n".encode() for i in range(60))]
    answer = server.raw(*drops, b"Connection: close\r\n\r\n", wait=0.05)
    assert not answer or status(answer) == 408


def test_a_silent_connection_ends(server):
    assert status(server.raw(b"")) == 408


def test_a_slow_body_ends(server):
    whole = post(json.dumps(HONEST).encode())
    assert status(server.raw(whole[:-10])) == 408


@contextmanager
def held_connections(server, number):
    """Open connections that send nothing."""
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        yield


@pytest.mark.parametrize("number", [30, 60])
def test_connections_beyond_the_limit_are_for_health_alone(server, number):
    def ask(path):
        return server.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())

    # All 20 connections and a part or all of the reserve are held; idle ones of these give way.
    with held_connections(server, number):
        assert status(ask("/health")) == 200
        assert b"too_many_connections" in ask("/v1/models")
        assert status(ask("/health")) == 200
    eventually(lambda: server.get("/v1/models") == 200)


def eventually(condition):
    for _ in range(1_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def test_a_client_that_does_not_read_loses_its_connection(server):
    """Without a write timeout it would hold the connection forever."""
    many = {"type": "choice", "instructions": "Which?", "choices": [
        {"value": f"{i} " + "x" * 500} for i in range(150)
    ]}  # fmt: skip
    body = {**HONEST, "questions": [many], "freelm": {"propositions": True}}
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        sock.settimeout(2)
        sock.connect(("127.0.0.1", server.port))
        before = server.rejected(499)
        # Answers of 200 kB each, which fill every buffer on the way.
        request = post(json.dumps(body).encode()).replace(b"Connection: close\r\n", b"")
        with suppress(OSError):
            sock.sendall(request * 60)
        eventually(lambda: server.rejected(499) > before)
        with suppress(ConnectionResetError):
            while sock.recv(2**20):
                pass


def test_a_client_that_leaves_leaves_no_work(server):
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(post(json.dumps(HONEST).encode()))


def test_two_requests_in_one_packet_are_both_answered(server):
    one = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    assert server.raw(one + last).count(b"200 OK") == 2
