"""The engine: one thread that judges and writes for all clients of the event loop.

Clients take turns. A turn is a unit: a text with as many of its claims as fit a batch. The thread
collects units until they fill a batch or nobody has waited longer than `longest_wait_ms`, and
judges them together. A batch is sized by the measured speed, so that it takes about
`SLICE_SECONDS`. Between two batches texts are continued for as long again, token by token.

A unit holds its job, so no answer can reach another client. The job of a client that has left is
dropped.
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

from freelm.generate import TextGenerator, TextPiece
from freelm.judge.requests import Judgement, PreparedRequest
from freelm.serve.backend import Backend, PreparedText
from freelm.serve.http.errors import ApiError, internal_error, server_stopping
from freelm.serve.http.limits import Limits
from freelm.serve.scheduling import ClientShares, FairQueue, Throughput

log = logging.getLogger("freelm.serve")

MAX_RETRY_SECONDS = 60

CLOSE_SECONDS = 5.0
"""How long closing waits for the batch in progress, which usually takes a second or two."""

SLICE_SECONDS = 0.1
"""Aim for the time of a batch, and the longest time for writing between two batches."""

MIN_BATCH_TOKENS = 256
"""Smaller batches would waste a slow machine's time on overhead."""

MAX_FAILURES = 3
"""The engine restarts after so many failures in a row, and ends after one more."""

Deliver = Callable[[Any], None]


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
    failures: int = 0
    busy_seconds: float = 0.0


@dataclass(eq=False, slots=True)
class _JudgingJob:
    """Prepared requests of one client, and their judgements so far."""

    client: str
    requests: Sequence[PreparedRequest]
    deliver: Deliver
    remaining_tokens: int
    units: deque["_Unit"] = field(default_factory=deque)
    opened: int = 0
    judgements: list[list[Judgement]] = field(default_factory=list)
    in_progress: int = 0
    abandoned: bool = False

    @property
    def has_units(self) -> bool:
        """Whether there is something left to judge."""
        return bool(self.units) or self.opened < len(self.requests)

    def take_unit(self, max_tokens: int) -> "_Unit":
        """The next unit, of at most `max_tokens` tokens if possible."""
        if not self.units:
            request = self.requests[self.opened]
            # Every unit reads the context again: give it at least as many tokens of claims.
            budget = max(max_tokens, 2 * request.num_context_tokens)
            parts = request.split(budget)
            self.units.extend(_Unit(self, self.opened, part) for part in parts)
            self.judgements.append([])
            self.opened += 1
        unit = self.units.popleft()
        self.in_progress += 1
        self.remaining_tokens -= unit.num_tokens
        return unit

    def results(self) -> list[Judgement]:
        """One judgement per request."""
        return [Judgement.join(parts) for parts in self.judgements]


@dataclass(eq=False, slots=True)
class _WritingJob:
    """A text that is being written for one client."""

    client: str
    generator: TextGenerator
    deliver: Deliver
    remaining_tokens: int
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class _Unit:
    """A part of one request that is judged at once."""

    job: _JudgingJob
    index: int
    request: PreparedRequest

    @property
    def num_tokens(self) -> int:
        return _num_tokens(self.request)


_Job = _JudgingJob | _WritingJob


