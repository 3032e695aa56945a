"""OpenTelemetry traces: one span per request."""

import asyncio
import os
from typing import Any

from freelm.errors import FreeLMError
from freelm.serve.http.asgi import App, Receive, Scope, Send


def traced(app: App, exporter: Any = None) -> App:
    """An application whose requests are traced.

    The variables `OTEL_*` of OpenTelemetry say where spans are sent and under which name. A span
    holds method, URL, status and the client's address, never a body.

    Args:
        app: The application.
        exporter: Receives the spans; one for OTLP over HTTP by default.

    Raises:
        FreeLMError: If the extra `otel` is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise FreeLMError(
            f"{error.name} is not installed; --traces needs `pip install 'freelm[otel]'`"
        ) from None
    os.environ.setdefault("OTEL_SERVICE_NAME", "freelm")
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    inner: Any = OpenTelemetryMiddleware(
        app, tracer_provider=provider, exclude_spans=["receive", "send"]
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)
        if scope["type"] == "lifespan":
            # The process ends without exit handlers, and would lose the last spans.
            await asyncio.to_thread(provider.shutdown)

    return answer
