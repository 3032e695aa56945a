"""Counts for Prometheus."""

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
        self._rejected = Counter(
            "freelm_rejected",
            "Connections that were ended before a request could be read.",
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
        """Count what was refused before it was a request."""
        self._rejected.labels(str(status)).inc()

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
        yield _batch_sizes(dict(stats.batch_sizes))
        waiting = self._engine.waiting
        yield GaugeMetricFamily("freelm_waiting", "Jobs not finished.", value=waiting)


def _batch_sizes(counts: Mapping[int, int]) -> Metric:
    """How many texts were judged at once.

    Args:
        counts: Size of a batch -> how many batches had it.
    """
    buckets = [
        (str(float(most)), sum(n for size, n in counts.items() if size <= most))
        for most in BATCH_SIZES
    ]
    buckets.append(("+Inf", sum(counts.values())))
    texts = sum(size * n for size, n in counts.items())
    return HistogramMetricFamily(
        "freelm_batch_texts", "Texts judged at once.", buckets=buckets, sum_value=texts
    )