class Engine:
    """Judges and writes for many clients in one thread.

    Args:
        backend: The model.
        limits: Size and longest wait of a batch, length of the queue, time for an answer.
        on_failure: Called in the engine's thread when it has failed for good.
        clock: Seconds that pass, for tests.
    """

    def __init__(
        self,
        backend: Backend,
        limits: Limits,
        on_failure: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.backend = backend
        self.stats = Stats()
        self.throughput = Throughput()
        self.on_failure = on_failure
        self._limits = limits
        self._clock = clock
        self._changed = threading.Condition()
        self._judging: FairQueue[_JudgingJob] = FairQueue()
        self._unstarted: FairQueue[_WritingJob] = FairQueue()
        self._writers: deque[_WritingJob] = deque()
        self._open: set[_Job] = set()
        # Judging and writing have a queue each: texts that are written never lock out judgements.
        self._shares = {kind: ClientShares(limits.max_queue) for kind in (_JudgingJob, _WritingJob)}
        self._seconds_per_job = 0.05
        self._turn_started: float | None = None
        self._closed = False
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="freelm-engine", daemon=True)

    # -- on the event loop -------------------------------------------------------------------------

    def measure_speed(self, batch: Sequence[PreparedRequest]) -> None:
        """Judge a sample, so that the limits of time hold from the first request on.

        Call before `start`.
        """
        self.backend.judge_prepared(batch)  # the first batch is slower
        started = self._clock()
        self.backend.judge_prepared(batch)
        num_tokens = sum(map(_num_tokens, batch))
        self.throughput.record(num_tokens, self._clock() - started)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; requests in the queue are answered that the server is stopping.

        Waits for the batch in progress, but no longer than `CLOSE_SECONDS`.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    @property
    def ended(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    @property
    def failed(self) -> bool:
        """Whether the engine has failed for good."""
        return self._failed

    @property
    def ready(self) -> bool:
        """Whether requests can be answered: no batch has taken longer than requests may wait."""
        started = self._turn_started
        stuck = started is not None and self._clock() - started > self._limits.request_seconds
        return self._thread.is_alive() and not self._closed and not stuck

    @property
    def waiting(self) -> int:
        """Unfinished jobs."""
        return len(self._open)

    async def judge(self, requests: Sequence[PreparedRequest], client: str = "") -> list[Judgement]:
        """Judge requests; the answers are in their order.

        Args:
            requests: Tokenized requests.
            client: Whose share of the machine they use.

        Raises:
            ApiError: 400, if the machine cannot finish them in time even when idle; 429, if too
                much is waiting; 503, if no answer came in time or the server is stopping.
        """
        tokens = sum(map(_num_tokens, requests))
        answers: asyncio.Queue[Any] = asyncio.Queue()
        job = _JudgingJob(client, requests, _deliver_to(answers), tokens)
        self._admit([job])
        try:
            return _unwrap(await self._in_time(answers))
        finally:
            self._leave([job])

    async def write(
        self, texts: Sequence[PreparedText], client: str = ""
    ) -> AsyncGenerator[tuple[int, TextPiece], None]:
        """Write texts; yields pieces as they are written, each with the index of its text.

        Raises:
            ApiError: 429, if too much is waiting; 503, if no piece came in time or the server is
                stopping.
        """
        pieces: asyncio.Queue[Any] = asyncio.Queue()
        jobs = [
            _WritingJob(client, text.generator, _deliver_to(pieces, i), text.max_new_tokens)
            for i, text in enumerate(texts)
        ]
        self._admit(jobs)
        try:
            unfinished = len(jobs)
            while unfinished:
                index, result = await self._in_time(pieces)
                piece: TextPiece = _unwrap(result)
                unfinished -= piece.finish_reason is not None
                yield index, piece
        finally:
            self._leave(jobs)

    async def _in_time(self, answers: asyncio.Queue[Any]) -> Any:
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                return await answers.get()
        except TimeoutError:
            raise ApiError(
                503, "no answer came in time", "timeout", retry_after=self._retry_after()
            ) from None

    def _admit(self, jobs: Sequence[_Job]) -> None:
        with self._changed:
            if self._failed:
                raise internal_error()
            if self._closed:
                raise server_stopping()
            try:
                self._check_room(jobs)
            except ApiError:
                self.stats.refused += 1
                raise
            self._shares[type(jobs[0])].add(jobs[0].client, len(jobs))
            self._open.update(jobs)
            for job in jobs:
                if isinstance(job, _JudgingJob):
                    self._judging.add(job)
                else:
                    self._unstarted.add(job)
            self._changed.notify()

    def _check_room(self, jobs: Sequence[_Job]) -> None:
        client, shares = jobs[0].client, self._shares[type(jobs[0])]
        if not shares.admits(client, len(jobs)):
            raise ApiError(
                429,
                "too many requests are waiting; the limit max_queue of this server is "
                f"{self._limits.max_queue}, shared by its clients",
                "queue_full",
                retry_after=self._retry_after(),
            )
        if isinstance(jobs[0], _JudgingJob):
            self._check_time(jobs[0], shares.num_clients(client))

    def _check_time(self, job: _JudgingJob, num_clients: int) -> None:
        """Refuse work that cannot be finished within `request_seconds` at the measured speed."""
        limit = self._limits.request_seconds
        alone = self.throughput.seconds(job.remaining_tokens)
        if alone > limit:
            raise ApiError(
                400,
                f"the request has {job.remaining_tokens} tokens; this machine needs {alone:.0f} "
                f"seconds for them, and the limit request_seconds is {limit:g}; split the request",
                "limit_exceeded",
            )
        waiting = sum(
            other.remaining_tokens
            for other in self._open
            if isinstance(other, _JudgingJob) and other.client == job.client
        )
        seconds = self.throughput.seconds(waiting + job.remaining_tokens) * num_clients
        if waiting and seconds > limit:
            raise ApiError(
                429,
                f"with your waiting requests this one would take {seconds:.0f} seconds; the limit "
                f"request_seconds of this server is {limit:g}",
                "queue_full",
                retry_after=min(math.ceil(seconds - limit), MAX_RETRY_SECONDS),
            )

    def _leave(self, jobs: Sequence[_Job]) -> None:
        """Drop jobs that are not finished."""
        with self._changed:
            for job in jobs:
                if job in self._open:
                    self._close_job(job)
                    self.stats.dropped += 1

    def _close_job(self, job: _Job) -> None:
        """Forget a job; call with the lock held."""
        job.abandoned = True
        self._open.discard(job)
        self._shares[type(job)].remove(job.client)
        if isinstance(job, _JudgingJob):
            self._judging.remove(job)
        else:
            self._unstarted.remove(job)

    def _retry_after(self) -> int:
        seconds = math.ceil(len(self._open) * self._seconds_per_job)
        return min(max(seconds, 1), MAX_RETRY_SECONDS)

    # -- in the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while not (self._closed or self._failed):
            try:
                while self._wait():
                    self._take_turn()
                    failures = 0
            except BaseException as error:
                failures += 1
                self._recover(error, restart=failures <= MAX_FAILURES)
        self._finish_all(internal_error() if self._failed else server_stopping())
        if self._failed:
            self.on_failure()

    def _recover(self, error: BaseException, restart: bool) -> None:
        """Fail everything that is open, since nobody knows what state it is in."""
        self.stats.failures += 1
        self._failed = not restart
        outcome = "it restarts" if restart else "it ends"
        log.critical("the engine failed: %s; %s", type(error).__name__, outcome)
        log.debug("the engine failed", exc_info=error)
        self._turn_started = None
        self._writers.clear()
        self._finish_all(internal_error())

    def _finish_all(self, error: ApiError) -> None:
        with self._changed:
            jobs = list(self._open)
        for job in jobs:
            self._finish(job, error)

    def _wait(self) -> bool:
        """Wait for work; False when the engine is closed."""
        with self._changed:
            while not (self._closed or self._judging or self._unstarted or self._writers):
                self._changed.wait()
            return not self._closed

    def _take_turn(self) -> None:
        started = self._turn_started = self._clock()
        units = self._collect()
        if units:
            self._judge_units(units)
        self._continue_texts()
        self._turn_started = None
        self.stats.busy_seconds += self._clock() - started

    @property
    def _batch_tokens(self) -> int:
        """Tokens that the machine judges in about `SLICE_SECONDS`."""
        speed = self.throughput.tokens_per_second
        if speed is None:
            return self._limits.batch_tokens
        return min(max(int(speed * SLICE_SECONDS), MIN_BATCH_TOKENS), self._limits.batch_tokens)

    def _collect(self) -> list[_Unit]:
        """Units for one batch; the last one may exceed its size."""
        units: list[_Unit] = []
        batch_tokens = room = self._batch_tokens
        # While a text is being written, continue it rather than wait for more requests.
        patience = 0.0 if self._writers or self._unstarted else self._limits.longest_wait_ms / 1000
        deadline = self._clock() + patience
        while room > 0:
            unit = self._next_unit(batch_tokens, deadline if units else 0.0)
            if unit is None:
                break
            units.append(unit)
            room -= unit.num_tokens
        return units

    def _next_unit(self, max_tokens: int, deadline: float) -> _Unit | None:
        """The unit whose turn it is; waits for one until the deadline."""
        with self._changed:
            while True:
                job = self._judging.next()
                if job is not None:
                    unit = job.take_unit(max_tokens)
                    if not job.has_units:
                        self._judging.remove(job)
                    return unit
                left = deadline - self._clock()
                if left <= 0 or self._closed:
                    return None
                self._changed.wait(left)

    def _judge_units(self, units: Sequence[_Unit]) -> None:
        units = [unit for unit in units if not unit.job.abandoned]
        if not units:
            return
        started = self._clock()
        try:
            judgements = self.backend.judge_prepared([unit.request for unit in units])
        except Exception as error:
            if len(units) == 1:
                self._finish(units[0].job, error)
            else:
                # One of them is at fault; judge each alone so that the others get their answers.
                for unit in units:
                    self._judge_units([unit])
            return
        seconds = self._clock() - started
        self.throughput.record(sum(unit.num_tokens for unit in units), seconds)
        self._seconds_per_job += 0.1 * (seconds / len(units) - self._seconds_per_job)
        self.stats.batches += 1
        self.stats.batch_sizes[len(units)] += 1
        for unit, judgement in zip(units, judgements, strict=True):
            self._record(unit, judgement)

    def _record(self, unit: _Unit, judgement: Judgement) -> None:
        job = unit.job
        job.judgements[unit.index].append(judgement)
        job.in_progress -= 1
        self.stats.claims += len(unit.request.claims)
        self.stats.tokens += unit.num_tokens
        if not job.in_progress and not job.has_units:
            self._finish(job, job.results())

    def _continue_texts(self) -> None:
        """Write one token of each text in turn, for about `SLICE_SECONDS`; begin at most one."""
        self._begin_text()
        deadline = self._clock() + SLICE_SECONDS
        for _ in range(len(self._writers)):
            job = self._writers.popleft()
            if not job.abandoned:
                self._write_token(job)
            if not job.abandoned:
                self._writers.append(job)
            if self._clock() >= deadline:
                break

    def _begin_text(self) -> None:
        # The first token takes as long as a batch, because the whole prompt is read for it.
        with self._changed:
            if len(self._writers) >= self._limits.max_writers:
                return
            active = Counter(job.client for job in self._writers)
            most = max(1, self._limits.max_writers // 2)
            job = self._unstarted.next(skip={c for c, n in active.items() if n >= most})
            if job is not None:
                self._unstarted.remove(job)
                self._writers.append(job)

    def _write_token(self, job: _WritingJob) -> None:
        try:
            ((_, piece),) = job.generator.step()
        except Exception as error:
            self._finish(job, error)
            return
        self.stats.written_tokens += 1
        job.remaining_tokens -= 1
        if piece.finish_reason is None:
            job.deliver(piece)
        else:
            self._finish(job, piece)

    def _finish(self, job: _Job, result: Any) -> None:
        if isinstance(result, Exception) and not isinstance(result, ApiError):
            # The message may quote a client's text; its type may be logged at any level.
            log.error("a request failed in the engine: %s", type(result).__name__)
            log.debug("a request failed in the engine", exc_info=result)
            result = internal_error()
        with self._changed:
            if job not in self._open:
                return
            self._close_job(job)
        job.deliver(result)


def _num_tokens(request: PreparedRequest) -> int:
    return request.num_context_tokens + request.num_claim_tokens


def _deliver_to(answers: asyncio.Queue[Any], index: int | None = None) -> Deliver:
    """A function that passes results from the thread to a queue of the running event loop."""
    loop = asyncio.get_running_loop()

    def deliver(result: Any) -> None:
        try:
            loop.call_soon_threadsafe(
                answers.put_nowait, result if index is None else (index, result)
            )
        except RuntimeError:
            # The loop is closed: nobody is waiting.
            return

    return deliver


def _unwrap(result: Any) -> Any:
    if isinstance(result, ApiError):
        raise result
    return result
