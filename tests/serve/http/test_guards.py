import asyncio
import json
import logging

import pytest

from freelm.serve.http.body import read_body
from freelm.serve.http.errors import ApiError
from freelm.serve.http.guards import BodyGuard, ConcurrencyGuard, RequestLog
from freelm.serve.http.limits import Limits
from tiny_serve import client, packed, say

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
GZIP = {**JSON, "content-encoding": "gzip"}


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def echo(scope, receive, send):
    """Answer with the JSON of the body, if there is one."""
    body = (await receive())["body"]
    value = read_body(scope, body, Limits(max_body_bytes=150_000)) if body else None
    await say(send, 200, json.dumps(value).encode())


def ledger(app, record=lambda *_: None, routes=("/echo",)):
    return RequestLog(app, frozenset(routes), record)


def body_guard(app=echo, **limits):
    return ledger(BodyGuard(app, Limits(**limits)))


# -- bodies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"a": 1}', {}, 415, "not_json"),
        (b'{"a": 1}', {"content-type": "text/plain"}, 415, "not_json"),
        (b"a=1", {"content-type": "application/x-www-form-urlencoded"}, 415, "not_json"),
        (b"x", {**JSON, "content-encoding": "br"}, 415, "unsupported_encoding"),
        (
            packed(b"{}"),
            {**JSON, "content-encoding": "gzip, gzip"},
            415,
            "unsupported_encoding",
        ),
        (b"\x1f\x8b\x08", GZIP, 400, "bad_encoding"),
        (b"{}", GZIP, 400, "bad_encoding"),
        (packed(b"{"), GZIP, 400, "invalid_json"),
        (packed(b'"' + bytes(10**7) + b'"'), GZIP, 413, "body_too_large"),
        (b"{", JSON, 400, "invalid_json"),
        (b"[" * 100_000, JSON, 400, "limit_exceeded"),
        (b'"' + b"x" * 200_000 + b'"', JSON, 413, "body_too_large"),
    ],
)
async def test_a_hostile_body_is_refused_and_the_next_one_read(body, headers, status, code):
    async with client(body_guard(max_body_bytes=150_000)) as http:
        answer = await http.post("/echo", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        honest = await http.post("/echo", content=b'{"b": "\xc3\xa9"}', headers=JSON)
        assert (honest.status_code, honest.json()) == (200, {"b": "é"})


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (b'{"b": 1}', "identity"),
        (packed(b'{"b": 1}'), "gzip"),
        (packed(b'{"b": 1}'), "GZip, identity"),
    ],
)
async def test_a_compressed_body_is_unpacked(body, coding):
    async with client(body_guard()) as http:
        answer = await http.post(
            "/echo", content=body, headers={**JSON, "content-encoding": coding}
        )
    assert (answer.status_code, answer.json()) == (200, {"b": 1})


async def test_a_coding_that_is_not_known_is_answered_with_those_that_are():
    async with client(body_guard()) as http:
        answer = await http.post("/echo", content=b"x", headers={**JSON, "content-encoding": "br"})
    assert "gzip" in answer.headers["accept-encoding"]
    assert "gzip" in answer.json()["error"]["message"]


async def test_a_body_without_a_length_is_counted_as_it_comes():
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 1000

    async with client(body_guard(max_body_bytes=10_000)) as http:
        answer = await http.post("/echo", content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert sent <= 12


async def test_a_slow_body_ends_with_408_and_the_connection():
    async def slow():
        yield b"{"
        await asyncio.sleep(60)

    async with client(body_guard(body_seconds=0.05)) as http:
        answer = await http.post("/echo", content=slow(), headers=JSON)
        assert (answer.status_code, answer.json()["error"]["code"]) == (408, "body_timeout")
        assert answer.headers["connection"] == "close"
        assert (await http.post("/echo", content=b"{}", headers=JSON)).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/echo", {"x": "y" * 900}), ("/" + "y" * 900, {}), ("/?" + "y" * 900, {})],
)
async def test_a_large_head_is_refused(path, headers):
    async with client(body_guard(max_header_bytes=800)) as http:
        answer = await http.get(path, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (431, "headers_too_large")
        assert (await http.get("/echo")).status_code == 200


@pytest.mark.parametrize(
    ("headers", "version", "status", "code"),
    [
        ([(b"content-length", b"2"), (b"transfer-encoding", b"chunked")], "1.1", 400, "bad_length"),
        ([(b"content-length", b"2"), (b"content-length", b"2")], "1.1", 400, "bad_length"),
        ([], "9.9", 505, "bad_http_version"),
        ([], "1.0", 200, None),
    ],
)
async def test_a_head_that_proxies_may_read_otherwise_is_refused(headers, version, status, code):
    receive, send, _, sent = visitor(BODY)
    scope = {**SCOPE, "headers": [*SCOPE["headers"], *headers], "http_version": version}
    await body_guard()(scope, receive, send)
    assert sent[0]["status"] == status
    if code:
        assert json.loads(sent[1]["body"])["error"]["code"] == code
        assert dict(sent[0]["headers"])[b"connection"] == b"close"


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
async def test_json_is_known_by_its_type(kind):
    async with client(body_guard()) as http:
        answer = await http.post("/echo", content=b"[1]", headers={"content-type": kind})
    assert answer.status_code == 200


# -- clients that leave ----------------------------------------------------------------------------


def visitor(*messages):
    """Channels of a client that sends messages and then leaves when told to."""
    pending = list(messages)
    leave = asyncio.Event()
    sent = []

    async def receive():
        if pending:
            return pending.pop(0)
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    return receive, send, leave, sent


SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/echo",
    "query_string": b"",
    "headers": [(b"content-type", b"application/json")],
}
BODY = {"type": "http.request", "body": b"{}", "more_body": False}


