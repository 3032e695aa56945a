import json
import logging

import httpx2
import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.serve.batching import Engine
from freelm.serve.http.keys import KeyFile
from freelm.serve.http.limits import Limits
from freelm.serve.logs import JsonFormatter
from freelm.serve.settings import Settings
from tiny_serve import OracleBackend, live


@pytest.fixture
def lines():
    """The lines of the server's log, in JSON."""
    found = []

    class Collect(logging.Handler):
        def emit(self, record):
            found.append(json.loads(self.format(record)))

    handler, log = Collect(), logging.getLogger("freelm.serve")
    handler.setFormatter(JsonFormatter())
    log.addHandler(handler)
    before = log.level
    log.setLevel(logging.INFO)
    yield found
    log.removeHandler(handler)
    log.setLevel(before)


def test_a_request_is_one_line_without_the_users_words(lines, tmp_path):
    key = "key-of-anna-0123456789"
    path = tmp_path / "keys.yaml"
    path.write_text(f"- {{name: anna, key: {key}}}")
    engine = Engine(OracleBackend(), Limits())
    with live(engine, Settings(names=("tiny",), keys=KeyFile(path))) as server:
        body = {"query": "secret", "documents": ["secret"]}
        url = f"{server.url}/rerank?word=secret"
        answer = httpx2.post(url, json=body, headers={"x-api-key": key})
        httpx2.get(f"{server.url}/secret", headers={"x-api-key": key})
    first, second = [line for line in lines if "route" in line]
    assert (first["method"], first["route"], first["status"]) == ("POST", "/rerank", 200)
    assert first["request_id"] == answer.headers["x-request-id"]
    assert (first["key"], first["level"]) == ("anna", "info")
    assert first["milliseconds"] >= 0
    assert (second["route"], second["status"]) == ("other", 404)
    assert "secret" not in json.dumps(lines)
    assert key not in json.dumps(lines)


def test_other_lines_have_a_message(lines):
    logging.getLogger("freelm.serve").info("two\nlines, and %d", 1)
    assert lines[-1]["message"] == "two\nlines, and 1"


def test_of_an_exception_only_the_type_is_written(lines):
    try:
        raise ValueError("secret words")
    except ValueError:
        logging.getLogger("freelm.serve").exception("it failed")
    assert (lines[-1]["message"], lines[-1]["exception"]) == ("it failed", "ValueError")
    assert "secret" not in json.dumps(lines)
