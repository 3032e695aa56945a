"""The application as a whole, without a socket."""

import json
import logging
import re

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.serve.app import make_app
from tiny_serve import KEY, OracleBackend, client

pytestmark = pytest.mark.anyio

DECISION = {
    "model": "tiny",
    "input": "a text",
    "questions": [{"type": "predicate", "instructions": "It rains."}],
}
SYSTEM_ONE = {
    "model": "tiny",
    "state": "a text",
    "questions": {"rain": {"type": "noul", "instructions": "It rains."}},
}
BODIES = {
    "/v1/decisions": DECISION,
    "/v1/systemone": SYSTEM_ONE,
    "/rerank": {"query": "q", "documents": ["d", "e"]},
    "/v1/rerank": {"query": "q", "documents": ["d", "e"]},
    "/v2/rerank": {"query": "q", "documents": ["d", "e"]},
    "/score": {"text_1": "q", "text_2": ["d", "e"]},
    "/v1/score": {"text_1": "q", "text_2": ["d", "e"]},
    "/classify": {"input": "a", "labels": ["x", "y"]},
    "/v1/classify": {"input": "a", "labels": ["x", "y"]},
}
PAGES = ["/", "/docs", "/openapi.json", "/metrics", "/v1/models", "/health", "/ready"]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def app(engine, settings):
    # The fixture has started the engine, as the server would.
    def make(**changes):
        return make_app(engine(OracleBackend()), settings(**changes))

    return make


@pytest.mark.parametrize(("path", "body"), BODIES.items())
async def test_every_route_judges(app, path, body):
    async with client(app()) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["model"] == "tiny"
    assert answer.json()["freelm"]["truncated"] is False


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_there(app, path):
    async with client(app()) as http:
        answer = await http.get(path)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", [*BODIES, "/v1/completions", *PAGES, "/nowhere"])
async def test_every_route_but_health_needs_the_key(app, path):
    async with client(app(key=KEY)) as http:
        for method in ("GET", "POST", "OPTIONS"):
            status = (await http.request(method, path, json={})).status_code
            assert status != 401 if path == "/health" else status == 401


async def test_models_are_listed_for_both_sdks(app):
    day = 86_400
    async with client(app(names=("tiny", "other"), created=365 * day, dtype="bf16")) as http:
        listed = (await http.get("/v1/models")).json()
        one = await http.get("/v1/models/other")
        none = await http.get("/v1/models/../../etc/passwd")
    assert [item["id"] for item in listed["data"]] == ["tiny", "other"]
    assert [item["name"] for item in listed["models"]] == ["tiny", "other"]
    assert {item["created"] for item in listed["data"]} == {365 * day}
    assert {item["release_date"] for item in listed["models"]} == {"1971-01-01"}
    assert {item["dtype"] for item in listed["data"]} == {"bf16"}
    assert one.json()["id"] == "other"
    assert none.status_code == 404


async def test_ready_is_said_of_the_engine(app, engine, settings):
    stopped = engine(OracleBackend())
    stopped.close()
    async with client(make_app(stopped, settings())) as http:
        answer = await http.get("/ready")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert (await http.get("/health")).status_code == 200


async def test_monitors_are_answered_however_many_clients_there_are(engine, settings):
    import asyncio

    judge = OracleBackend()
    judge.gate.clear()
    one = engine(judge)
    app = make_app(one, settings(max_clients=1, key=KEY))
    key = {"authorization": f"Bearer {KEY}"}
    async with client(app) as http:
        first = asyncio.create_task(http.post("/v1/decisions", json=DECISION, headers=key))
        while not one.waiting:
            await asyncio.sleep(0.001)
        assert (await http.get("/v1/models", headers=key)).status_code == 503
        for path in ("/health", "/ready", "/metrics"):
            assert (await http.get(path, headers=key)).status_code == 200
            assert (await http.get(path)).status_code == (200 if path == "/health" else 401)
        judge.gate.set()
        assert (await first).status_code == 200


async def test_what_was_judged_is_said_as_the_model_reads_it(app):
    async with client(app()) as http:
        answer = await http.post(
            "/v1/decisions", json={**DECISION, "freelm": {"propositions": True}}
        )
    [text] = answer.json()["freelm"]["propositions"]
    assert (text["context"], text["read"]) == (["a text"], "a text")
    assert [(c["claim"], c["written"]) for c in text["claims"]] == [("It rains.", "It rains.")]


async def test_labels_of_the_server_stand_in_for_those_of_a_request(app):
    texts = {"input": ["a", "b"]}
    async with client(app(labels=("sun", "rain"))) as http:
        default = await http.post("/classify", json=texts)
        named = await http.post("/classify", json={**texts, "labels": ["sun", "rain"]})
        other = await http.post("/classify", json={**texts, "labels": ["x", "y", "z"]})
    assert default.json()["data"] == named.json()["data"]
    assert other.json()["data"][0]["num_classes"] == 3
    async with client(app()) as http:
        error = (await http.post("/classify", json=texts)).json()["error"]
    assert (error["param"], "--labels" in error["message"]) == ("labels", True)


