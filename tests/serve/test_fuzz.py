"""Requests made up from the OpenAPI schema: none may be answered 5xx, all as the schema says."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

pytest.importorskip("fastapi", reason="needs the extra `serve`")
schemathesis = pytest.importorskip("schemathesis", reason="needs the extra `dev`")

from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from freelm.generate import TextPiece  # noqa: E402
from freelm.serve.batching import Engine  # noqa: E402
from freelm.serve.http.limits import Limits  # noqa: E402
from freelm.serve.settings import Settings  # noqa: E402
from tiny_serve import OracleBackend, live  # noqa: E402

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]


class OneWord:
    """Writes one word."""

    num_prompt_tokens = (1,)

    def __init__(self, request):
        self.request = request

    def step(self):
        return [(0, TextPiece(" word", "length", 1, 1))]


@pytest.fixture(scope="module")
def server():
    limits = Limits()
    engine = Engine(OracleBackend(OneWord), limits)
    with live(engine, Settings(names=("tiny",), limits=limits)) as found:
        yield found


ROUTES = [
    "/v1/decisions",
    "/v1/systemone",
    "/rerank",
    "/score",
    "/classify",
    "/v1/completions",
]
CASES = [
    *((route, mode) for route in ROUTES for mode in GenerationMode),
    # Every word is a name, so nothing can be wrong with one but that it is unknown.
    ("/v1/models/{name}", GenerationMode.POSITIVE),
]
CALM = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def api(server):
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def ask(api, server, route, mode, number):
    """Ask a route made-up requests and check every answer."""
    operation = api[route]["GET" if "{" in route else "POST"]

    @hypothesis_settings(max_examples=number, deadline=None, suppress_health_check=CALM)
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        if isinstance(case.body, dict) and "model" in case.body:
            # Made-up names would all end as an unknown model.
            case.body["model"] = server.name
        case.call_and_validate(base_url=server.url, checks=CHECKS)

    check()


@pytest.mark.parametrize(("route", "mode"), CASES)
def test_some_requests(api, server, route, mode):
    ask(api, server, route, mode, 15)


def test_a_stream_is_as_the_schema_says(api, server):
    body = {"model": server.name, "prompt": "Once", "stream": True}
    answer = api["/v1/completions"]["POST"].Case(body=body, media_type="application/json")
    response = answer.call_and_validate(base_url=server.url, checks=CHECKS)
    assert response.headers["content-type"][0].startswith("text/event-stream")
    assert b"data: [DONE]" in response.content


@pytest.mark.slow
@pytest.mark.parametrize(("route", "mode"), CASES)
def test_thousands_of_requests(api, server, route, mode):
    ask(api, server, route, mode, 500)
