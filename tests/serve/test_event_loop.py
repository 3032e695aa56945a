"""No work on requests is done on the event loop, whatever comes in, so that `/health` answers."""

import asyncio
import gzip
import json
import threading

import pytest
from pydantic import BaseModel

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.serve import service as service_module
from freelm.serve.app import make_app
from freelm.serve.http import body as body_module
from tiny_serve import OracleBackend, client

pytestmark = pytest.mark.anyio

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


class Threads:
    """Records on which thread some functions run."""

    def __init__(self, monkeypatch):
        self.seen = {}
        self._monkeypatch = monkeypatch

    def watch(self, owner, name):
        function = getattr(owner, name)

        def watched(*args, **options):
            self.seen.setdefault(name, set()).add(threading.current_thread())
            return function(*args, **options)

        self._monkeypatch.setattr(owner, name, watched)


@pytest.mark.parametrize("name", BODIES)
async def test_no_work_on_a_body_is_done_on_the_loop(engine, settings, monkeypatch, name):
    expected, asked = BODIES[name]
    path, body = asked if isinstance(asked, tuple) else ("/v1/decisions", asked)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert len(content) <= 2**20
    headers = {"content-type": "application/json"}
    if content.startswith(b"\x1f\x8b"):
        headers["content-encoding"] = "gzip"
    threads, backend = Threads(monkeypatch), OracleBackend()
    for owner, function in (
        (json, "loads"),
        (body_module, "decompress"),
        (service_module, "read_body"),
        (service_module, "describe_errors"),
        (service_module, "prepare_texts"),
        (service_module, "_judged_text"),
        (backend, "prepare"),
        (backend, "decode"),
        (BaseModel, "model_dump_json"),
        (service_module.Service, "_parse"),
    ):
        threads.watch(owner, function)
    limits = {"max_request_tokens": 10**6}  # here a word is a token, and nothing is cut
    app = make_app(engine(backend, **limits), settings(**limits))
    async with client(app) as http:
        answer = await http.post(path, content=content, headers=headers)
        found = {name: set(seen) for name, seen in threads.seen.items()}
        assert answer.status_code == expected, answer.text[:200]
    assert "read_body" in found
    assert all(threading.current_thread() not in seen for seen in found.values()), found


async def test_a_body_is_parsed_once_and_its_texts_are_tokenized_once(
    engine, settings, monkeypatch
):
    backend, parsed = OracleBackend(), []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda *a, **o: parsed.append(1) or loads(*a, **o))
    app = make_app(engine(backend), settings())
    async with client(app) as http:
        body = {"query": "q", "documents": ["d", "e", "f"], "freelm": WISHES}
        assert (await http.post("/rerank", json=body)).status_code == 200
    assert len(parsed) == 1
    assert [request.context for request in backend.prepared] == [("q", x) for x in "def"]


async def test_the_loop_runs_while_the_engine_computes(engine, settings):
    backend = OracleBackend()
    backend.gate.clear()
    app = make_app(engine(backend), settings())
    async with client(app) as http:
        path, body = decision()
        judging = asyncio.create_task(http.post(path, json=body))
        while not backend.entered:
            await asyncio.sleep(0.001)
        assert (await http.get("/health")).status_code == 200
        assert not judging.done()
        backend.gate.set()
        assert (await judging).status_code == 200
