import httpx2
import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
pytest.importorskip("opentelemetry.instrumentation.asgi", reason="needs the extra `otel`")

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from freelm.errors import FreeLMError
from freelm.serve import tracing
from freelm.serve.batching import Engine
from freelm.serve.http.limits import Limits
from freelm.serve.settings import Settings
from tiny_serve import OracleBackend, live


def test_each_request_is_a_span_without_its_body(monkeypatch):
    exporter = InMemorySpanExporter()
    engine = Engine(OracleBackend(), Limits())
    settings = Settings(names=("tiny",))
    with live(engine, settings, lambda app: tracing.traced(app, exporter)) as server:
        body = {"query": "secret", "documents": ["secret"]}
        httpx2.post(f"{server.url}/rerank", json=body).raise_for_status()
        assert httpx2.get(f"{server.url}/nowhere").status_code == 404
    # The server has stopped, and sent all of them.
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) >= {"POST /rerank", "GET /nowhere"}
    assert spans["POST /rerank"].attributes["http.status_code"] == 200
    assert all("secret" not in span.to_json() for span in spans.values())


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(FreeLMError, match=r"pip install 'freelm\[otel\]'"):
        tracing.traced(None)
