"""The application: routes, and the middleware in front of them.

A request passes through browser headers, request log, access, concurrency limit, body, route.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from freelm import __version__
from freelm.serve.batching import Engine
from freelm.serve.http.asgi import App
from freelm.serve.http.auth import (
    MONITORING_PATHS,
    OPEN_PATHS,
    AccessGuard,
    BrowserHeaders,
)
from freelm.serve.http.errors import ApiError, internal_error
from freelm.serve.http.guards import BodyGuard, ConcurrencyGuard, RequestLog
from freelm.serve.metrics import Metrics
from freelm.serve.protocols import load_endpoints
from freelm.serve.protocols.base import Endpoint, WritingEndpoint
from freelm.serve.service import Service
from freelm.serve.settings import Settings

PAGES = {"/": "index.html", "/docs": "docs.html"}
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ErrorObject(BaseModel):
    """What is wrong with a request."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """The body of every error response."""

    error: ErrorObject


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request cannot be answered."},
    "5XX": {"model": ErrorBody, "description": "The server is full, stopping or has failed."},
}

EVENT_RESPONSE: dict[str, Any] = {
    "description": "The complete answer, or with `stream` its pieces: the data of each event is a "
    "response as JSON, that of the last one is `[DONE]`.",
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
"""The ways to send the key; any one of them will do."""


def make_app(engine: Engine, settings: Settings) -> App:
    """The application of a server.

    Args:
        engine: The engine; the application starts and closes it.
        settings: Names, keys, hosts and limits.

    Returns:
        An ASGI application.
    """
    pages = {path: _page(name) for path, name in PAGES.items()}
    metrics = Metrics(engine)
    routes = _routes(Service(engine, settings), metrics, pages)
    known = frozenset(routes.openapi()["paths"]) | frozenset(pages) | {"/metrics", "/openapi.json"}
    app: App = BodyGuard(routes, settings.limits)
    app = ConcurrencyGuard(app, settings.limits, MONITORING_PATHS)
    app = AccessGuard(app, settings)
    app = RequestLog(app, known, metrics.record)
    return BrowserHeaders(app, pages)


def _page(name: str) -> str:
    return files("freelm.serve").joinpath("static", name).read_text("utf-8")


def _routes(service: Service, metrics: Metrics, pages: dict[str, str]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        service.engine.start()
        _reload_on_hangup(service.settings)
        yield {"reject": metrics.reject}
        # Off the loop, which still answers the requests that are cut off.
        await asyncio.to_thread(service.engine.close)

    app = FastAPI(
        title="FreeLM",
        description="Decisions about texts, and texts, by one small language model.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        responses=ERROR_RESPONSES,
    )
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_exception)
    for endpoint in load_endpoints():
        _add_endpoint(app, service, endpoint)
    _add_state_routes(app, service)
    _add_pages(app, metrics, pages)
    if service.settings.needs_key:
        _describe_key(app.openapi())
    return app


def _reload_on_hangup(settings: Settings) -> None:
    """Read the key file again on SIGHUP. Only the main thread receives signals."""
    if settings.keys is not None and threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, settings.keys.reload)


def _describe_key(openapi: dict[str, Any]) -> None:
    """Add to the API description how the key is sent."""
    openapi["components"]["securitySchemes"] = KEY_SCHEMES
    openapi["security"] = [{name: []} for name in KEY_SCHEMES]
    for path in OPEN_PATHS:
        openapi["paths"][path]["get"]["security"] = []


def _add_endpoint(app: FastAPI, service: Service, endpoint: Endpoint) -> None:
    """Add the routes of an endpoint.

    FastAPI describes them by the models; the bodies are parsed on worker threads instead of the
    event loop, where FastAPI would do it.
    """

    async def answer(request: Request) -> Response:
        body = await request.body()
        if isinstance(endpoint, WritingEndpoint):
            return await _write(service, endpoint, request, body)
        return _json(await service.judge(endpoint, request.scope, body))

    class UnparsedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Any]:
            return answer

    async def described(body: Any) -> None: ...

    described.__annotations__["body"] = endpoint.request
    described.__doc__ = endpoint.summary
    writes = isinstance(endpoint, WritingEndpoint)
    for path in endpoint.paths:
        app.router.add_api_route(
            path,
            described,
            methods=["POST"],
            name=path.strip("/").replace("/", " "),
            response_model=endpoint.response,
            responses={200: EVENT_RESPONSE} if writes else None,
            route_class_override=UnparsedRoute,
        )


async def _write(
    service: Service, endpoint: WritingEndpoint, request: Request, body: bytes
) -> Response:
    task = await service.prepare_writing(endpoint, request.scope, body)
    if not task.request.stream:
        return _json(await service.write(task))
    events = service.stream(task)
    # An error before the first event still sets the status of the response.
    first = await anext(events)
    return StreamingResponse(_chain(first, events), media_type="text/event-stream")


async def _chain(first: bytes, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for event in events:
        yield event


def _add_state_routes(app: FastAPI, service: Service) -> None:
    settings = service.settings

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the process runs; 503 once its engine has failed for good."""
        if service.engine.failed:
            raise ApiError(503, "the engine has failed", "engine_failed", retry_after=5)
        return {"status": "ok", "engine_failures": service.engine.stats.failures}

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        """Whether the model answers."""
        if not service.engine.ready:
            raise ApiError(503, "the model does not answer", "not_ready", retry_after=5)
        return {"status": "ready", "model": service.name}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The model, in the forms of both SDKs."""
        day = datetime.fromtimestamp(settings.created, UTC).date().isoformat()
        described = {"description": "A FreeLM decision model.", "release_date": day}
        return {
            "object": "list",
            "data": [_model(name, settings) for name in settings.names],
            "models": [{"name": name, **described} for name in settings.names],
        }

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """One model."""
        service.check_model(name)
        return _model(name, settings)

    for path, route in (
        ("/health", health),
        ("/ready", ready),
        ("/v1/models", models),
        ("/v1/models/{name:path}", model),
    ):
        app.add_api_route(path, route, methods=["HEAD"], include_in_schema=False)


def _model(name: str, settings: Settings) -> dict[str, Any]:
    model: dict[str, Any] = {"id": name, "object": "model", "created": settings.created}
    return model | {"owned_by": "freelm", "dtype": settings.dtype}


def _add_pages(app: FastAPI, metrics: Metrics, pages: dict[str, str]) -> None:
    async def show_metrics() -> Response:
        return Response(metrics.text(), media_type=METRICS_TYPE)

    app.add_api_route("/metrics", show_metrics, methods=["GET", "HEAD"], include_in_schema=False)
    for path, html in pages.items():
        app.add_api_route(path, _show(html), methods=["GET", "HEAD"], include_in_schema=False)


def _show(html: str) -> Callable[[], Any]:
    async def show() -> HTMLResponse:
        return HTMLResponse(html)

    return show


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _error_response(error: ApiError) -> Response:
    return Response(error.body, error.status, error.headers)


async def _on_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _error_response(error)


async def _on_exception(_: Request, error: Exception) -> Response:
    return _error_response(internal_error())


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = {404: ("there is no such route", "not_found"), 405: ("wrong method", "bad_method")}
    message, code = known.get(error.status_code, ("the request cannot be read", "bad_request"))
    headers = list((error.headers or {}).items())
    return _error_response(ApiError(error.status_code, message, code, headers=headers))
