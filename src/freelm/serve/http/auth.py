"""Access control (host names, origins, the key) and the headers that restrict browsers."""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re

from freelm.serve.http.asgi import App, Message, Receive, Scope, Send, header_values
from freelm.serve.http.errors import ApiError
from freelm.serve.http.keys import CLIENT, Client, client_of, digest
from freelm.serve.settings import Settings

OPEN_PATHS = frozenset({"/health"})
"""Paths that need neither the key nor a known host: they reveal only that the process runs."""

MONITORING_PATHS = OPEN_PATHS | {"/ready", "/metrics"}
"""Answered however many requests are in progress, and not counted against a key."""

CHALLENGE = ("www-authenticate", 'Basic realm="FreeLM", charset="UTF-8"')
"""Makes a browser ask for the key (as the password) before it shows the page."""

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]@/\\?#\s]+))(?::([0-9]{1,5}))?")
"""`host` or `[IPv6 address]`, and a port or none (RFC 9112, section 3.2)."""


class AccessGuard:
    """Admits requests that name this server, have its key and come from no other site's page.

    The `Host` check stops pages of other sites whose name was rebound to this address; the `Origin`
    check stops their requests, because a browser adds a remembered key to them.

    Args:
        app: The application.
        settings: Hosts and key.
    """

    def __init__(self, app: App, settings: Settings) -> None:
        self._app = app
        self._hosts = settings.hosts
        self._key = None if settings.key is None else digest(settings.key)
        self._keys = settings.keys
        self._needs_key = settings.needs_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            self._check(scope)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        if scope["path"] in OPEN_PATHS:
            return
        hosts = header_values(scope, b"host")
        if len(hosts) != 1:
            raise ApiError(400, "send exactly one Host header", "bad_host")
        name = _host_name(hosts[0])
        if name is None:
            raise ApiError(400, "the Host header is malformed", "bad_host")
        if name not in self._hosts:
            raise ApiError(
                403,
                "this server does not go by that name; start it with --allow-host to add one",
                "host_not_allowed",
            )
        for origin in header_values(scope, b"origin"):
            if origin.partition("://")[2].lower() != hosts[0].lower():
                raise ApiError(
                    403, "pages of other sites may not use this server", "origin_not_allowed"
                )
        if not self._needs_key:
            return
        matched, client = self._owner(scope)
        if not matched:
            raise ApiError(
                401,
                "send the key of this server as `Authorization: Bearer KEY`, as `X-API-Key: KEY`, "
                "or as the password of `Authorization: Basic`",
                "invalid_api_key",
                headers=[CHALLENGE],
            )
        if client is not None:
            scope[CLIENT] = client
            if scope["path"] not in MONITORING_PATHS:
                client.use("requests", 1)

    def _owner(self, scope: Scope) -> tuple[bool, Client | None]:
        """Whether a request has a key of this server, and whose it is by the key file."""
        given = header_values(scope, b"x-api-key")
        given += [
            key
            for value in header_values(scope, b"authorization")
            if (key := _authorization_key(value)) is not None
        ]
        digests = [digest(key) for key in given]
        if self._keys is not None:
            for one in digests:
                if (client := self._keys.find(one)) is not None:
                    return True, client
        matches = [self._key is not None and hmac.compare_digest(one, self._key) for one in digests]
        return any(matches), None


class BrowserHeaders:
    """Adds to every response the headers that restrict what browsers do with it.

    Args:
        app: The application.
        pages: Path -> HTML; only its own inline scripts and styles may run.
    """

    def __init__(self, app: App, pages: dict[str, str]) -> None:
        self._app = app
        self._policies = {path: content_policy(html) for path, html in pages.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy = self._policies.get(scope["path"], content_policy(""))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [("content-security-policy", policy), *_BROWSER_HEADERS]
                encoded = [(name.encode(), value.encode()) for name, value in added]
                message = {**message, "headers": [*message.get("headers", []), *encoded]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


_BROWSER_HEADERS = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cache-control", "no-store"),
)


def content_policy(html: str) -> str:
    """A content security policy that allows the inline scripts and styles of a page only."""
    scripts, styles = (" ".join(_hashes(html, tag)) or "'none'" for tag in ("script", "style"))
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def client_id(scope: Scope) -> str:
    """Who shares one client's part of the queue.

    The owner of a key of the key file, else an IPv4 address, or an IPv6 network of 64 bits: a
    single IPv6 host has a whole /64 of addresses to send from.
    """
    client = client_of(scope)
    if client is not None:
        return f"key {client.entry.name}"
    address = (scope.get("client") or ("unknown", 0))[0]
    try:
        network = ipaddress.ip_network(address)
    except ValueError:
        return str(address)
    return str(network if network.version == 4 else network.supernet(new_prefix=64))


def _hashes(html: str, tag: str) -> list[str]:
    inline = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = [hashlib.sha256(text.encode()).digest() for text in inline]
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


def _host_name(host: str) -> str | None:
    """`example.org:8000` -> `example.org`; `[::1]:8000` -> `::1`; None if it is malformed."""
    match = _HOST.fullmatch(host)
    if match is None or int(match[3] or 0) > 65_535:
        return None
    return (match[1] or match[2]).lower()


def _authorization_key(value: str) -> str | None:
    """The key of `Bearer KEY`, or of `Basic` with the key as password and any name."""
    scheme, _, given = value.strip().partition(" ")
    given = given.strip()
    if scheme.lower() == "bearer":
        return given
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(given, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None
