"""Counts for Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from freelm.serve.batching import Engine

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """What `/metrics` shows of one server.

    Args:
        engine: Whose work is counted.
    """

    def __init__(self, engine: Engine) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "freelm_requests", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "freelm_request_seconds",
            "From a request's arrival to its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._registry.register(_EngineCollector(engine))

    def record(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All counts in Prometheus' text form."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    """Reads the engine's counts when they are asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        stats = self._engine.stats
        for name, words, value in (
            ("batches", "Batches judged.", stats.batches),
            ("claims", "Claims judged.", stats.claims),
            ("tokens", "Tokens of judged texts and claims.", stats.tokens),
            ("written_tokens", "Tokens written.", stats.written_tokens),
            ("dropped", "Jobs whose client left or ran out of time.", stats.dropped),
            ("refused", "Jobs refused because the queue was full.", stats.refused),
            ("busy_seconds", "Time that the engine computed.", stats.busy_seconds),
        ):
            yield CounterMetricFamily(f"freelm_{name}", words, value=value)
        waiting = self._engine.waiting
        yield GaugeMetricFamily("freelm_waiting", "Jobs not finished.", value=waiting)
