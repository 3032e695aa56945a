import asyncio
import os
import statistics
import time

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.bench.serve import (
    ServeBench,
    Watch,
    closed_load,
    open_load,
    quantile,
    run_serve_bench,
)
from freelm.serve.batching import Engine
from freelm.serve.http.limits import Limits
from freelm.serve.settings import Settings
from tiny_freelm import freelm_folder
from tiny_serve import OracleBackend, live

__all__ = ["freelm_folder"]


@pytest.fixture
def server():
    """`server(seconds, **limits)` -> the address of a server whose batches take that long."""
    open_ones = []

    def start(seconds, **limits):
        judge, kept = OracleBackend(), Limits(**limits)
        judge.on_judge = lambda: time.sleep(seconds)
        engine = Engine(judge, kept)
        running = live(engine, Settings(names=("tiny",), limits=kept))
        open_ones.append(running)
        return running.__enter__().url, judge

    yield start
    for running in open_ones:
        running.__exit__(None, None, None)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=50))
def test_quantiles(values):
    assert quantile(values, 50) == pytest.approx(statistics.median(values))
    assert min(values) <= quantile(values, 99) <= max(values)


def test_quantiles_of_little():
    assert quantile([], 50) is None
    assert quantile([3.0], 99) == 3.0


def test_clients_ask_one_after_the_other(server):
    url, judge = server(0.01)
    for seconds in (0.5, 5.0, 50.0):  # on a busy machine nothing is answered in half a second
        judge.batches.clear()
        row = asyncio.run(closed_load(url, 4, seconds))
        if row["answers"]:
            break
    answered = int(row["answers"].removeprefix("200: "))
    assert sum(map(len, judge.batches)) >= answered >= 1
    assert max(map(len, judge.batches)) <= 4
    assert 10 <= row["p50_ms"] <= row["p99_ms"]


def test_a_server_is_watched_while_a_load_is_on_it(server):
    url, _ = server(0.01)
    with Watch(url, os.getpid(), every=0.05) as watch:
        asyncio.run(closed_load(url, 2, 0.5))
    row = watch.row()
    assert watch.health
    assert row["health_failed"] == 0
    assert row["health_max_ms"] > 0
    assert 0 < row["memory_mb"] <= row["memory_max_mb"]


def test_unresponsive_server_is_reported():
    with Watch("http://127.0.0.1:9", os.getpid(), every=0.05) as watch:
        pass
    assert (watch.row()["health_failed"], watch.row()["health_max_ms"]) == (1, None)


@pytest.mark.slow
def test_both_servers_are_started_measured_and_ended(freelm_folder):
    bench = ServeBench(str(freelm_folder), clients=(1, 2), seconds=0.5, overload_seconds=1.0)
    rows = list(run_serve_bench(bench))
    assert [(row["system"], row["phase"], row["clients"]) for row in rows] == [
        ("freelm", "steady", 1),
        ("freelm", "steady", 2),
        ("freelm", "overload", None),
        ("freelm", "afterwards", 2),
        ("plain", "steady", 1),
        ("plain", "steady", 2),
    ]
    for row in rows:
        assert row["offered_per_s"] >= row["requests_per_s"] > 0
        assert row["memory_max_mb"] > 50


def test_more_than_it_can_bear_is_refused_and_nothing_else(server):
    url, _ = server(0.05, max_queue=4, batch_tokens=1)
    row = asyncio.run(open_load(url, 200, 1.0))
    statuses = {part.split(":")[0] for part in row["answers"].split(", ")}
    assert "200" in statuses
    assert statuses & {"429", "503"}
    assert statuses <= {"200", "429", "503"}
    honest = httpx2.post(f"{url}/classify", json={"input": "a", "labels": ["x", "y"]}, timeout=60)
    assert honest.status_code == 200
