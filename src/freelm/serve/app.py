"""The application: routes, and the guards before them.

A request passes, from outside: headers for browsers, ledger, access, crowd, body, route.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from freelm import __version__
from freelm.serve.batching import Engine
from freelm.serve.http.auth import OPEN_PATHS, AccessGuard, BrowserHeaders
from freelm.serve.http.errors import ApiError, App, internal_error
from freelm.serve.http.guards import BodyGuard, ConcurrencyGuard, RequestLog
from freelm.serve.http.validation import describe_errors
from freelm.serve.metrics import Metrics
from freelm.serve.protocols.completions import Completion, CompletionRequest
from freelm.serve.protocols.openai_decisions import Decision, DecisionRequest
from freelm.serve.protocols.systemone import SystemOneRequest, SystemOneResponse
from freelm.serve.protocols.vllm import (
    ClassifyRequest,
    ClassifyResponse,
    RerankRequest,
    RerankResponse,
    ScoreRequest,
    ScoreResponse,
)
from freelm.serve.service import Service
from freelm.serve.settings import Settings

PAGES = {"/": "index.html", "/docs": "docs.html"}
WATCHED = OPEN_PATHS | {"/ready", "/metrics"}
"""What monitors ask; it is answered however crowded the server is."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ErrorWords(BaseModel):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """The body of every response that is not a success."""

    error: ErrorWords


FAILURES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request cannot be answered."},
    "5XX": {"model": ErrorBody, "description": "The server is full, stopping or at fault."},
}

EVENTS: dict[str, Any] = {
    "description": "The whole answer, or with `stream` its pieces: each event's data is a "
    "completion as JSON, the last one's is `[DONE]`.",
    "content": {
        "text/event-stream": {
            # The schema of one event, not of the stream (OpenAPI 3.2, server-sent events).
            "itemSchema": {
                "type": "object",
                "properties": {"data": {"type": "string"}},
                "required": ["data"],
            }
        }
    },
}

KEY_SCHEMES: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "password": {
        "type": "http",
        "scheme": "basic",
        "description": "The key as password, with any name.",
    },
}
"""The ways to send the key, any one of them."""


def make_app(engine: Engine, settings: Settings) -> App:
    """The application of a server.

    Args:
        engine: The engine; it is started and closed with the application.
        settings: Names, key, hosts and limits.

    Returns:
        An ASGI application.
    """
    pages = {path: _page(name) for path, name in PAGES.items()}
    metrics = Metrics(engine)
    routes = _routes(Service(engine, settings), metrics, pages)
    known = frozenset(routes.openapi()["paths"]) | frozenset(pages) | {"/metrics", "/openapi.json"}
    app: App = BodyGuard(routes, settings.limits)
    app = ConcurrencyGuard(app, settings.limits, WATCHED)
    app = AccessGuard(app, settings)
    app = RequestLog(app, known, metrics.record)
    return BrowserHeaders(app, pages)


def _page(name: str) -> str:
    return files("freelm.serve").joinpath("static", name).read_text("utf-8")


def _routes(service: Service, metrics: Metrics, pages: dict[str, str]) -> FastAPI:
    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        service.engine.start()
        yield {"reject": metrics.reject}
        # Not on the loop: those whose time to finish is over are still being told so.
        await asyncio.to_thread(service.engine.close)

    app = FastAPI(
        title="FreeLM",
        description="Decisions about texts, and texts, by one small language model.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=life,
        redirect_slashes=False,
        responses=FAILURES,
    )
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_failure)
    _add_judging(app, service)
    _add_writing(app, service)
    _add_state(app, service)
    _add_pages(app, metrics, pages)
    if service.settings.key is not None:
        _declare_keys(app.openapi())
    return app


def _declare_keys(described: dict[str, Any]) -> None:
    """Say in the description of the interfaces how the key is sent."""
    described["components"]["securitySchemes"] = KEY_SCHEMES
    described["security"] = [{name: []} for name in KEY_SCHEMES]
    for path in OPEN_PATHS:
        described["paths"][path]["get"]["security"] = []


def _add_judging(app: FastAPI, service: Service) -> None:
    @app.post("/v1/decisions", response_model=Decision)
    async def decisions(asked: DecisionRequest) -> Response:
        """Predicates, choices and scores about one input, answered in their order."""
        return _json(await service.decisions(asked))

    @app.post("/v1/systemone", response_model=SystemOneResponse)
    async def system_one(asked: SystemOneRequest) -> Response:
        """Named yes/no questions, choices and scores about one state."""
        return _json(await service.system_one(asked))

    @_at(app, "/rerank", "/v1/rerank", "/v2/rerank", model=RerankResponse)
    async def rerank(asked: RerankRequest) -> Response:
        """Documents ordered by how likely they answer a query."""
        return _json(await service.rerank(asked))

    @_at(app, "/score", "/v1/score", model=ScoreResponse)
    async def score(asked: ScoreRequest) -> Response:
        """How likely each second text answers its first."""
        return _json(await service.score(asked))

    @_at(app, "/classify", "/v1/classify", model=ClassifyResponse)
    async def classify(asked: ClassifyRequest) -> Response:
        """Which of some labels fits each text."""
        return _json(await service.classify(asked))


def _add_writing(app: FastAPI, service: Service) -> None:
    @app.post("/v1/completions", response_model=Completion, responses={200: EVENTS})
    async def complete(asked: CompletionRequest) -> Response:
        """Texts continued; with `stream` as server-sent events."""
        if not asked.stream:
            return _json(await service.complete(asked))
        events = service.stream(asked)
        # What cannot be answered shows at the first event, while there is a status to set.
        first = await anext(events)
        return StreamingResponse(_after(first, events), media_type="text/event-stream")


def _add_state(app: FastAPI, service: Service) -> None:
    names, created = service.settings.names, service.settings.created

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        """Whether the model answers."""
        if not service.engine.ready:
            raise ApiError(503, "the model does not answer", "not_ready", retry_after=5)
        return {"status": "ready", "model": service.name}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The model, as both SDKs list models."""
        described = {"description": "A FreeLM decision model.", "release_date": _day(created)}
        return {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": created, "owned_by": "freelm"}
                for name in names
            ],
            "models": [{"name": name, **described} for name in names],
        }

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """One model."""
        service.check_model(name)
        return {"id": name, "object": "model", "created": created, "owned_by": "freelm"}


