"""Metrics for Prometheus."""

from collections.abc import Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from freelm.serve.batching import Engine

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one server.

    Args:
        engine: The engine to observe.
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
        self._rejected = Counter(
            "freelm_rejected",
            "Connections closed without an answered request.",
            ["status"],
            registry=self._registry,
        )
        self._registry.register(_EngineCollector(engine))
        ProcessCollector(registry=self._registry)

    def record(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def reject(self, status: int) -> None:
        """Count a connection that was closed without an answered request."""
        self._rejected.labels(str(status)).inc()

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    """Reads the counts of the engine on demand."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        stats = self._engine.stats
        for name, words, value in (
            ("batches", "Batches judged.", stats.batches),
            ("claims", "Claims judged.", stats.claims),
            ("tokens", "Tokens of judged texts and claims.", stats.tokens),
            ("written_tokens", "Tokens written.", stats.written_tokens),
            ("dropped", "Jobs whose client disconnected or timed out.", stats.dropped),
            ("refused", "Jobs refused because too much was waiting.", stats.refused),
            ("engine_failures", "Failures of the engine thread.", stats.failures),
            ("busy_seconds", "Computing time of the engine.", stats.busy_seconds),
        ):
            yield CounterMetricFamily(f"freelm_{name}", words, value=value)
        yield _batch_sizes(dict(stats.batch_sizes))
        waiting = self._engine.waiting
        yield GaugeMetricFamily("freelm_waiting", "Unfinished jobs.", value=waiting)
        speed = self._engine.throughput.tokens_per_second or 0.0
        yield GaugeMetricFamily(
            "freelm_tokens_per_second", "Measured speed of judging; 0 until measured.", value=speed
        )


def _batch_sizes(counts: Mapping[int, int]) -> Metric:
    """Distribution of the texts per batch.

    Args:
        counts: Size of a batch -> number of such batches.
    """
    buckets = [
        (str(float(most)), sum(n for size, n in counts.items() if size <= most))
        for most in BATCH_SIZES
    ]
    buckets.append(("+Inf", sum(counts.values())))
    texts = sum(size * n for size, n in counts.items())
    return HistogramMetricFamily(
        "freelm_batch_texts", "Texts per batch.", buckets=buckets, sum_value=texts
    )
