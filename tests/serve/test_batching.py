import asyncio
import contextlib
import logging
import threading
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from freelm.generate import TextPiece
from freelm.judge.requests import Request
from freelm.model.calibration import ChoiceTemperature
from freelm.serve.backend import ModelBackend, PreparedText
from freelm.serve.batching import MAX_FAILURES, Engine
from freelm.serve.http.errors import ApiError
from freelm.serve.http.limits import Limits
from tiny_serve import OracleBackend, ask, margin_of, size

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


def request(text="a text", *claims):
    return Request((text,), claims or ("claim one.", "claim two."))


def assert_right(requests, results):
    assert len(results) == len(requests)
    for asked, judged in zip(requests, results, strict=True):
        assert judged.claims == asked.claims
        assert judged.margins.tolist() == [margin_of(asked.context, c) for c in asked.claims]


async def eventually(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


# -- results never mix -----------------------------------------------------------------------------

jobs = st.lists(
    st.tuples(
        st.lists(st.integers(1, 12), min_size=1, max_size=5),  # claims of each request
        st.integers(0, 3),  # milliseconds before it comes
        st.booleans(),  # whether the client leaves
    ),
    min_size=1,
    max_size=25,
)


@given(jobs, st.integers(1, 60), st.integers(0, 5))
@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_client_gets_its_own_results(plan, batch_tokens, longest_wait_ms):
    limits = Limits(batch_tokens=batch_tokens, longest_wait_ms=longest_wait_ms)
    engine = Engine(OracleBackend(), limits)
    engine.start()

    async def visit(number, counts, pause, leaves):
        await asyncio.sleep(pause / 1000)
        requests = [
            Request((f"text {number}", f"part {i}"), tuple(f"{number}-{i}-{k}" for k in range(n)))
            for i, n in enumerate(counts)
        ]
        if leaves:
            try:
                async with asyncio.timeout(0.001):
                    await ask(engine, requests)
            except TimeoutError:
                return
        assert_right(requests, await ask(engine, requests))

    async def all_visits():
        await asyncio.gather(*(visit(i, *one) for i, one in enumerate(plan)))

    try:
        asyncio.run(all_visits())
        assert engine.waiting == 0
    finally:
        engine.close()


async def test_results_equal_those_of_the_model_alone(model):
    engine = Engine(ModelBackend(model), Limits(batch_tokens=64))
    engine.start()
    texts = ["The film is a delight.", "A dog sleeps in the sun. " * 4, "Rain."]
    claims = ("The film is good.", "A cat sleeps, and the dog is not there.", "It rains.")
    requests = [Request((text,), claims) for text in texts]
    try:
        answers = await asyncio.gather(*(ask(engine, [one]) for one in requests * 3))
    finally:
        engine.close()
    for one, [judged] in zip(requests * 3, answers, strict=True):
        alone = model.judge_requests([one])[0]
        assert judged.margins.tolist() == pytest.approx(alone.margins.tolist(), abs=1e-4)
        assert not judged.truncated


# -- batches ---------------------------------------------------------------------------------------


async def test_requests_that_wait_share_a_batch(engine):
    judge = OracleBackend()
    one = engine(judge)
    judge.gate.clear()
    first = asyncio.create_task(ask(one, [request("first")]))
    await eventually(lambda: one.waiting == 1)
    await eventually(lambda: judge.entered == 1)
    others = [asyncio.create_task(ask(one, [request(f"text {i}")])) for i in range(10)]
    await eventually(lambda: one.waiting == 11)
    judge.gate.set()
    await asyncio.gather(first, *others)
    assert [len(batch) for batch in judge.batches] == [1, 10]
    assert one.stats.batch_sizes == {1: 1, 10: 1}


async def test_a_batch_holds_its_budget_and_at_most_one_unit_more(engine):
    judge = OracleBackend()
    one = engine(judge, batch_tokens=20, longest_wait_ms=20)
    await asyncio.gather(*(ask(one, [request(f"a b c {i}", "d e.", "f.")]) for i in range(30)))
    sizes = [sum(map(size, batch)) for batch in judge.batches]
    assert sum(sizes) == 30 * 7
    assert max(sizes) < 20 + 7
    assert len(sizes) < 30


class Clock:
    """Time that passes only while an engine waits."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def passes_in(self, engine):
        def wait(seconds=None):
            if seconds is None:
                real_wait()
            else:
                self.now += seconds

        real_wait, engine._changed.wait = engine._changed.wait, wait


async def test_nobody_waits_for_company_longer_than_stated(engine):
    clock = Clock()
    one = engine(OracleBackend(), clock=clock, longest_wait_ms=100)
    clock.passes_in(one)
    await ask(one, [request()])
    assert clock.now == pytest.approx(0.1)


async def test_a_large_request_of_another_client_does_not_keep_small_ones_waiting(engine):
    backend = OracleBackend()
    one = engine(backend, batch_tokens=30, longest_wait_ms=0)
    large = [request(f"document {i}") for i in range(400)]
    backend.gate.clear()
    waiting = asyncio.create_task(ask(one, large, "large"))
    await eventually(lambda: one.waiting == 1)
    small = asyncio.create_task(ask(one, [request("small")], "small"))
    await eventually(lambda: one.waiting == 2)
    backend.gate.set()
    await asyncio.gather(small, waiting)
    position = next(i for i, batch in enumerate(backend.batches) if request("small") in batch)
    assert position <= 2 < len(backend.batches)


async def test_small_work_of_a_client_goes_before_its_large_work(engine):
    backend = OracleBackend()
    one = engine(backend, batch_tokens=8, longest_wait_ms=0)
    backend.gate.clear()
    first = asyncio.create_task(ask(one, [request("first")]))
    await eventually(lambda: one.waiting == 1)
    large = asyncio.create_task(ask(one, [request(f"document {i}") for i in range(40)]))
    await eventually(lambda: one.waiting == 2)
    small = [asyncio.create_task(ask(one, [request(f"small {i}")])) for i in range(3)]
    await eventually(lambda: one.waiting == 5)
    backend.gate.set()
    await asyncio.gather(first, large, *small)
    order = [r.context[0].split()[0] for batch in backend.batches for r in batch]
    assert order.index("document") <= 4
    assert max(i for i, word in enumerate(order) if word == "small") <= 6


async def test_batches_are_sized_by_the_measured_speed(engine):
    clock = Clock()
    backend = OracleBackend()
    one = engine(backend, clock=clock, batch_tokens=2000, longest_wait_ms=0)

    def take_time():  # 5 milliseconds a token: 200 tokens a second
        clock.now += 1.0

    backend.on_judge = take_time
    many = [request(f"text {i} " + "word " * 20, "claim") for i in range(200)]
    one.throughput.record(5000, 1.0)
    await ask(one, many)
    sizes = [sum(map(size, batch)) for batch in backend.batches]
    assert 500 <= sizes[0] <= 525  # a tenth of a second at 5,000 tokens a second
    assert 256 <= sizes[-2] <= 280  # slower than that, but never tiny


async def test_many_claims_are_judged_in_groups(engine):
    judge = OracleBackend()
    one = engine(judge, batch_tokens=12)
    asked = request("two words", *(f"claim {i}" for i in range(50)))
    assert_right([asked], await ask(one, [asked]))
    assert max(sum(map(size, batch)) for batch in judge.batches) <= 24


# -- what goes wrong -------------------------------------------------------------------------------


async def test_a_failure_reaches_only_its_client_and_says_nothing(engine, caplog):
    judge = OracleBackend()
    judge.fails_at = "poison"
    one = engine(judge, longest_wait_ms=20)
    good = [request(f"text {i}") for i in range(5)]
    results = await asyncio.gather(
        *(ask(one, [r]) for r in [*good, request("poison")]), return_exceptions=True
    )
    for asked, found in zip(good, results, strict=False):
        assert_right([asked], found)
    assert isinstance(results[-1], ApiError)
    assert results[-1].status == 500
    assert "secret words" not in results[-1].message + caplog.text
    assert_right(good, await ask(one, good))


async def test_a_full_queue_is_said_with_a_time_to_come_back(engine):
    judge = OracleBackend()
    judge.gate.clear()
    one = engine(judge, max_queue=3)
    waiting = [asyncio.create_task(ask(one, [request(f"{i}")])) for i in range(3)]
    await eventually(lambda: one.waiting == 3)
    with pytest.raises(ApiError, match="max_queue") as refused:
        await ask(one, [request()])
    assert refused.value.status == 429
    assert int(refused.value.headers["retry-after"]) >= 1
    assert one.stats.refused == 1
    judge.gate.set()
    await asyncio.gather(*waiting)
    await ask(one, [request()])


async def test_work_that_cannot_finish_in_time_is_refused_at_the_door(engine):
    backend = OracleBackend()
    one = engine(backend, request_seconds=10)
    one.throughput.record(1000, 10.0)  # 100 tokens a second
    with pytest.raises(ApiError, match="limit request_seconds is 10") as refused:
        await ask(one, [request(f"text {i}") for i in range(200)])
    assert (refused.value.status, refused.value.code) == (400, "limit_exceeded")
    assert backend.batches == []
    await ask(one, [request()])


async def test_work_beside_the_waiting_work_of_its_client_is_refused_with_a_time(engine):
    backend = OracleBackend()
    one = engine(backend, request_seconds=10)
    one.throughput.record(1000, 10.0)
    backend.gate.clear()
    half = [request(f"text {i}") for i in range(150)]  # 900 tokens, 9 seconds
    waiting = asyncio.create_task(ask(one, half, "large"))
    await eventually(lambda: one.waiting == 1)
    with pytest.raises(ApiError, match="request_seconds") as refused:
        await ask(one, half, "large")
    assert refused.value.status == 429
    assert int(refused.value.headers["retry-after"]) >= 1
    small = asyncio.create_task(ask(one, [request("small")], "small"))
    await eventually(lambda: one.waiting == 2)
    backend.gate.set()
    await asyncio.gather(waiting, small)


async def test_a_full_queue_has_room_for_other_clients(engine):
    backend = OracleBackend()
    backend.gate.clear()
    one = engine(backend, max_queue=4)
    waiting = [asyncio.create_task(ask(one, [request(f"{i}")], "many")) for i in range(4)]
    await eventually(lambda: one.waiting == 4)
    with pytest.raises(ApiError, match="max_queue"):
        await ask(one, [request()], "many")
    other = asyncio.create_task(ask(one, [request("other")], "other"))
    await eventually(lambda: one.waiting == 5)
    backend.gate.set()
    await asyncio.gather(other, *waiting)


async def test_texts_that_are_written_take_no_room_from_judgements(engine):
    one = engine(OracleBackend(Countdown), max_queue=4)
    writing = [asyncio.create_task(collected(one, *["1000000"] * 2, client=c)) for c in "ab"]
    await eventually(lambda: one.waiting == 4)
    assert_right([request()], await ask(one, [request()]))
    for task in writing:
        task.cancel()


async def test_a_batch_that_takes_longer_than_requests_wait_is_not_ready(engine):
    judge = OracleBackend()
    one = engine(judge, request_seconds=0.05)
    assert one.ready
    judge.gate.clear()
    with pytest.raises(ApiError, match="in time"):
        await ask(one, [request()])
    await eventually(lambda: not one.ready)
    judge.gate.set()
    await eventually(lambda: one.ready)


async def test_no_answer_in_time_is_said(engine):
    judge = OracleBackend()
    judge.gate.clear()
    one = engine(judge, request_seconds=0.05)
    with pytest.raises(ApiError, match="in time") as refused:
        await ask(one, [request()])
    assert refused.value.status == 503
    assert one.waiting == 0
    judge.gate.set()
    await ask(one, [request()])


async def test_what_nobody_waits_for_is_not_judged(engine):
    judge = OracleBackend()
    judge.gate.clear()
    one = engine(judge, longest_wait_ms=0)
    first = asyncio.create_task(ask(one, [request("first")]))
    await eventually(lambda: judge.entered == 1)
    gone = asyncio.create_task(ask(one, [request("gone")]))
    await eventually(lambda: one.waiting == 2)
    gone.cancel()
    await eventually(lambda: one.waiting == 1)
    judge.gate.set()
    await first
    await ask(one, [request("last")])
    contexts = [unit.context[0] for batch in judge.batches for unit in batch]
    assert contexts == ["first", "last"]
    assert one.stats.dropped == 1


async def test_the_event_loop_is_free_while_the_engine_computes(engine):
    judge = OracleBackend()
    judge.gate.clear()
    one = engine(judge)
    busy = asyncio.create_task(ask(one, [request()]))
    # The engine is stuck in a batch; if the loop waited for it, this would never end.
    for _ in range(10):
        await asyncio.sleep(0.001)
    assert not busy.done()
    judge.gate.set()
    await busy


async def test_closing_does_not_wait_for_a_batch_without_end(engine, monkeypatch):
    monkeypatch.setattr("freelm.serve.batching.CLOSE_SECONDS", 0.05)
    judge = OracleBackend()
    judge.gate.clear()
    one = engine(judge)
    stuck = asyncio.create_task(ask(one, [request()]))
    await eventually(lambda: one.waiting == 1)
    await asyncio.to_thread(one.close)
    assert not one.ended
    judge.gate.set()
    await eventually(lambda: one.ended)
    with contextlib.suppress(ApiError):
        await stuck


async def test_closing_tells_those_who_wait():
    judge = OracleBackend()
    judge.gate.clear()
    engine = Engine(judge, Limits(longest_wait_ms=0))
    engine.start()
    assert engine.ready
    first = asyncio.create_task(ask(engine, [request("first")]))
    await eventually(lambda: judge.entered == 1)
    second = asyncio.create_task(ask(engine, [request("second")]))
    await eventually(lambda: engine.waiting == 2)
    threading.Timer(0.05, judge.gate.set).start()
    await asyncio.to_thread(engine.close)
    assert_right([request("first")], await first)
    with pytest.raises(ApiError, match="stopping"):
        await second
    assert not engine.ready
    with pytest.raises(ApiError, match="stopping"):
        await ask(engine, [request()])


# -- writing ---------------------------------------------------------------------------------------


class Countdown:
    """A text of as many pieces as its prompt says."""

    num_prompt_tokens = (1,)

    def __init__(self, prompt):
        self.left = int(prompt)

    def step(self):
        self.left -= 1
        return [(0, TextPiece(f"{self.left} ", "stop" if self.left <= 0 else None, 1, 1))]


async def collected(engine, *prompts, client=""):
    prepared = [PreparedText(engine.backend.begin(prompt), 10**6) for prompt in prompts]
    texts = [""] * len(prompts)
    async for index, piece in engine.write(prepared, client):
        texts[index] += piece.text
    return texts


async def test_texts_are_written_side_by_side_and_not_mixed(engine):
    one = engine(OracleBackend(Countdown))
    found = await asyncio.gather(
        collected(one, "3", "5"), collected(one, "2"), *(ask(one, [request()]) for _ in range(5))
    )
    assert found[:2] == [["2 1 0 ", "4 3 2 1 0 "], ["1 0 "]]
    assert one.waiting == 0


async def test_a_text_does_not_keep_judgements_waiting(engine):
    one = engine(OracleBackend(Countdown))
    writing = asyncio.create_task(collected(one, "1000000"))
    await eventually(lambda: one.stats.written_tokens > 10)
    assert_right([request()], await ask(one, [request()]))
    assert not writing.done()
    writing.cancel()
    await eventually(lambda: one.waiting == 0)
    written = one.stats.written_tokens
    await ask(one, [request()])
    assert one.stats.written_tokens <= written + 1


async def test_more_texts_than_writers_wait_for_their_turn(engine):
    one = engine(OracleBackend(Countdown), max_writers=2)
    found = await asyncio.gather(*(collected(one, str(i)) for i in range(1, 9)))
    assert [len(text.split()) for [text] in found] == list(range(1, 9))


async def test_a_text_that_fails_fails_alone(engine):
    class Failing(Countdown):
        def step(self):
            if self.left == 7:
                raise ValueError("secret words")
            return super().step()

    one = engine(OracleBackend(Failing))
    found = await asyncio.gather(collected(one, "2"), collected(one, "7"), return_exceptions=True)
    assert found[0] == ["1 0 "]
    assert found[1].status == 500


async def test_at_most_one_text_begins_between_two_batches(engine):
    begun = set()

    class Begun(Countdown):
        def step(self):
            begun.add(self)
            return super().step()

    backend = OracleBackend(Begun)
    one = engine(backend, batch_tokens=1, longest_wait_ms=0)
    begun_at_batches = []
    backend.on_judge = lambda: begun_at_batches.append(len(begun))
    backend.gate.clear()
    judging = asyncio.create_task(ask(one, [request(f"text {i}") for i in range(9)]))
    await eventually(lambda: backend.entered == 1)
    writing = asyncio.create_task(collected(one, *["1000000"] * 6))
    await eventually(lambda: one.waiting == 7)
    backend.gate.set()
    await judging
    assert begun_at_batches[:8] == [0, 1, 2, 3, 4, 5, 6, 6]
    writing.cancel()


async def test_writing_between_two_batches_is_bounded_in_time(engine):
    clock = Clock()
    steps = []

    class Slow(Countdown):
        def step(self):
            steps.append(self)
            clock.now += 0.04
            return super().step()

    backend = OracleBackend(Slow)
    one = engine(backend, clock=clock, longest_wait_ms=0, max_writers=24)
    turns = []
    backend.on_judge = lambda: turns.append(len(steps))
    writing = asyncio.create_task(collected(one, *["1000000"] * 12))
    await eventually(lambda: len(set(steps)) == 12)
    backend.gate.clear()
    jobs = [asyncio.create_task(ask(one, [request(f"{i} " + "word " * 2100)])) for i in range(6)]
    await eventually(lambda: one.waiting == 18)
    backend.gate.set()
    await asyncio.gather(*jobs)
    between = [after - before for before, after in pairwise(turns)]
    assert between
    assert max(between) <= 3  # of 0.04 seconds each, not one token of all twelve
    writing.cancel()


async def test_one_client_cannot_hold_all_writers(engine):
    one = engine(OracleBackend(Countdown), max_writers=4)
    hog = asyncio.create_task(collected(one, *["1000000"] * 20, client="hog"))
    await eventually(lambda: one.stats.written_tokens > 20)
    assert await collected(one, "3", client="other") == ["2 1 0 "]
    hog.cancel()


# -- the thread ------------------------------------------------------------------------------------


class Collapsing(OracleBackend):
    """Ends the engine's thread a number of times."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def judge_prepared(self, requests):
        self.gate.wait()
        if self.times:
            self.times -= 1
            raise SystemExit("secret words")
        return super().judge_prepared(requests)


async def test_a_thread_that_ends_fails_its_requests_at_once_and_restarts(engine, caplog):
    backend = Collapsing(1)
    backend.gate.clear()
    one = engine(backend, longest_wait_ms=0)
    waiting = [asyncio.create_task(ask(one, [request(f"{i}")])) for i in range(3)]
    await eventually(lambda: one.waiting == 3)
    backend.gate.set()
    for found in await asyncio.gather(*waiting, return_exceptions=True):
        assert (found.status, found.code) == (500, "internal_error")
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.CRITICAL]
    assert lines == ["the engine failed: SystemExit; it restarts"]
    assert "secret words" not in caplog.text
    assert (one.failed, one.ready, one.stats.failures) == (False, True, 1)
    assert_right([request()], await ask(one, [request()]))


