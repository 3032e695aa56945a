"""The event loop is never held for long, whatever comes in: so `/health` can answer."""

import asyncio
import gzip
import json
import time

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.serve.app import make_app
from tiny_serve import OracleJudge, client

pytestmark = pytest.mark.anyio

LONGEST_TURN = 0.1
NAMES = [f"k{i}" for i in range(2_000)]
WISHES = {"truncate": True, "propositions": True}


def decision(**change):
    say = {"type": "predicate", "instructions": "It rains."}
    return "/v1/decisions", {"model": "tiny", "input": "x", "questions": [say], **change}


def choice(names):
    options = [{"value": name, "description": f"It is {name}."} for name in names]
    return {"type": "choice", "instructions": "Which?", "choices": options}


NOUL = {"type": "noul", "instructions": "It rains."}
BODIES = {
    "a long text": (200, decision(input="word " * 200_000, freelm=WISHES)),
    "all values that may be": (
        200,
        ("/v1/systemone", {"model": "tiny", "state": [1] * 19_900, "questions": {"x": NOUL}}),
    ),
    "all claims that may be": (
        200,
        decision(
            questions=[choice(NAMES[i : i + 250]) for i in range(0, 2_000, 250)], freelm=WISHES
        ),
    ),
    "all documents that may be": (
        200,
        ("/rerank", {"query": "q", "documents": ["word " * 20] * 1_000, "freelm": WISHES}),
    ),
    "numbers for messages": (400, decision(input=[1] * 19_900)),
    "numbers for questions": (
        400,
        ("/v1/systemone", {"model": "tiny", "state": "x", "questions": dict.fromkeys(NAMES, 1)}),
    ),
    "unknown keys": (400, decision(**dict.fromkeys(NAMES, 1))),
    "too many values": (400, decision(input=[1] * 300_000)),
    "deep": (400, b"[" * 1_000_000),
    "many keys twice": (400, b"[" + b'{"a":1,"a":1},' * 70_000 + b"1]"),
    "many surrogates": (400, b'["' + b"\\ud800" * 150_000 + b'"]'),
    "instructions for each option": (
        400,
        decision(questions=[{**choice(NAMES[:250]), "instructions": "x" * 10**6}]),
    ),
    "a bomb": (413, gzip.compress(bytes(10**7))),
}


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def longest_turn(working):
    """Seconds of the processor that the loop's longest turn took while a task was at work.

    Not those of the clock: what other processes take from this one says nothing about the server.
    """
    longest = 0.0
    while not working.done():
        before = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - before)
    return longest


@pytest.mark.parametrize("name", BODIES)
async def test_no_body_holds_the_loop(engine, settings, name):
    expected, asked = BODIES[name]
    path, body = asked if isinstance(asked, tuple) else ("/v1/decisions", asked)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert len(content) <= 2**20
    headers = {"content-type": "application/json"}
    if content.startswith(b"\x1f\x8b"):
        headers["content-encoding"] = "gzip"
    limits = {"max_request_tokens": 10**6}  # here a word is a token, and nothing is cut
    app = make_app(engine(OracleJudge(), **limits), settings(**limits))
    async with client(app) as http:
        assert (await http.get("/health")).status_code == 200
        working = asyncio.create_task(http.post(path, content=content, headers=headers))
        seconds = await longest_turn(working)
    assert working.result().status_code == expected, working.result().text[:200]
    assert seconds < LONGEST_TURN
