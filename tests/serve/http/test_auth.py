import base64
import hashlib
import re

import pytest

from freelm.serve.http.auth import AccessGuard, BrowserHeaders, content_policy
from freelm.serve.http.guards import RequestLog
from tiny_serve import KEY, client, say

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def inside(scope, receive, send):
    await say(send, 200, b"inside")


def guarded(settings):
    return RequestLog(AccessGuard(inside, settings), frozenset(), lambda *_: None)


async def status(settings, path="/v1/models", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client(guarded(settings)) as http:
        return (await http.get(path, headers=headers)).status_code


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"authorization": basic(f"anyone:{KEY}")},
        {"x_api_key": KEY},
    ],
)
async def test_the_key_lets_in(settings, headers):
    assert await status(settings(key=KEY), **headers) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": KEY},
        {"authorization": basic(KEY)},
        {"authorization": "Basic ?"},
        {"authorization": basic(f"{KEY}:other")},
        {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
        {"x_api_key": "\xe9"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/docs", "/metrics", "/v1/decisions", "/healthy", "/ready"])
async def test_without_the_key_nothing_is_answered(settings, headers, path):
    headers = {name: value.encode("latin-1") for name, value in headers.items()}
    assert await status(settings(key=KEY), path, **headers) == 401


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.7:8000", "evil.example", ""])
async def test_health_needs_no_key_and_no_name(settings, host):
    assert await status(settings(key=KEY), "/health", host=host) == 200


@pytest.mark.parametrize("path", ["/ready", "/metrics", "/health/", "/healthy"])
async def test_other_probes_need_a_name_and_the_key(settings, path):
    assert await status(settings(key=KEY), path) == 401
    assert await status(settings(), path, host="10.0.0.7:8000") == 403


async def test_a_browser_is_asked_for_the_key(settings):
    async with client(guarded(settings(key=KEY))) as http:
        answer = await http.get("/")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert answer.json()["error"] == {
        "message": "send the key of this server as `Authorization: Bearer KEY`, as "
        "`X-API-Key: KEY`, or as the password of `Authorization: Basic`",
        "type": "authentication_error",
        "param": None,
        "code": "invalid_api_key",
    }


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9", 200),
        ("LOCALHOST:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("0.0.0.0:8000", 403),
        ("[::]:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("evil.example:8000", 403),
        ("", 400),
        ("127.0.0.1:65536", 400),
        ("[127.0.0.1", 400),
    ],
)
async def test_only_the_servers_own_names_are_answered(settings, host, expected):
    assert await status(settings(), host=host) == expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://127.0.0.1:8000", 200),
        ("http://127.0.0.1:8001", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
async def test_pages_of_other_origins_are_refused(settings, origin, expected):
    assert await status(settings(), origin=origin) == expected


async def test_every_response_tells_browsers_what_not_to_do(settings):
    app = BrowserHeaders(guarded(settings(key=KEY)), {})
    async with client(app) as http:
        answers = [await http.get("/health"), await http.get("/")]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_policy_allows_the_pages_own_scripts_and_no_others():
    script = "let a = 1;"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = content_policy(f"<style>p {{}}</style><script>{script}</script>")
    assert f"script-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy
    assert not re.search("https?:", policy)
    assert "script-src 'none'" in content_policy("")
