"""Keys of clients from a file, and how much each client may use a minute."""

import hashlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from freelm.errors import ConfigError
from freelm.io.strict_yaml import read_yaml
from freelm.serve.http.asgi import Scope
from freelm.serve.http.errors import ApiError

log = logging.getLogger("freelm.serve")

MIN_KEY_LENGTH = 16
KEY_FORM = f"at least {MIN_KEY_LENGTH} printable ASCII characters without spaces"

CLIENT = "freelm.client"
"""Where the scope of a request holds its `Client`."""


def is_good_key(key: str) -> bool:
    """Whether a key is long enough and can be sent in a header."""
    return len(key) >= MIN_KEY_LENGTH and key.isascii() and key.isprintable() and " " not in key


def digest(key: str) -> bytes:
    """What is compared instead of a key: its time reveals nothing about the key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _check_key(key: str) -> str:
    if not is_good_key(key):
        raise ValueError(f"must be {KEY_FORM}")
    return key


class KeyEntry(BaseModel):
    """One entry of a key file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    key: Annotated[str, AfterValidator(_check_key)]
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None


_ENTRIES = TypeAdapter(Annotated[list[KeyEntry], Field(min_length=1)])


class Allowance:
    """An amount per minute, refilled evenly (a token bucket that holds one minute's amount).

    Args:
        per_minute: The amount.
        clock: Seconds that pass.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._updated = clock()

    def take(self, amount: int) -> float:
        """Take an amount if it is there; returns 0, else the seconds until it will be."""
        left = self._refill()
        if amount > left:
            return (amount - left) * 60 / self.per_minute
        self._left -= amount
        return 0.0

    @property
    def left(self) -> int:
        """The whole amount that is left."""
        return int(self._refill())

    @property
    def seconds_to_full(self) -> float:
        """Seconds until everything is refilled."""
        return (self.per_minute - self._refill()) * 60 / self.per_minute

    def _refill(self) -> float:
        now = self._clock()
        added = (now - self._updated) * self.per_minute / 60
        self._left = min(self._left + added, float(self.per_minute))
        self._updated = now
        return self._left


@dataclass(frozen=True, slots=True)
class Client:
    """The owner of a key.

    Attributes:
        entry: Its entry in the key file.
        allowances: `requests` and `tokens`, those that are limited.
    """

    entry: KeyEntry
    allowances: dict[str, Allowance]

    def use(self, kind: str, amount: int) -> None:
        """Count requests or tokens.

        Raises:
            ApiError: 429, if the minute's amount is used up; 400, if it could never suffice.
        """
        allowance = self.allowances.get(kind)
        if allowance is None:
            return
        limit = f"the limit of this key is {allowance.per_minute} {kind} a minute"
        if amount > allowance.per_minute:
            raise ApiError(
                400, f"the request has {amount} {kind}; {limit}; split it", "limit_exceeded"
            )
        seconds = allowance.take(amount)
        if seconds:
            raise ApiError(429, limit, "rate_limit_exceeded", retry_after=math.ceil(seconds))

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What is left, in the headers of the OpenAI API."""
        return [
            (f"x-ratelimit-{name}-{kind}".encode(), value.encode())
            for kind, allowance in self.allowances.items()
            for name, value in (
                ("limit", str(allowance.per_minute)),
                ("remaining", str(allowance.left)),
                ("reset", f"{math.ceil(allowance.seconds_to_full)}s"),
            )
        ]


class KeyFile:
    """The keys of a YAML file: a list of entries as in `KeyEntry`.

    Args:
        path: The file.
        clock: Seconds that pass, for tests.

    Raises:
        ConfigError: If the file is missing or wrong. The message never shows a key.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._clients: dict[bytes, Client] = {}
        self._load()

    def __len__(self) -> int:
        return len(self._clients)

    def find(self, key_digest: bytes) -> Client | None:
        """The client with a key, given by `digest`."""
        return self._clients.get(key_digest)

    def reload(self) -> None:
        """Read the file again; if it is wrong, the old keys stay and one line is logged."""
        try:
            self._load()
        except ConfigError as error:
            log.error("the old keys stay: %s", error)
        else:
            log.info("keys reloaded: %d", len(self))

    def _load(self) -> None:
        before = {client.entry: client for client in self._clients.values()}
        # An unchanged entry keeps what it has used of its minute.
        clients = [before.get(entry) or self._client(entry) for entry in _read(self._path)]
        self._clients = {digest(client.entry.key): client for client in clients}

    def _client(self, entry: KeyEntry) -> Client:
        rates = {"requests": entry.requests_per_minute, "tokens": entry.tokens_per_minute}
        return Client(
            entry,
            {kind: Allowance(rate, self._clock) for kind, rate in rates.items() if rate},
        )


def client_of(scope: Scope) -> Client | None:
    """The client whose key a request has; None without a key file."""
    client: Client | None = scope.get(CLIENT)
    return client


def _read(path: Path) -> list[KeyEntry]:
    try:
        entries = _ENTRIES.validate_python(read_yaml(path, ConfigError))
    except ValidationError as error:
        faults = "; ".join(_describe(fault["loc"], fault["msg"]) for fault in error.errors())
        raise ConfigError(f"{path}: {faults}") from None
    for field in ("name", "key"):
        if len({getattr(entry, field) for entry in entries}) < len(entries):
            raise ConfigError(f"{path}: two entries have the same {field}")
    return entries


def _describe(place: tuple[Any, ...], message: str) -> str:
    """A fault with its place, but without words of the file that might be a key."""
    if not place:
        return "must be a list of entries, each with `name` and `key`"
    field = next((str(part) for part in place[1:] if part in KeyEntry.model_fields), None)
    if field is None:
        message = message if len(place) == 1 else "has an unknown field"
        return f"entry {place[0] + 1} {message}"
    return f"entry {place[0] + 1}: {field}: {message.removeprefix('Value error, ')}"