async def test_work_for_a_client_that_leaves_is_cancelled():
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(scope, receive, send):
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    records = []
    app = ledger(BodyGuard(slow, Limits()), lambda *words: records.append(words))
    receive, send, leave, sent = visitor(BODY)
    task = asyncio.create_task(app(SCOPE, receive, send))
    await began.wait()
    leave.set()
    await asyncio.wait_for(task, 5)
    assert cancelled.is_set()
    assert sent == []
    assert records[0][:2] == ("/echo", 499)


async def test_a_client_that_leaves_in_its_body_gets_nothing():
    app = body_guard()
    receive, send, leave, sent = visitor({**BODY, "body": b"{", "more_body": True})
    leave.set()
    await asyncio.wait_for(app(SCOPE, receive, send), 5)
    assert sent == []


async def test_an_answer_that_was_sent_is_not_cancelled():
    finished = asyncio.Event()

    async def lingering(scope, receive, send):
        await say(send, 200, b"done")
        leave.set()
        await asyncio.sleep(0.01)
        finished.set()

    receive, send, leave, sent = visitor(BODY)
    await asyncio.wait_for(body_guard(lingering)(SCOPE, receive, send), 5)
    assert finished.is_set()
    assert sent[0]["status"] == 200


@pytest.mark.parametrize("started", [False, True])
async def test_what_the_server_has_no_time_to_finish_is_told_so(started):
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(scope, receive, send):
        if started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    records = []
    app = ledger(BodyGuard(slow, Limits()), lambda *words: records.append(words))
    receive, send, _, sent = visitor(BODY)
    task = asyncio.create_task(app(SCOPE, receive, send))
    await began.wait()
    task.cancel()
    await asyncio.wait_for(task, 5)
    assert cancelled.is_set()
    starts = [message["status"] for message in sent if message["type"] == "http.response.start"]
    assert starts == ([200] if started else [503])
    assert records[0][1] == starts[0]
    if not started:
        assert json.loads(sent[-1]["body"])["error"]["code"] == "stopping"
        assert b"retry-after" in dict(sent[0]["headers"])


# -- the crowd -------------------------------------------------------------------------------------


async def test_one_client_with_slow_requests_locks_nobody_out():
    entered, go = [], asyncio.Event()

    async def waiting(scope, receive, send):
        entered.append(scope["client"][0])
        await go.wait()

    def request(address):
        return guard({"type": "http", "path": "/", "client": (address, 1)}, None, None)

    guard = ConcurrencyGuard(waiting, Limits(max_clients=4), frozenset())
    slow = [asyncio.create_task(request("10.0.0.1")) for _ in range(4)]
    await asyncio.sleep(0)
    honest = asyncio.create_task(request("10.0.0.2"))
    await asyncio.sleep(0)
    with pytest.raises(ApiError, match="max_clients"):
        await request("10.0.0.1")
    assert entered == ["10.0.0.1"] * 4 + ["10.0.0.2"]
    go.set()
    await asyncio.gather(*slow, honest)


async def test_requests_beyond_the_crowd_are_told_to_come_back():
    inside, go = asyncio.Event(), asyncio.Event()

    async def waiting(scope, receive, send):
        if scope["path"] == "/slow":
            inside.set()
            await go.wait()
        await say(send, 200, b"")

    app = ledger(ConcurrencyGuard(waiting, Limits(max_clients=1), frozenset({"/health"})))
    async with client(app) as http:
        first = asyncio.create_task(http.get("/slow"))
        await inside.wait()
        refused = await http.get("/echo")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_clients")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await http.get("/health")).status_code == 200
        go.set()
        assert (await first).status_code == 200
        assert (await http.get("/echo")).status_code == 200


# -- the ledger ------------------------------------------------------------------------------------

SECRET = "my-secret-words"


async def failing(scope, receive, send):
    raise RuntimeError(SECRET)


async def test_a_failure_says_nothing_of_its_cause(caplog):
    caplog.set_level(logging.INFO, "freelm.serve")
    async with client(ledger(failing)) as http:
        answer = await http.get("/echo")
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    for text in (answer.text, caplog.text):
        assert SECRET not in text
        assert "Traceback" not in text
        assert "test_guards" not in text or text is caplog.text
    assert answer.headers["x-request-id"] in caplog.text


async def test_the_cause_of_a_failure_is_in_the_log_on_request(caplog):
    caplog.set_level(logging.DEBUG, "freelm.serve")
    async with client(ledger(failing)) as http:
        await http.get("/echo")
    assert SECRET in caplog.text


async def test_lines_and_counts_hold_no_words_of_clients(caplog):
    caplog.set_level(logging.INFO, "freelm.serve")
    records = []
    async with client(ledger(echo, lambda *words: records.append(words))) as http:
        await http.request("GET", f"/{SECRET}?q={SECRET}", headers={"user-agent": SECRET})
        await http.request(SECRET.upper(), "/echo")
    assert SECRET not in caplog.text.lower()
    assert [record[:2] for record in records] == [("other", 200), ("/echo", 200)]


async def test_every_response_has_an_id_of_its_own():
    async with client(ledger(echo)) as http:
        one, other = await http.get("/echo"), await http.get("/echo")
    ids = {answer.headers["x-request-id"] for answer in (one, other)}
    assert len(ids) == 2
    assert one.headers["x-typesafe-request-id"] == one.headers["x-request-id"]


async def test_after_the_start_of_a_response_a_failure_sends_no_second_one():
    async def half(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ApiError(400, "too late", "late")

    receive, send, _, sent = visitor(BODY)
    await ledger(half)(SCOPE, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_problems_may_quote_any_character():
    body = json.loads(ApiError(400, "half a pair: \ud800", "x").body)
    assert body["error"]["message"].startswith("half a pair")
