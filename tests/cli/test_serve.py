import os
import signal
import socket
import time
from types import SimpleNamespace

import pytest

from freelm.api import FreeLM
from freelm.errors import ModelError

KEY = "a-key-of-thirty-two-characters-0"


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("FREELM_API_KEY", raising=False)


def test_help_is_there(cli):
    answer = cli("serve", "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("Usage: freelm serve")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines: set a key"),
        (["--api-key-env", "MY_KEY"], "MY_KEY is not set"),
        (["--limit", "max_queue"], "must have the form name=value"),
        (["--limit", "max_queues=1"], "max_queues: unknown key"),
        (["--labels", "alone"], "at least two labels are needed"),
        (["--labels", "a,b,a"], "label 'a' is given twice"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(cli, monkeypatch, options, message):
    monkeypatch.delenv("MY_KEY", raising=False)
    cli("serve", "--model", "runs/no/such/model", *options).refused(message)


def test_a_bad_key_is_refused_even_where_it_was_not_asked_for(cli, monkeypatch):
    monkeypatch.setenv("FREELM_API_KEY", "short")
    cli("serve", "--model", "runs/no/such/model").refused("the key in FREELM_API_KEY must be")


def test_a_taken_port_is_said_before_the_model_is_loaded(cli):
    pytest.importorskip("fastapi", reason="needs the extra `serve`")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        cli("serve", "runs/no/such/model", "--port", port).refused(f"port {port}")


@pytest.mark.parametrize(
    ("words", "environment", "name"),
    [
        (["one"], None, "one"),
        (["--model", "one"], None, "one"),
        ([], "one", "one"),
        (["one"], "two", "one"),
        ([], None, "freelm-135m"),
    ],
)
def test_the_model_is_an_argument_or_an_option(cli, monkeypatch, words, environment, name):
    pytest.importorskip("fastapi", reason="needs the extra `serve`")
    monkeypatch.delenv("FREELM_MODEL", raising=False)
    if environment:
        monkeypatch.setenv("FREELM_MODEL", environment)

    def from_pretrained(name, **_):
        raise ModelError(f"asked for {name}")

    monkeypatch.setattr(FreeLM, "from_pretrained", from_pretrained)
    cli("serve", *words, "--port", 0).refused(f"asked for {name}")


def test_a_missing_model_is_said(cli):
    pytest.importorskip("fastapi", reason="needs the extra `serve`")
    answer = cli("serve", "--model", "runs/no/such/model", "--port", 0)
    answer.refused("no folder")


def test_without_the_extra_it_says_what_to_install(cli, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "fastapi", None)
    for module in ("app", "launch", "lifecycle", "protocols"):
        monkeypatch.delitem(sys.modules, f"freelm.serve.{module}", raising=False)
    cli("serve", "--model", "runs/no/such/model").refused("pip install 'freelm[serve]'")


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--host", "127.0.0.1"], False),
        (["--host", "0.0.0.0"], True),
        (["--host", "0.0.0.0", "--allow-host", "box.example"], False),
    ],
)
def test_on_all_addresses_it_says_how_others_are_answered(cli, monkeypatch, options, hint):
    pytest.importorskip("fastapi", reason="needs the extra `serve`")
    from freelm.cli import serve as command
    from freelm.serve import batching, launch

    monkeypatch.setattr(command, "_exit", lambda code: None)
    monkeypatch.setattr(FreeLM, "from_pretrained", lambda *_, **__: None)
    monkeypatch.setattr(
        launch, "ModelBackend", lambda _: SimpleNamespace(sample_batch=list, dtype="fp32")
    )
    monkeypatch.setattr(batching.Engine, "measure_speed", lambda *_: None)
    monkeypatch.setattr(launch, "make_app", lambda *_: None)
    monkeypatch.setattr(launch, "bind", lambda _, port: socket.create_server(("127.0.0.1", 0)))
    monkeypatch.setattr(launch, "serve", lambda _, listener, *__: listener.close())
    answer = cli("serve", "--port", 0, "--without-key", *options)
    assert " at http://127.0.0.1:" in answer.err
    assert ("answered only with --allow-host NAME" in answer.err) == hint


def test_a_signal_while_the_model_is_loaded_ends_the_start(cli, monkeypatch):
    pytest.importorskip("fastapi", reason="needs the extra `serve`")

    def from_pretrained(name, **settings):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        raise ModelError("nobody ended it")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(FreeLM, "from_pretrained", from_pretrained)
    assert cli("serve", "--model", "any", "--port", 0).code == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ([], {"dtype": "auto", "device": None, "compile": False}),
        (["--compile"], {"dtype": "auto", "device": None, "compile": True}),
        (["--dtype", "int8", "--device", "cpu"], {"dtype": "int8", "device": "cpu"}),
        (["--limit", "batch_tokens=512"], {"max_tokens": 512, "max_context_tokens": 1024}),
    ],
)
def test_what_computes_reaches_the_model(cli, monkeypatch, options, settings):
    pytest.importorskip("fastapi", reason="needs the extra `serve`")
    seen = {}

    def from_pretrained(name, **settings):
        seen.update(settings)
        raise ModelError("enough")

    monkeypatch.setattr(FreeLM, "from_pretrained", from_pretrained)
    cli("serve", "--model", "any", "--port", 0, *options).refused("enough")
    assert settings.items() <= seen.items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "cudaa"], "device is 'cudaa'; it must be cpu, cuda"),
        (["--device", "cpu:1"], "device is 'cpu:1'; it must be cpu, cuda"),
        (["--device", "cuda:99"], "no such GPU is here"),
        (["--dtype", "fp8"], "dtype is 'fp8'"),
    ],
)
def test_a_device_or_a_type_of_numbers_that_is_not_there_is_one_line(
    cli, freelm_folder, options, message
):
    pytest.importorskip("fastapi", reason="needs the extra `serve`")
    cli("serve", "--model", freelm_folder, "--port", 0, *options).refused(message)
