import asyncio
import contextlib
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from freelm.judge.probabilities import option_probabilities
from freelm.judge.requests import Request
from freelm.model.calibration import ChoiceTemperature
from freelm.serve.batching import Engine
from freelm.serve.http.errors import ApiError
from freelm.serve.http.limits import Limits
from freelm.serve.writing import Order, Piece
from tiny_serve import OracleJudge, margin_of, no_writing, words

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


def request(text="a text", *claims):
    return Request((text,), claims or ("claim one.", "claim two."))


def assert_right(requests, results):
    assert len(results) == len(requests)
    for asked, judged in zip(requests, results, strict=True):
        assert judged.margins == {c: margin_of(asked.context, c) for c in asked.claims}
        assert list(judged.margins) == list(asked.claims)


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
    judge = OracleJudge()
    limits = Limits(batch_tokens=batch_tokens, longest_wait_ms=longest_wait_ms)
    engine = Engine(judge, words, no_writing, limits)
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
                    await engine.judge(requests)
            except TimeoutError:
                return
        assert_right(requests, await engine.judge(requests))

    async def all_visits():
        await asyncio.gather(*(visit(i, *one) for i, one in enumerate(plan)))

    try:
        asyncio.run(all_visits())
        assert engine.waiting == 0
    finally:
        engine.close()


async def test_what_was_read_is_said_on_request(engine):
    one = engine(OracleJudge())
    asked = Request(("a text", "more"), ("claim one.", "claim two."))
    [plain], [shown] = await one.judge([asked]), await one.judge([asked], shown=True)
    assert (plain.read, plain.written) == ("", ())
    assert shown.read == "a text + more |"
    assert shown.written == (" claim one. !", " claim two. !")


async def test_results_equal_those_of_the_model_alone(model):
    engine = Engine.of(model, Limits(batch_tokens=64, max_context_tokens=128))
    engine.start()
    texts = ["The film is a delight.", "A dog sleeps in the sun. " * 4, "Rain."]
    claims = ("The film is good.", "A cat sleeps, and the dog is not there.", "It rains.")
    requests = [Request((text,), claims) for text in texts]
    try:
        answers = await asyncio.gather(*(engine.judge([one]) for one in requests * 3))
    finally:
        engine.close()
    for one, [judged] in zip(requests * 3, answers, strict=True):
        alone = model.judge_requests([one])[0]
        assert list(judged.margins.values()) == pytest.approx(alone.margins.tolist(), abs=1e-4)
        assert not judged.truncated


# -- batches ---------------------------------------------------------------------------------------


async def test_requests_that_wait_share_a_batch(engine):
    judge = OracleJudge()
    one = engine(judge)
    judge.gate.clear()
    first = asyncio.create_task(one.judge([request("first")]))
    await eventually(lambda: one.waiting == 1)
    await asyncio.sleep(0.05)
    others = [asyncio.create_task(one.judge([request(f"text {i}")])) for i in range(10)]
    await eventually(lambda: one.waiting == 11)
    judge.gate.set()
    await asyncio.gather(first, *others)
    assert [len(batch) for batch in judge.batches] == [1, 10]
    assert one.stats.batch_sizes == {1: 1, 10: 1}


async def test_a_batch_holds_its_budget_and_at_most_one_unit_more(engine):
    judge = OracleJudge()
    one = engine(judge, batch_tokens=20, longest_wait_ms=20)
    await asyncio.gather(*(one.judge([request(f"a b c {i}", "d e.", "f.")]) for i in range(30)))
    sizes = [sum(words(unit).tokens for unit in batch) for batch in judge.batches]
    assert sum(sizes) == 30 * 7
    assert max(sizes) < 20 + 7
    assert len(sizes) < 30


async def test_nobody_waits_for_company_longer_than_stated(engine):
    one = engine(OracleJudge(), longest_wait_ms=100)
    started = time.monotonic()
    await one.judge([request()])
    waited = time.monotonic() - started
    assert 0.1 <= waited < 5


async def test_a_large_request_does_not_keep_small_ones_waiting(engine):
    judge = OracleJudge(seconds=0.002)
    one = engine(judge, batch_tokens=30, longest_wait_ms=0)
    large = asyncio.create_task(one.judge([request(f"document {i}") for i in range(400)]))
    await eventually(lambda: len(judge.batches) > 2)
    await one.judge([request("small")])
    assert not large.done()
    assert len(judge.batches) < 20
    await large


async def test_many_claims_are_judged_in_groups(engine):
    judge = OracleJudge()
    one = engine(judge, batch_tokens=12)
    asked = request("two words", *(f"claim {i}" for i in range(50)))
    assert_right([asked], await one.judge([asked]))
    assert max(sum(words(unit).tokens for unit in batch) for batch in judge.batches) <= 24


