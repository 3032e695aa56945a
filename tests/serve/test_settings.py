import pytest

from freelm.errors import ConfigError
from freelm.serve.settings import (
    check_exposure,
    is_loopback,
    is_wildcard,
    local_url,
    read_key,
    served_hosts,
    served_name,
)

GOOD = "0123456789abcdef"


def test_a_key_comes_from_its_variable(monkeypatch):
    monkeypatch.setenv("SOME_KEY", GOOD)
    assert read_key("SOME_KEY", required=True) == GOOD


def test_a_missing_key_matters_only_where_it_was_asked_for(monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    assert read_key("SOME_KEY", required=False) is None
    with pytest.raises(ConfigError, match="SOME_KEY is not set"):
        read_key("SOME_KEY", required=True)


@pytest.mark.parametrize("key", ["", "short", "0123456789 abcdef", "0123456789abcdeé", GOOD + "\n"])
@pytest.mark.parametrize("required", [True, False])
def test_a_bad_key_is_refused_and_not_shown(monkeypatch, key, required):
    monkeypatch.setenv("SOME_KEY", key)
    with pytest.raises(ConfigError, match="the key in SOME_KEY must be") as refused:
        read_key("SOME_KEY", required)
    assert not key or key not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_key(host):
    assert is_loopback(host)
    check_exposure(host, False, forced=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.0.4", "example.org", "127.0.0.1.x"])
def test_other_hosts_need_a_key_or_force(host):
    with pytest.raises(ConfigError, match="--api-key-env"):
        check_exposure(host, False, forced=False)
    check_exposure(host, True, forced=False)
    check_exposure(host, False, forced=True)


def test_a_server_goes_by_loopback_its_host_and_what_it_is_told():
    loopback = {"localhost", "127.0.0.1", "::1"}
    assert served_hosts("0.0.0.0", ["API.example.org"]) == loopback | {"api.example.org"}
    assert served_hosts("[fe80::1]", []) == loopback | {"fe80::1"}


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:80/"),
        ("::", "http://[::1]:80/"),
        ("[::]", "http://[::1]:80/"),
        ("::1", "http://[::1]:80/"),
        ("localhost", "http://localhost:80/"),
        ("192.168.0.4", "http://192.168.0.4:80/"),
    ],
)
def test_a_server_is_shown_where_it_answers(host, url):
    assert local_url(host, 80) == url
    assert is_wildcard(host) == (host.strip("[]") in ("0.0.0.0", "::"))
    assert url[len("http://") : -len(":80/")].strip("[]") in served_hosts(host, [])


def test_a_model_is_never_called_by_its_path(tmp_path):
    folder = tmp_path / "rosebud" / "model"
    folder.mkdir(parents=True)
    assert served_name(str(folder)) == "rosebud"
    assert served_name("freelm-135m") == "freelm-135m"
    assert served_name("base/smollm2-135m") == "base/smollm2-135m"
