import logging

import httpx2
import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.errors import ConfigError
from freelm.serve.batching import Engine
from freelm.serve.http.errors import ApiError
from freelm.serve.http.keys import Allowance, KeyFile, digest
from freelm.serve.http.limits import Limits
from freelm.serve.settings import Settings
from tiny_serve import KEY, OracleBackend, live

ANNA, BERT = "key-of-anna-0123456789", "key-of-bert-0123456789"
BODY = {"query": "one two", "documents": ["three", "four"]}


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def key_file(tmp_path):
    """`key_file(text)` writes the file of keys, and returns its path."""
    path = tmp_path / "keys.yaml"

    def write(text):
        path.write_text(text)
        return path

    return write


def entry(name, key, **rates):
    fields = {"name": name, "key": key, **rates}
    return "- {" + ", ".join(f"{field}: {value}" for field, value in fields.items()) + "}\n"


def test_an_allowance_refills_evenly():
    clock = Clock()
    allowance = Allowance(60, clock)
    assert (allowance.take(50), allowance.left) == (0, 10)
    assert allowance.take(15) == pytest.approx(5)
    clock.seconds = 5
    assert allowance.take(15) == 0
    assert allowance.seconds_to_full == pytest.approx(60)
    clock.seconds = 1_000
    assert allowance.left == 60


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a list of entries"),
        ("[]", "must be a list of entries"),
        (f"name: {ANNA}", "must be a list of entries"),
        (f"- {ANNA}", "entry 1 "),
        ("- name: anna", "entry 1: key: Field required"),
        (entry("anna", "short"), "entry 1: key: must be at least 16"),
        (entry("anna", ANNA, requests_per_minute=0), "entry 1: requests_per_minute: "),
        (entry("anna", ANNA) + f"- {{name: bert, {BERT}: 1}}", "entry 2 has an unknown field"),
        (entry("anna", ANNA) + entry("anna", BERT), "two entries have the same name"),
        (entry("anna", ANNA) + entry("bert", ANNA), "two entries have the same key"),
    ],
)
def test_a_wrong_file_is_refused_without_showing_a_key(key_file, text, message):
    path = key_file(text)
    with pytest.raises(ConfigError) as refused:
        KeyFile(path)
    assert str(path) in str(refused.value)
    assert message in str(refused.value)
    assert ANNA not in str(refused.value)
    assert BERT not in str(refused.value)


def test_reloading_adds_and_removes_keys_and_keeps_what_was_used(key_file):
    keys = KeyFile(key_file(entry("anna", ANNA, requests_per_minute=2)), Clock())
    keys.find(digest(ANNA)).use("requests", 2)
    key_file(entry("anna", ANNA, requests_per_minute=2) + entry("bert", BERT))
    keys.reload()
    with pytest.raises(ApiError):
        keys.find(digest(ANNA)).use("requests", 1)
    assert keys.find(digest(BERT)) is not None
    key_file(entry("bert", BERT))
    keys.reload()
    assert keys.find(digest(ANNA)) is None


def test_a_wrong_file_at_reload_keeps_the_old_keys(key_file, caplog):
    keys = KeyFile(key_file(entry("anna", ANNA)), Clock())
    key_file(entry("anna", "short"))
    with caplog.at_level(logging.INFO, "freelm.serve"):
        keys.reload()
    assert keys.find(digest(ANNA)) is not None
    [line] = caplog.messages
    assert line.startswith("the old keys stay: ")


@pytest.fixture
def server(key_file):
    """`server(text)` -> a server with that key file, its keys, and their clock."""
    running = []

    def start(text, **settings):
        clock = Clock()
        keys = KeyFile(key_file(text), clock)
        engine = Engine(OracleBackend(), Limits())
        running.append(live(engine, Settings(names=("tiny",), keys=keys, **settings)))
        return running[-1].__enter__(), clock

    yield start
    for one in running:
        one.__exit__(None, None, None)


def rerank(server, key):
    headers = {"authorization": f"Bearer {key}"}
    return httpx2.post(f"{server.url}/rerank", json=BODY, headers=headers, timeout=20)


def test_only_keys_of_the_file_are_admitted(server):
    one, _ = server(entry("anna", ANNA) + entry("bert", BERT))
    assert [rerank(one, key).status_code for key in (ANNA, BERT, KEY)] == [200, 200, 401]
    assert not any(name.startswith("x-ratelimit") for name in rerank(one, ANNA).headers)


def test_the_single_key_is_admitted_beside_the_file(server):
    one, _ = server(entry("anna", ANNA, requests_per_minute=1), key=KEY)
    assert [rerank(one, key).status_code for key in (ANNA, ANNA, KEY, KEY)] == [200, 429, 200, 200]


def test_requests_a_minute_are_limited_for_each_key_alone(server):
    one, clock = server(
        entry("anna", ANNA, requests_per_minute=2) + entry("bert", BERT, requests_per_minute=2)
    )
    answers = [rerank(one, ANNA) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    remaining = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert remaining == ["1", "0", "0"]
    refused = answers[-1]
    assert refused.headers["x-ratelimit-limit-requests"] == "2"
    assert refused.headers["x-ratelimit-reset-requests"] == "60s"
    assert refused.headers["retry-after"] == "30"
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert rerank(one, BERT).status_code == 200
    clock.seconds = 30
    assert rerank(one, ANNA).status_code == 200


def test_tokens_a_minute_are_limited(server):
    one, clock = server(entry("anna", ANNA, tokens_per_minute=60))
    first = rerank(one, ANNA)
    tokens = 60 - int(first.headers["x-ratelimit-remaining-tokens"])
    assert tokens > 0
    for _ in range(60 // tokens - 1):
        assert rerank(one, ANNA).status_code == 200
    refused = rerank(one, ANNA)
    assert refused.status_code == 429
    # One token comes back every second.
    clock.seconds = int(refused.headers["retry-after"]) - 1
    assert rerank(one, ANNA).status_code == 429
    clock.seconds += 1
    assert rerank(one, ANNA).status_code == 200


def test_a_request_that_no_minute_suffices_for_is_not_to_be_tried_again(server):
    one, _ = server(entry("anna", ANNA, tokens_per_minute=1))
    answer = rerank(one, ANNA)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "limit_exceeded"
    assert "1 tokens a minute" in answer.json()["error"]["message"]


def test_probes_are_not_counted(server):
    one, _ = server(entry("anna", ANNA, requests_per_minute=1))
    headers = {"x-api-key": ANNA}
    for path in ("/ready", "/metrics", "/ready", "/v1/models"):
        assert httpx2.get(f"{one.url}{path}", headers=headers).status_code == 200
    assert httpx2.get(f"{one.url}/v1/models", headers=headers).status_code == 429