# -- what goes wrong -------------------------------------------------------------------------------


async def test_a_failure_reaches_only_its_client_and_says_nothing(engine, caplog):
    judge = OracleJudge()
    judge.fails_at = "poison"
    one = engine(judge, longest_wait_ms=20)
    good = [request(f"text {i}") for i in range(5)]
    results = await asyncio.gather(
        *(one.judge([r]) for r in [*good, request("poison")]), return_exceptions=True
    )
    for asked, found in zip(good, results, strict=False):
        assert_right([asked], found)
    assert isinstance(results[-1], ApiError)
    assert results[-1].status == 500
    assert "secret words" not in results[-1].message + caplog.text
    assert_right(good, await one.judge(good))


async def test_a_request_that_does_not_fit_reaches_only_its_client(model):
    engine = Engine.of(model, Limits(max_context_tokens=16))
    engine.start()
    long = request("word " * 200, "It is long.")
    try:
        found = await asyncio.gather(
            engine.judge([request("short", "It is short.")]),
            engine.judge([request("short"), long]),
            engine.judge([long], truncate=True),
            return_exceptions=True,
        )
    finally:
        engine.close()
    assert not found[0][0].truncated
    assert (found[1].status, found[1].code) == (400, "context_too_long")
    assert found[2][0].truncated


async def test_a_full_queue_is_said_with_a_time_to_come_back(engine):
    judge = OracleJudge()
    judge.gate.clear()
    one = engine(judge, max_queue=3)
    waiting = [asyncio.create_task(one.judge([request(f"{i}")])) for i in range(3)]
    await eventually(lambda: one.waiting == 3)
    with pytest.raises(ApiError, match="max_queue") as refused:
        await one.judge([request()])
    assert refused.value.status == 429
    assert int(refused.value.headers["retry-after"]) >= 1
    assert one.stats.refused == 1
    judge.gate.set()
    await asyncio.gather(*waiting)
    await one.judge([request()])


async def test_a_request_of_more_tokens_than_its_limit_is_refused_by_its_name(engine):
    judge = OracleJudge()
    one = engine(judge, max_request_tokens=12)
    fitting = [request("one"), request("two")]  # 2 x (1 + 2 + 2) tokens
    assert_right(fitting, await one.judge(fitting))
    with pytest.raises(ApiError, match=r"more than 12 tokens.*max_request_tokens") as refused:
        await one.judge([*fitting, request("three")])
    assert (refused.value.status, refused.value.code) == (400, "limit_exceeded")
    assert one.waiting == 0
    assert_right(fitting, await one.judge(fitting))


async def test_a_request_of_endless_characters_never_reaches_the_thread(engine):
    one = engine(OracleJudge(), max_request_tokens=10, max_context_tokens=8)
    one._measure = None
    with pytest.raises(ApiError, match="max_request_tokens"):
        await one.judge([request("x" * 600)] * 2)


async def test_a_batch_that_takes_longer_than_requests_wait_is_not_ready(engine):
    judge = OracleJudge()
    one = engine(judge, request_seconds=0.05)
    assert one.ready
    judge.gate.clear()
    with pytest.raises(ApiError, match="in time"):
        await one.judge([request()])
    await eventually(lambda: not one.ready)
    judge.gate.set()
    await eventually(lambda: one.ready)


async def test_no_answer_in_time_is_said(engine):
    judge = OracleJudge()
    judge.gate.clear()
    one = engine(judge, request_seconds=0.05)
    with pytest.raises(ApiError, match="in time") as refused:
        await one.judge([request()])
    assert refused.value.status == 503
    assert one.waiting == 0
    judge.gate.set()
    await one.judge([request()])


async def test_what_nobody_waits_for_is_not_judged(engine):
    judge = OracleJudge()
    judge.gate.clear()
    one = engine(judge, longest_wait_ms=0)
    first = asyncio.create_task(one.judge([request("first")]))
    await asyncio.sleep(0.05)
    gone = asyncio.create_task(one.judge([request("gone")]))
    await eventually(lambda: one.waiting == 2)
    gone.cancel()
    await eventually(lambda: one.waiting == 1)
    judge.gate.set()
    await first
    await one.judge([request("last")])
    contexts = [unit.context[0] for batch in judge.batches for unit in batch]
    assert contexts == ["first", "last"]
    assert one.stats.dropped == 1


async def test_the_event_loop_is_free_while_the_engine_computes(engine):
    judge = OracleJudge()
    judge.gate.clear()
    one = engine(judge)
    busy = asyncio.create_task(one.judge([request()]))
    # The engine is stuck in a batch; if the loop waited for it, this would never end.
    for _ in range(10):
        await asyncio.sleep(0.001)
    assert not busy.done()
    judge.gate.set()
    await busy


