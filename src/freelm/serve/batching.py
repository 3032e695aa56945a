"""The engine: one thread that computes, for any number of clients on the event loop.

Jobs of different clients take turns: the thread takes one unit (a text and as many claims as fit a
batch) of each waiting job, again and again, until the units have `batch_tokens` together or nobody
has waited longer than `longest_wait_ms`, and judges them at once. So a large request does not keep
small ones waiting, and no result can reach another client: a unit carries its job. Between two
batches every text in the making grows by one token, and at most one new text begins.

A job whose client has left is dropped. What is computed does not depend on the company it is in.
"""

import asyncio
import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from freelm.api import FreeLM
from freelm.judge.requests import Judgement, Request
from freelm.model.calibration import NO_CHANGE, ChoiceTemperature
from freelm.serve.http.errors import ApiError, internal_error, server_stopping, too_many_tokens
from freelm.serve.http.limits import Limits
from freelm.serve.judged import Judged
from freelm.serve.measure import Measure, Size, refuse_endless, split_claims
from freelm.serve.writing import Order, Piece, Writing

log = logging.getLogger("freelm.serve")

LONGEST_RETRY_SECONDS = 60

CLOSE_SECONDS = 5.0
"""How long the end of the server waits for the batch in work; a usual one takes a second or two."""

Finish = Callable[[Any], None]


@dataclass(slots=True)
class Stats:
    """Counts since the start, for metrics."""

    batches: int = 0
    batch_sizes: Counter[int] = field(default_factory=Counter)
    claims: int = 0
    tokens: int = 0
    written_tokens: int = 0
    dropped: int = 0
    refused: int = 0
    busy_seconds: float = 0.0


@dataclass(eq=False, slots=True)
class _Job:
    """Requests of one client, and what has come of them."""

    requests: Sequence[Request]
    truncate: bool
    shown: bool
    finish: Finish
    gone: bool = False
    units: deque[tuple[int, Request, int]] = field(default_factory=deque)
    sizes: list[Size] = field(default_factory=list)
    margins: list[dict[str, float]] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    choice_temperature: ChoiceTemperature = NO_CHANGE
    tokens: int = 0
    in_work: int = 0

    @property
    def has_more(self) -> bool:
        """Whether there is something left to take."""
        return bool(self.units) or len(self.sizes) < len(self.requests)

    def results(self) -> list[Judged]:
        """One result a request, claims in the order of the request."""
        return [
            Judged(
                {claim: margins[claim] for claim in request.claims},
                cut,
                size.tokens,
                self.choice_temperature,
                size.read,
                size.written,
            )
            for request, margins, cut, size in zip(
                self.requests, self.margins, self.truncated, self.sizes, strict=True
            )
        ]