def _add_pages(app: FastAPI, metrics: Metrics, pages: dict[str, str]) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def show_metrics() -> Response:
        return Response(metrics.text(), media_type=METRICS_TYPE)

    for path, html in pages.items():
        app.add_api_route(path, _shows(html), methods=["GET", "HEAD"], include_in_schema=False)


def _shows(html: str) -> Callable[[], Any]:
    async def show() -> HTMLResponse:
        return HTMLResponse(html)

    return show


def _at(app: FastAPI, *paths: str, model: type[BaseModel]) -> Callable[[Any], Any]:
    """Register a route under several paths."""

    def register(route: Any) -> Any:
        for path in paths:
            app.post(path, response_model=model)(route)
        return route

    return register


async def _after(first: bytes, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for event in events:
        yield event


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _respond(problem: ApiError) -> Response:
    return Response(problem.body, problem.status, problem.headers)


async def _on_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _respond(error)


async def _on_failure(_: Request, error: Exception) -> Response:
    return _respond(internal_error())


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: ("there is no such route", "not_found"), 405: ("wrong method", "bad_method")}
    message, code = words.get(error.status_code, ("the request cannot be read", "bad_request"))
    headers = list((error.headers or {}).items())
    return _respond(ApiError(error.status_code, message, code, headers=headers))


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [{**fault, "loc": fault["loc"][1:]} for fault in error.errors()]
    return _respond(describe_errors(faults, error.body))