async def test_closing_does_not_wait_for_a_batch_without_end(engine, monkeypatch):
    monkeypatch.setattr("freelm.serve.batching.CLOSE_SECONDS", 0.05)
    judge = OracleJudge()
    judge.gate.clear()
    one = engine(judge)
    stuck = asyncio.create_task(one.judge([request()]))
    await eventually(lambda: one.waiting == 1)
    await asyncio.to_thread(one.close)
    assert not one.ended
    judge.gate.set()
    await eventually(lambda: one.ended)
    with contextlib.suppress(ApiError):
        await stuck


async def test_closing_tells_those_who_wait():
    judge = OracleJudge()
    judge.gate.clear()
    engine = Engine(judge, words, no_writing, Limits(longest_wait_ms=0))
    engine.start()
    assert engine.ready
    first = asyncio.create_task(engine.judge([request("first")]))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(engine.judge([request("second")]))
    await eventually(lambda: engine.waiting == 2)
    threading.Timer(0.05, judge.gate.set).start()
    await asyncio.to_thread(engine.close)
    assert_right([request("first")], await first)
    with pytest.raises(ApiError, match="stopping"):
        await second
    assert not engine.ready
    with pytest.raises(ApiError, match="stopping"):
        await engine.judge([request()])


# -- writing ---------------------------------------------------------------------------------------


class Countdown:
    """A text of as many pieces as its prompt says."""

    def __init__(self, order):
        self.order = order
        self.left = int(order.prompt)

    def step(self):
        self.left -= 1
        return Piece(f"{self.left} ", "stop" if self.left <= 0 else None, 1, 1)


async def collected(engine, *prompts):
    texts = [""] * len(prompts)
    async for index, piece in engine.write([Order(prompt, None) for prompt in prompts]):
        texts[index] += piece.text
    return texts


async def test_texts_are_written_side_by_side_and_not_mixed(engine):
    one = engine(OracleJudge(), Countdown)
    found = await asyncio.gather(
        collected(one, "3", "5"), collected(one, "2"), *(one.judge([request()]) for _ in range(5))
    )
    assert found[:2] == [["2 1 0 ", "4 3 2 1 0 "], ["1 0 "]]
    assert one.waiting == 0


async def test_a_text_does_not_keep_judgements_waiting(engine):
    one = engine(OracleJudge(), Countdown)
    writing = asyncio.create_task(collected(one, "1000000"))
    await eventually(lambda: one.stats.written_tokens > 10)
    assert_right([request()], await one.judge([request()]))
    assert not writing.done()
    writing.cancel()
    await eventually(lambda: one.waiting == 0)
    written = one.stats.written_tokens
    await one.judge([request()])
    assert one.stats.written_tokens <= written + 1


async def test_more_texts_than_writers_wait_for_their_turn(engine):
    one = engine(OracleJudge(), Countdown, max_writers=2)
    found = await asyncio.gather(*(collected(one, str(i)) for i in range(1, 9)))
    assert [len(text.split()) for [text] in found] == list(range(1, 9))


async def test_a_text_that_fails_fails_alone(engine):
    def begin(order):
        if order.prompt == "x":
            raise ValueError("secret words")
        return Countdown(order)

    one = engine(OracleJudge(), begin)
    found = await asyncio.gather(collected(one, "2"), collected(one, "x"), return_exceptions=True)
    assert found[0] == ["1 0 "]
    assert found[1].status == 500


async def test_at_most_one_text_begins_between_two_batches(engine):
    begun = []

    def begin(order):
        time.sleep(0.02)  # a long prompt is read
        begun.append(order)
        return Countdown(order)

    one = engine(OracleJudge(), begin, longest_wait_ms=0)
    writing = asyncio.create_task(collected(one, *["1000000"] * 12))
    await eventually(lambda: begun)
    before = len(begun)
    await one.judge([request()])
    assert len(begun) <= before + 3
    await eventually(lambda: len(begun) == 12)
    writing.cancel()


async def test_the_temperature_of_options_comes_with_the_verdicts(engine):
    temperature = ChoiceTemperature(2.5, 0.5)

    class Scaled(OracleJudge):
        def __call__(self, requests):
            return [
                replace(one, choice_temperature=temperature) for one in super().__call__(requests)
            ]

    (found,) = await engine(Scaled()).judge([request()])
    claims = list(found.margins)
    expected = option_probabilities(
        list(found.margins.values()), float(temperature.of(len(claims)))
    )
    assert found.shares(claims) == pytest.approx(expected.tolist())
    few = option_probabilities(list(found.margins.values())[:2], 2.5)
    assert found.shares(claims[:2]) == pytest.approx(few.tolist())