async def test_counts_tell_of_routes_and_the_engine(app):
    async with client(app()) as http:
        await http.post("/v1/decisions", json=DECISION)
        await http.get("/made/up")
        text = (await http.get("/metrics")).text
    assert 'freelm_requests_total{route="/v1/decisions",status="200"} 1.0' in text
    assert 'freelm_requests_total{route="other",status="404"} 1.0' in text
    assert "freelm_claims_total 1.0" in text
    assert 'freelm_batch_texts_bucket{le="1.0"} 1.0' in text
    assert 'freelm_batch_texts_bucket{le="+Inf"} 1.0' in text
    assert "freelm_batch_texts_sum 1.0" in text
    assert float(re.search(r"^process_resident_memory_bytes (\S+)", text, re.M)[1]) > 10**6
    assert "made" not in text


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "param"),
    [
        ("GET", "/nowhere", None, 404, "not_found", None),
        ("POST", "/v1/decisions/", DECISION, 404, "not_found", None),
        ("GET", "/static/../../etc/passwd", None, 404, "not_found", None),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", None, 404, "not_found", None),
        ("GET", "/v1/decisions", None, 405, "bad_method", None),
        ("DELETE", "/", None, 405, "bad_method", None),
        ("BREW", "/v1/decisions", None, 405, "bad_method", None),
        ("POST", "/v1/decisions", {}, 400, "missing_field", "model"),
        ("POST", "/v1/decisions", [], 400, "invalid_type", None),
        ("POST", "/v1/decisions", {**DECISION, "inputs": 1}, 400, "unknown_key", "inputs"),
        ("POST", "/v1/decisions", {**DECISION, "model": "/etc"}, 404, "model_not_found", "model"),
    ],
)
async def test_errors_have_one_form(app, method, path, body, status, code, param):
    async with client(app()) as http:
        answer = await http.request(method, path, json=body)
        honest = await http.post("/v1/decisions", json=DECISION)
    error = answer.json()["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert honest.status_code == 200


@pytest.mark.parametrize("key", [None, KEY])
async def test_the_description_says_how_to_send_the_key(app, key):
    headers = {} if key is None else {"x-api-key": key}
    async with client(app(key=key)) as http:
        described = (await http.get("/openapi.json", headers=headers)).json()
    schemes = described["components"].get("securitySchemes", {})
    assert set(schemes) == {name for wish in described.get("security", []) for name in wish}
    assert bool(schemes) == (key is not None)
    assert described["paths"]["/health"]["get"].get("security") == (None if key is None else [])


LONG = "word " * 9


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/decisions", {**DECISION, "input": LONG}, "input"),
        ("/v1/systemone", {**SYSTEM_ONE, "state": LONG}, "state"),
        ("/rerank", {"query": "q", "documents": ["d", LONG]}, "documents.1"),
        ("/rerank", {"query": "q", "documents": LONG}, "documents"),
        ("/score", {"queries": ["q", "r", "s"], "items": ["d", "e", LONG]}, "items.2"),
        ("/classify", {"input": [LONG, "a"], "labels": ["x", "y"]}, "input.0"),
    ],
)
async def test_a_text_that_is_too_long_is_named_by_its_place(engine, settings, path, body, param):
    app = make_app(engine(OracleBackend(max_context_tokens=8)), settings())
    async with client(app) as http:
        answer = await http.post(path, json=body)
        cut = await http.post(path, json={**body, "freelm": {"truncate": True}})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "context_too_long", param)
    assert (cut.status_code, cut.json()["freelm"]["truncated"]) == (200, True)


async def test_a_full_queue_has_a_time_to_come_back(engine, settings):
    import asyncio

    judge = OracleBackend()
    judge.gate.clear()
    one = engine(judge, max_queue=1)
    async with client(make_app(one, settings())) as http:
        first = asyncio.create_task(http.post("/v1/decisions", json=DECISION))
        while not one.waiting:
            await asyncio.sleep(0.001)
        refused = await http.post("/v1/decisions", json=DECISION)
        health = await http.get("/health")
        judge.gate.set()
        answered = await first
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1
    assert (health.status_code, answered.status_code) == (200, 200)


async def test_a_failure_says_nothing(engine, settings, caplog):
    caplog.set_level(logging.INFO, "freelm.serve")
    judge = OracleBackend()
    judge.fails_at = "a text"
    async with client(make_app(engine(judge), settings())) as http:
        answer = await http.post("/v1/decisions", json=DECISION)
    assert answer.status_code == 500
    for text in (answer.text, caplog.text):
        assert "Traceback" not in text
        assert "secret words" not in text


async def test_no_line_holds_a_clients_words(app, caplog):
    caplog.set_level(logging.INFO, "freelm.serve")
    secret = "rosebud"
    body = json.loads(json.dumps(DECISION).replace("a text", secret).replace("It rains", secret))
    async with client(app()) as http:
        assert (await http.post("/v1/decisions", json=body)).status_code == 200
        await http.post("/v1/decisions", json={**body, secret: secret})
        await http.get(f"/{secret}?{secret}={secret}", headers={"user-agent": secret})
    assert "POST /v1/decisions 200" in caplog.text
    assert secret not in caplog.text


async def test_no_page_of_another_site_may_read(app):
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    async with client(app()) as http:
        answers = [
            await http.options("/v1/decisions", headers=headers),
            await http.post("/v1/decisions", json=DECISION, headers=headers),
        ]
    for answer in answers:
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_loads_nothing_from_elsewhere(app, path):
    async with client(app()) as http:
        html = (await http.get(path)).text
    for word in (
        "http://",
        "https://",
        "src=",
        "@import",
        ":url(",
        " url(",
        "innerHTML",
        "eval(",
        " style=",
        " onclick=",
        " onload=",
    ):
        assert word not in html
