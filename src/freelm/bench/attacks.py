"""`freelm bench serve --attacks`: honest requests while hostile ones arrive.

The server is one that the benchmark starts on 127.0.0.1. Attackers come from 127.0.0.2, so that the
server can tell them from the honest client. Each attack is bounded in requests and in time.
"""

import asyncio
import gzip
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2

from freelm.bench.serve import Tally, Watch, ask, quantile, server_process

ATTACKER = "127.0.0.2"
AT_ONCE = 8
"""Hostile requests in progress; of connections that are only held, all are open at once."""

MODEL = "attacked"
"""Alias of the served model, for requests that must name it."""

PAUSE_SECONDS = 0.05
"""Between two honest requests."""


@dataclass(frozen=True)
class AttackBench:
    """Settings of the benchmark.

    Attributes:
        model: Model to serve.
        seconds: Longest time of an attack, and time of the measurement without one.
        requests: Most requests of an attack.
    """

    model: str
    seconds: float = 10.0
    requests: int = 500


@dataclass
class Attack:
    """One running attack: where it goes, when it ends, and what was answered."""

    url: str
    name: str
    seconds: float
    requests: int
    answers: Counter[str] = field(default_factory=Counter)
    tried: int = 0

    _ends: float | None = None

    @property
    def seconds_left(self) -> float:
        """Time until the attack ends; it begins when this is first asked."""
        now = time.perf_counter()
        if self._ends is None:
            self._ends = now + self.seconds
        return max(self._ends - now, 0.0)

    def goes_on(self) -> bool:
        """Whether one more request may be sent; counts it."""
        if self.tried >= self.requests or not self.seconds_left:
            return False
        self.tried += 1
        return True


Run = Callable[[Attack], Awaitable[None]]


def run_attack_bench(bench: AttackBench) -> Iterator[dict[str, object]]:
    """Measure honest requests alone, and during every attack.

    Yields:
        Rows with `attack, tried, answers, status_500, honest, honest_failed, honest_p99_ms,
        memory_max_mb`. `answers` counts responses to the attacker by status, `status_500` those
        with status 500 to anybody, `honest` the honest requests.
    """
    with server_process("freelm", bench.model, "--alias", MODEL) as (process, url):
        for name, attack in {"none": _no_attack, **ATTACKS}.items():
            with Watch(url, process.pid) as watch:
                running = Attack(url, name, bench.seconds, bench.requests)
                honest = asyncio.run(under_attack(running, attack))
            failed = honest.offered - honest.statuses["200"]
            yield {
                "attack": name,
                "tried": running.tried,
                "answers": ", ".join(f"{status}: {n}" for status, n in running.answers.items()),
                "status_500": running.answers["500"] + honest.statuses["500"],
                "honest": honest.offered,
                "honest_failed": failed,
                "honest_p99_ms": quantile([1000 * second for second in honest.seconds], 99),
                "memory_max_mb": watch.row()["memory_max_mb"],
            }


async def under_attack(running: Attack, attack: Run) -> Tally:
    """Send small honest requests during an attack, and one after it."""
    tally = Tally()
    async with httpx2.AsyncClient(base_url=running.url, timeout=120, trust_env=False) as http:
        task = asyncio.ensure_future(attack(running))
        number = 0
        while not task.done():
            await ask(http, f"{running.name} {number}", tally)
            number += 1
            await asyncio.sleep(PAUSE_SECONDS)
        await task
        await ask(http, f"after {running.name}", tally)
    return tally


async def _no_attack(attack: Attack) -> None:
    await asyncio.sleep(attack.seconds)


def _posts(path: str, body: bytes, coding: str | None = None) -> Run:
    """An attack that sends one body again and again, `AT_ONCE` at a time."""
    headers = {"content-type": "application/json"}
    if coding is not None:
        headers["content-encoding"] = coding

    async def run(attack: Attack) -> None:
        transport = httpx2.AsyncHTTPTransport(local_address=ATTACKER)

        async def send(http: httpx2.AsyncClient) -> None:
            while attack.goes_on():
                try:
                    response = await http.post(
                        path, content=body, headers=headers, timeout=attack.seconds_left + 1
                    )
                    attack.answers[str(response.status_code)] += 1
                except httpx2.TransportError as error:
                    attack.answers[type(error).__name__] += 1

        async with httpx2.AsyncClient(
            base_url=attack.url, transport=transport, trust_env=False
        ) as http:
            await asyncio.gather(*(send(http) for _ in range(AT_ONCE)))

    return run


def _sends(data: bytes) -> Run:
    """An attack that sends bytes on connections of their own, and reads the answers."""

    async def run(attack: Attack) -> None:
        async def send() -> None:
            while attack.goes_on():
                attack.answers[await _raw(attack, data)] += 1

        await asyncio.gather(*(send() for _ in range(AT_ONCE)))

    return run


def _holds(data: bytes) -> Run:
    """An attack that sends bytes on many connections, and reads nothing until it ends."""

    async def run(attack: Attack) -> None:
        async def hold() -> None:
            try:
                _, writer = await _connect(attack)
                writer.write(data)
                await asyncio.sleep(attack.seconds_left)
                writer.transport.abort()
                attack.answers["not read"] += 1
            except OSError as error:
                attack.answers[type(error).__name__] += 1

        held = []
        while attack.goes_on():
            held.append(asyncio.ensure_future(hold()))
            await asyncio.sleep(0.002)
        await asyncio.gather(*held)

    return run


async def _connect(attack: Attack) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(attack.url)
    return await asyncio.open_connection(
        address.hostname, address.port, local_addr=(ATTACKER, 0), limit=2**20
    )


async def _raw(attack: Attack, data: bytes) -> str:
    """The status of the answer to some bytes."""
    try:
        reader, writer = await _connect(attack)
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(65536), attack.seconds_left + 1)
        writer.transport.abort()
    except OSError as error:
        return type(error).__name__
    return answer.split(b" ")[1].decode() if b" " in answer else "closed"


def _body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def _post(body: bytes, *headers: str) -> bytes:
    lines = [
        "POST /classify HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


_QUESTION = {"type": "choice", "instructions": "x" * 3_000}
_CHOICES = [{"value": f"option {i}"} for i in range(255)]
_MANY_OPTIONS = _body(model=MODEL, input="a", questions=[{**_QUESTION, "choices": _CHOICES}] * 90)
_ANSWERED = _post(_body(input="a text", labels=[f"{i} " + "x" * 60 for i in range(100)]))

ATTACKS: dict[str, Run] = {
    "largest requests": _posts(
        "/rerank", _body(query="what is it?", documents=["some words " * 40] * 100)
    ),
    "64 completions a request": _posts(
        "/v1/completions", _body(model=MODEL, prompt=["The film is"] * 8, n=8, max_tokens=64)
    ),
    "small gzip, many long options": _posts("/v1/decisions", gzip.compress(_MANY_OPTIONS), "gzip"),
    "gzip bomb": _posts("/classify", gzip.compress(b'"' + bytes(10**8) + b'"'), "gzip"),
    "deep JSON": _posts("/classify", b"[" * 500_000),
    "malformed heads": _sends(b"GET / HTTP/9.9\nHost: a\n b\r\n\r\n"),
    "two lengths": _sends(_post(b"{}", "Transfer-Encoding: chunked")),
    "slow headers": _holds(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow"),
    "slow bodies": _holds(_post(b"{}")[:-1]),
    "answers that nobody reads": _holds(_ANSWERED * 4),
}
"""Name -> attack."""