async def test_an_engine_that_fails_again_and_again_ends(engine):
    ended = threading.Event()
    one = engine(Collapsing(100))
    one.on_failure = ended.set
    for _ in range(MAX_FAILURES + 1):
        with pytest.raises(ApiError):
            await ask(one, [request()])
    await eventually(ended.is_set)
    assert one.failed
    assert not one.ready
    with pytest.raises(ApiError) as refused:
        await ask(one, [request()])
    assert refused.value.status == 500


async def test_the_speed_is_measured_before_the_start():
    clock = Clock()
    backend = OracleBackend()
    one = Engine(backend, Limits(), clock=clock)
    backend.on_judge = lambda: setattr(clock, "now", clock.now + 2.0)
    one.measure_speed([backend.prepare(request("word " * 300))])
    assert one.throughput.tokens_per_second == pytest.approx(304 / 2)


async def test_the_temperature_of_choices_comes_with_the_verdicts(engine):
    temperature = ChoiceTemperature(2.5, 0.5)

    class Scaled(OracleBackend):
        def judge_prepared(self, requests):
            return [
                replace(one, choice_temperature=temperature)
                for one in super().judge_prepared(requests)
            ]

    (found,) = await ask(engine(Scaled(), batch_tokens=1), [request()])
    assert found.choice_temperature == temperature
