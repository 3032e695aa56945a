import asyncio
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.bench.serve import closed_load, open_load, quantile
from freelm.serve.batching import Engine
from freelm.serve.limits import Limits
from freelm.serve.settings import Settings
from tiny_serve import OracleJudge, live, no_writing, words


@pytest.fixture
def server():
    """`server(seconds, **limits)` -> the address of a server whose batches take that long."""
    open_ones = []

    def start(seconds, **limits):
        judge, kept = OracleJudge(seconds), Limits(**limits)
        engine = Engine(judge, words, no_writing, kept)
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
    row = asyncio.run(closed_load(url, 4, 0.5))
    answered = int(row["answers"].removeprefix("200: "))
    assert sum(map(len, judge.batches)) == answered > 4
    assert max(map(len, judge.batches)) <= 4
    assert 10 <= row["p50_ms"] <= row["p99_ms"]


def test_more_than_it_can_bear_is_refused_and_nothing_else(server):
    url, _ = server(0.05, max_queue=4, batch_tokens=1)
    row = asyncio.run(open_load(url, 200, 1.0))
    statuses = {part.split(":")[0] for part in row["answers"].split(", ")}
    assert "200" in statuses
    assert statuses & {"429", "503"}
    assert statuses <= {"200", "429", "503"}
    assert asyncio.run(closed_load(url, 1, 0.3))["answers"].startswith("200: ")