@dataclass(eq=False, slots=True)
class _Text:
    """A text that one client waits for."""

    order: Order
    finish: Finish
    gone: bool = False
    writing: Writing | None = None


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is judged at once for one job."""

    job: _Job
    index: int
    request: Request
    tokens: int


class Engine:
    """Judges and writes for many clients in one thread.

    Args:
        judge: Judges requests; the answers come in their order.
        measure: The size of a request (`freelm.serve.measure.Measure`), or the reason why it cannot
            be judged.
        begin: Begins a text.
        limits: Budget and longest wait of a batch, length of the queue, time for an answer, tokens
            of a request.
    """

    def __init__(
        self,
        judge: Callable[[Sequence[Request]], Sequence[Judgement]],
        measure: Callable[[Request, bool, bool], Size],
        begin: Callable[[Order], Writing],
        limits: Limits,
    ) -> None:
        self.stats = Stats()
        self._judge_requests = judge
        self._measure = measure
        self._begin = begin
        self._limits = limits
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._texts: deque[_Text] = deque()
        self._writers: list[_Text] = []
        self._open: set[_Job | _Text] = set()
        self._seconds_per_job = 0.05
        self._turn_began: float | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="freelm-engine", daemon=True)

    @classmethod
    def of(cls, model: FreeLM, limits: Limits) -> "Engine":
        """The engine of a model."""
        network = model.model.network
        measure = Measure(network.form, network.max_positions, limits)

        def begin(order: Order) -> Writing:
            return Writing(network, order, limits.max_prompt_tokens)

        return cls(model.judge_requests, measure, begin, limits)

    # -- on the event loop -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; whoever still waits is told that the server stops.

        The batch in work is waited for, but no longer than `CLOSE_SECONDS`.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    @property
    def ended(self) -> bool:
        """Whether nothing is computed any more."""
        return not self._thread.is_alive()

    @property
    def ready(self) -> bool:
        """Whether requests can be answered: no batch has been in work for longer than they wait."""
        began = self._turn_began
        stuck = began is not None and time.monotonic() - began > self._limits.request_seconds
        return self._thread.is_alive() and not self._closed and not stuck

    @property
    def waiting(self) -> int:
        """Jobs that are not finished."""
        return len(self._open)

    async def judge(
        self, requests: Sequence[Request], truncate: bool = False, shown: bool = False
    ) -> list[Judged]:
        """Judge requests; the answers come in their order.

        Args:
            requests: What is to be judged, of one client.
            truncate: Whether texts that are too long may be cut.
            shown: Whether the answers also say what was read.

        Raises:
            ApiError: 400, if a request does not fit the model or passes a limit; 429, if too many
                wait; 503, if no answer came in time or the server stops.
        """
        refuse_endless(requests, self._limits)
        answer: asyncio.Queue[Any] = asyncio.Queue()
        job = _Job(requests, truncate, shown, _messenger(answer))
        self._admit([job], self._jobs)
        try:
            return _unwrap(await self._in_time(answer))
        finally:
            self._leave([job])

    async def write(self, orders: Sequence[Order]) -> AsyncGenerator[tuple[int, Piece], None]:
        """Write texts; their pieces come as they are written, each with the number of its text.

        Raises:
            ApiError: As `judge`.
        """
        pieces: asyncio.Queue[Any] = asyncio.Queue()
        texts = [_Text(order, _messenger(pieces, i)) for i, order in enumerate(orders)]
        self._admit(texts, self._texts)
        try:
            unfinished = len(texts)
            while unfinished:
                index, found = await self._in_time(pieces)
                piece: Piece = _unwrap(found)
                unfinished -= piece.finish is not None
                yield index, piece
        finally:
            self._leave(texts)

    async def _in_time(self, answers: asyncio.Queue[Any]) -> Any:
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                return await answers.get()
        except TimeoutError:
            raise ApiError(
                503, "no answer came in time", "timeout", retry_after=self._retry_after()
            ) from None

    def _admit(self, jobs: Sequence[Any], queue: deque[Any]) -> None:
        with self._changed:
            if self._closed:
                raise server_stopping()
            if len(self._open) + len(jobs) > self._limits.max_queue:
                self.stats.refused += 1
                raise ApiError(
                    429,
                    "too many requests are waiting; the limit max_queue of this server is "
                    f"{self._limits.max_queue}",
                    "queue_full",
                    retry_after=self._retry_after(),
                )
            self._open.update(jobs)
            queue.extend(jobs)
            self._changed.notify()

    def _leave(self, jobs: Sequence[Any]) -> None:
        """Forget jobs; those that are not finished are dropped."""
        with self._changed:
            for job in jobs:
                if job in self._open:
                    self._open.discard(job)
                    job.gone = True
                    self.stats.dropped += 1

    def _retry_after(self) -> int:
        seconds = math.ceil(len(self._open) * self._seconds_per_job)
        return min(max(seconds, 1), LONGEST_RETRY_SECONDS)

    # -- in the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while self._wait():
            started = self._turn_began = time.monotonic()
            units = self._collect()
            if units:
                self._judge_units(units)
            self._write_on()
            self._turn_began = None
            self.stats.busy_seconds += time.monotonic() - started
        with self._changed:
            left = list(self._open)
        for job in left:
            self._finish(job, server_stopping())

    def _wait(self) -> bool:
        """Wait for work; False when the engine is closed."""
        with self._changed:
            while not (self._closed or self._jobs or self._texts or self._writers):
                self._changed.wait()
            return not self._closed

    def _collect(self) -> list[_Unit]:
        """Units for one batch, at most one of them beyond the budget."""
        units: list[_Unit] = []
        room = self._limits.batch_tokens
        # Nobody waits for company while a text is being written: the time is used for that.
        patience = 0.0 if self._writers or self._texts else self._limits.longest_wait_ms / 1000
        until = time.monotonic() + patience
        while room > 0:
            job = self._next_job(until if units else 0.0)
            if job is None:
                break
            unit = self._take(job)
            if unit is not None:
                units.append(unit)
                room -= unit.tokens
        return units

    def _next_job(self, until: float) -> _Job | None:
        with self._changed:
            while True:
                while self._jobs:
                    job = self._jobs.popleft()
                    if not job.gone:
                        return job
                left = until - time.monotonic()
                if left <= 0 or self._closed:
                    return None
                self._changed.wait(left)

    def _take(self, job: _Job) -> _Unit | None:
        """The next unit of a job, which goes to the end of the queue if it has more."""
        try:
            if not job.units:
                self._open_request(job)
        except Exception as error:
            self._finish(job, error)
            return None
        index, request, tokens = job.units.popleft()
        job.in_work += 1
        if job.has_more:
            with self._changed:
                self._jobs.append(job)
        return _Unit(job, index, request, tokens)

    def _open_request(self, job: _Job) -> None:
        index = len(job.sizes)
        request = job.requests[index]
        try:
            size = self._measure(request, job.truncate, job.shown)
        except ApiError as problem:
            problem.text = index
            raise
        job.tokens += size.tokens
        most = self._limits.max_request_tokens
        if job.tokens > most:
            raise too_many_tokens("max_request_tokens", most, "the request")
        job.sizes.append(size)
        job.margins.append({})
        job.truncated.append(False)
        parts = split_claims(request, size, self._limits.batch_tokens)
        job.units.extend((index, part, tokens) for part, tokens in parts)

    def _judge_units(self, units: Sequence[_Unit]) -> None:
        units = [unit for unit in units if not unit.job.gone]
        if not units:
            return
        started = time.monotonic()
        try:
            judged = self._judge_requests([unit.request for unit in units])
        except Exception as error:
            if len(units) == 1:
                self._finish(units[0].job, error)
            else:
                # One of them is at fault; the others must not suffer for it.
                for unit in units:
                    self._judge_units([unit])
            return
        self.stats.batches += 1
        self.stats.batch_sizes[len(units)] += 1
        for unit, judgement in zip(units, judged, strict=True):
            self._deliver(unit, judgement)
        seconds = (time.monotonic() - started) / len(units)
        self._seconds_per_job += 0.1 * (seconds - self._seconds_per_job)

    def _deliver(self, unit: _Unit, judgement: Judgement) -> None:
        job = unit.job
        job.choice_temperature = judgement.choice_temperature
        job.margins[unit.index].update(
            zip(unit.request.claims, map(float, judgement.margins), strict=True)
        )
        job.truncated[unit.index] |= judgement.truncated
        job.in_work -= 1
        self.stats.claims += len(unit.request.claims)
        self.stats.tokens += unit.tokens
        if not job.in_work and not job.has_more:
            self._finish(job, job.results())

    def _write_on(self) -> None:
        """Write one token of every text in the making; at most one new text begins."""
        with self._changed:
            # The first token of a text takes as long as a batch: the whole prompt is read for it.
            if self._texts and len(self._writers) < self._limits.max_writers:
                self._writers.append(self._texts.popleft())
        for text in self._writers:
            if not text.gone:
                self._write_token(text)
        self._writers = [text for text in self._writers if text in self._open]

    def _write_token(self, text: _Text) -> None:
        try:
            text.writing = text.writing or self._begin(text.order)
            piece = text.writing.step()
        except Exception as error:
            self._finish(text, error)
            return
        self.stats.written_tokens += 1
        if piece.finish is None:
            text.finish(piece)
        else:
            self._finish(text, piece)

    def _finish(self, job: Any, result: Any) -> None:
        if isinstance(result, Exception) and not isinstance(result, ApiError):
            # The message may quote a client's text; its kind may be said at any level.
            log.error("the engine failed: %s", type(result).__name__)
            log.debug("the engine failed", exc_info=result)
            result = internal_error()
        with self._changed:
            self._open.discard(job)
        job.gone = True
        job.finish(result)


def _messenger(answers: asyncio.Queue[Any], index: int | None = None) -> Finish:
    """Carries a result from the thread to a queue of the running event loop."""
    loop = asyncio.get_running_loop()

    def deliver(result: Any) -> None:
        try:
            loop.call_soon_threadsafe(
                answers.put_nowait, result if index is None else (index, result)
            )
        except RuntimeError:
            # The loop has closed: nobody waits any more.
            return

    return deliver


def _unwrap(result: Any) -> Any:
    if isinstance(result, ApiError):
        raise result
    return result
