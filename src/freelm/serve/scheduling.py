"""Scheduling: whose work is next, who may queue, and how fast the machine is. No threads here."""

from collections import Counter, OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

OLDEST_FIRST_EVERY = 4
"""One turn of a client in this many goes to its oldest job, so that large ones are not starved."""

MIN_MEASURED_TOKENS = 128
"""Smaller batches say little about throughput: overhead dominates their time."""

_DECAY = 0.8


class Job(Protocol):
    """Work of one client."""

    @property
    def client(self) -> str:
        """Whose work it is."""

    @property
    def remaining_tokens(self) -> int:
        """How much is left to do."""


J = TypeVar("J", bound=Job)


@dataclass(slots=True)
class _Backlog(Generic[J]):
    """The jobs of one client, oldest first, and how many turns it has had."""

    jobs: list[J] = field(default_factory=list)
    turns: int = 0


class FairQueue(Generic[J]):
    """Jobs of many clients. Clients take turns; a client's small jobs go before its large ones.

    So no client waits longer because another has more or larger jobs. A job stays in the queue
    until it is removed, and may be returned many times: a turn is for a piece of a job.
    """

    def __init__(self) -> None:
        self._backlogs: OrderedDict[str, _Backlog[J]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(backlog.jobs) for backlog in self._backlogs.values())

    def add(self, job: J) -> None:
        """Add a job."""
        self._backlogs.setdefault(job.client, _Backlog()).jobs.append(job)

    def remove(self, job: J) -> None:
        """Remove a job; nothing happens if it is not here."""
        backlog = self._backlogs.get(job.client)
        if backlog is None or job not in backlog.jobs:
            return
        backlog.jobs.remove(job)
        if not backlog.jobs:
            del self._backlogs[job.client]

    def next(self, skip: Collection[str] = ()) -> J | None:
        """The job whose turn it is; None if there is none.

        Args:
            skip: Clients that have no turn now.
        """
        for client, backlog in self._backlogs.items():
            if client not in skip:
                self._backlogs.move_to_end(client)
                backlog.turns += 1
                if backlog.turns % OLDEST_FIRST_EVERY == 0:
                    return backlog.jobs[0]
                return min(backlog.jobs, key=lambda job: job.remaining_tokens)
        return None


class ClientShares:
    """Counts the unfinished jobs of each client, and decides who may add more.

    While there is room everybody may use it. Once the capacity is used up, only clients that have
    less than an equal share of it may add jobs; so clients with many jobs lock nobody out.

    Args:
        capacity: Number of jobs.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._counts: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Unfinished jobs of all clients."""
        return self._counts.total()

    def num_clients(self, client: str) -> int:
        """Clients with unfinished jobs, this one included."""
        return len(self._counts.keys() | {client})

    def admits(self, client: str, num_jobs: int) -> bool:
        """Whether a client may add jobs."""
        if self.total + num_jobs <= self.capacity:
            return True
        share = self.capacity // self.num_clients(client)
        return self.num_clients(client) > 1 and self._counts[client] + num_jobs <= share

    def add(self, client: str, num_jobs: int) -> None:
        """Count new jobs."""
        self._counts[client] += num_jobs

    def remove(self, client: str) -> None:
        """Count a job as finished."""
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]


class Throughput:
    """Tokens per second, averaged over recent batches weighted by their time."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0

    def record(self, num_tokens: int, seconds: float) -> None:
        """Add a measurement; that of a small batch is ignored."""
        if num_tokens >= MIN_MEASURED_TOKENS and seconds > 0:
            self._tokens = _DECAY * self._tokens + num_tokens
            self._seconds = _DECAY * self._seconds + seconds

    @property
    def tokens_per_second(self) -> float | None:
        """The throughput; None until it was measured."""
        return self._tokens / self._seconds if self._seconds else None

    def seconds(self, num_tokens: int) -> float:
        """Expected time for a number of tokens; 0 until the throughput was measured."""
        speed = self.tokens_per_second
        return num_tokens / speed if speed else 0.0
