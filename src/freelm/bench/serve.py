"""`freelm bench serve`: requests per second of the server, and its behaviour under overload.

    freelm   `freelm serve`, which judges requests of many clients in shared batches
    plain    a FastAPI endpoint that judges one request at a time

All traffic stays on 127.0.0.1.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from freelm.bench.runner import BenchmarkError

SYSTEMS = ("freelm", "plain")
COMMANDS = {"freelm": ("freelm", "serve"), "plain": ("freelm.bench.plain_server",)}

START_SECONDS = 300
TIMES_CAPACITY = 10
MOST_IN_FLIGHT = 2_000
"""Open requests of the load generator; with more, it would measure itself."""

TEXT = "The soup was cold, the staff were kind, and nobody minded that we stayed until midnight. "
LABELS = ("food", "service", "price", "noise")


@dataclass(frozen=True)
class ServeBench:
    """Settings of the benchmark.

    Attributes:
        model: Model to serve.
        systems: Some of `SYSTEMS`.
        clients: Numbers of clients; each sends one request after the other.
        seconds: Measuring time per number of clients.
        overload_seconds: Duration of the test at ten times the capacity; 0 skips it.
    """

    model: str
    systems: Sequence[str] = SYSTEMS
    clients: Sequence[int] = (1, 8, 32, 128)
    seconds: float = 10.0
    overload_seconds: float = 60.0


@dataclass
class Tally:
    """Counts of responses by status, and the latencies of those with status 200."""

    offered: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def row(self, duration: float) -> dict[str, Any]:
        """The figures of a phase."""
        milliseconds = [1000 * second for second in self.seconds]
        return {
            "offered_per_s": self.offered / duration,
            "requests_per_s": len(milliseconds) / duration,
            "p50_ms": quantile(milliseconds, 50),
            "p99_ms": quantile(milliseconds, 99),
            "answers": ", ".join(f"{status}: {n}" for status, n in sorted(self.statuses.items())),
        }


def run_serve_bench(bench: ServeBench) -> Iterator[dict[str, Any]]:
    """Measure every system, phase by phase.

    Yields:
        Rows with `system, phase, clients, offered_per_s, requests_per_s, p50_ms, p99_ms, answers,
        health_max_ms, health_failed, memory_mb, memory_max_mb`. Times and rates count responses
        with status 200; `health_max_ms` is the slowest response of `/health` during the phase,
        memory that of the server at the end of the phase and at its peak.
    """
    for system in bench.systems:
        with server_process(system, bench.model) as (process, url):
            asyncio.run(closed_load(url, 1, min(2.0, bench.seconds)))  # to warm up
            for phase, clients, load in _phases(system, url, bench):
                with Watch(url, process.pid) as watch:
                    row = load()
                yield {"system": system, "phase": phase, "clients": clients, **row, **watch.row()}


def _phases(
    system: str, url: str, bench: ServeBench
) -> Iterator[tuple[str, int | None, Callable[[], dict[str, Any]]]]:
    """Name, number of clients and load of each phase."""
    best = 0.0

    def steady(clients: int) -> dict[str, Any]:
        nonlocal best
        row = asyncio.run(closed_load(url, clients, bench.seconds))
        best = max(best, row["requests_per_s"])
        return row

    for clients in bench.clients:
        yield "steady", clients, partial(steady, clients)
    if system == "freelm" and bench.overload_seconds:
        rate = TIMES_CAPACITY * best
        yield "overload", None, lambda: asyncio.run(open_load(url, rate, bench.overload_seconds))
        yield "afterwards", max(bench.clients), partial(steady, max(bench.clients))


class Watch:
    """Samples a server's memory and `/health` while it is under load.

    Args:
        url: Of the server.
        pid: Of its process.
        every: Seconds between two samples.
    """

    def __init__(self, url: str, pid: int, every: float = 0.5) -> None:
        self.url, self.pid, self.every = url, pid, every
        self.memory: list[float] = []
        self.health: list[float] = []
        self.failed = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def row(self) -> dict[str, float | None]:
        """The observations."""
        return {
            "health_max_ms": max(self.health, default=None),
            "health_failed": self.failed,
            "memory_mb": self.memory[-1] if self.memory else None,
            "memory_max_mb": max(self.memory, default=None),
        }

    def _sample(self) -> None:
        with httpx2.Client(base_url=self.url, timeout=120, trust_env=False) as http:
            while True:
                begin = time.perf_counter()
                try:
                    http.get("/health").raise_for_status()
                    self.health.append(1000 * (time.perf_counter() - begin))
                except httpx2.HTTPError:
                    self.failed += 1
                self.memory += _memory_mb(self.pid)
                if self._done.wait(self.every):
                    return


async def closed_load(url: str, clients: int, seconds: float) -> dict[str, Any]:
    """Load of clients that send one request after the other."""
    tally = Tally()
    begin = time.perf_counter()

    async def ask_on(http: httpx2.AsyncClient, client: int) -> None:
        number = 0
        while number == 0 or time.perf_counter() - begin < seconds:
            await ask(http, f"{client}.{number}", tally)
            number += 1

    async with _client(url, clients) as http:
        await asyncio.gather(*(ask_on(http, client) for client in range(clients)))
    return tally.row(time.perf_counter() - begin)


async def open_load(url: str, rate: float, seconds: float) -> dict[str, Any]:
    """Load at a fixed rate, whether or not earlier requests have been answered."""
    tally = Tally()
    begin = time.perf_counter()
    pending: set[asyncio.Task[None]] = set()
    number = 0
    async with _client(url, MOST_IN_FLIGHT) as http:
        while (now := time.perf_counter() - begin) < seconds:
            while number < rate * now and len(pending) < MOST_IN_FLIGHT:
                task = asyncio.create_task(ask(http, str(number), tally))
                pending.add(task)
                task.add_done_callback(pending.discard)
                number += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*pending)
    return tally.row(time.perf_counter() - begin)


async def ask(http: httpx2.AsyncClient, number: str, tally: Tally) -> None:
    """Send a small request and count its answer; `number` makes its text unlike all others."""
    body = {"input": f"{number} {TEXT}", "labels": list(LABELS)}
    begin = time.perf_counter()
    tally.offered += 1
    try:
        status = str((await http.post("/classify", json=body)).status_code)
    except httpx2.TransportError as error:
        status = type(error).__name__
    tally.statuses[status] += 1
    if status == "200":
        tally.seconds.append(time.perf_counter() - begin)


def _client(url: str, connections: int) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx2.AsyncClient(base_url=url, limits=limits, timeout=120, trust_env=False)


@contextmanager
def server_process(
    system: str, model: str, *options: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its address; it ends with the block."""
    command = [sys.executable, "-m", *COMMANDS[system], "--model", model, "--port", "0", *options]
    environment = {k: v for k, v in os.environ.items() if k != "FREELM_API_KEY"}
    # Its output goes to a file: an unread pipe would fill up and block it.
    with TemporaryDirectory() as folder, open(output := Path(folder) / "output", "w") as sink:
        process = subprocess.Popen(command, stderr=sink, stdout=sink, text=True, env=environment)
        try:
            yield process, _address(process, output)
        finally:
            process.terminate()
            process.wait()


def _address(process: subprocess.Popen[str], output: Path) -> str:
    for _ in range(START_SECONDS * 10):
        said = output.read_text()
        lines = [line for line in said.splitlines() if " at http" in line]
        if process.poll() is not None:
            raise BenchmarkError(f"the server did not start: {said.strip().splitlines()[-1:]}")
        if lines and _answers(url := lines[0].rpartition(" ")[2].rstrip("/")):
            return url
        time.sleep(0.1)
    raise BenchmarkError(f"the server did not answer within {START_SECONDS} s")


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health", trust_env=False).is_success
    except httpx2.TransportError:
        return False


def _memory_mb(pid: int) -> list[float]:
    """Resident memory of a process; empty where the system does not provide it."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
    return [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")]


def quantile(values: Sequence[float], percent: int) -> float | None:
    """A percentile; None without values."""
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
