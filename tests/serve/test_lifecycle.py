"""The server as a process of its own: start, signals, drain, exit."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.errors import ConfigError
from freelm.serve.app import make_app
from freelm.serve.batching import MAX_FAILURES, Engine
from freelm.serve.http.limits import Limits
from freelm.serve.lifecycle import bind, serve
from tiny_serve import OracleBackend


@pytest.fixture
def start(freelm_folder):
    """`start(*options)` -> a server process and its address."""
    processes = []

    def run(*options):
        command = [sys.executable, "-m", "freelm", "serve", str(freelm_folder)]
        process = subprocess.Popen(
            [*command, "--port", "0", *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        processes.append(process)
        for line in process.stderr:
            if " at http" in line:
                url = line.split(" at ")[1].strip().rstrip("/")
                break
        else:
            raise AssertionError("the server did not start")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        while process.poll() is None:
            try:
                httpx2.get(f"{url}/health")
                return process, url
            except httpx2.TransportError:
                time.sleep(0.05)
        raise AssertionError("the server ended")

    yield run
    for process in processes:
        # Workers, too.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def unfinished_request(url):
    """A connection whose request is in progress until the rest of its body comes."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60) as sock:
        sock.sendall(
            b"POST /v1/decisions HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        )
        # The server asks for the body: now it waits for it.
        assert sock.recv(1024).startswith(b"HTTP/1.1 100 ")
        yield sock


def writing(url, tokens=200):
    """A request that takes a while."""
    body = {"model": name_of(url), "prompt": "The film is", "max_tokens": tokens, "seed": 1}
    return httpx2.post(f"{url}/v1/completions", json=body, timeout=60)


def name_of(url):
    return httpx2.get(f"{url}/v1/models").json()["data"][0]["id"]


def test_sigterm_finishes_what_is_in_work_and_ends_with_0(start):
    process, url = start()
    answers = []
    client = threading.Thread(target=lambda: answers.append(writing(url, 100)))
    client.start()
    while client.is_alive() and "freelm_waiting 1.0" not in httpx2.get(f"{url}/metrics").text:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    client.join(200)
    assert process.wait(200) == 0
    assert answers[0].status_code == 200
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{url}/health")


def test_a_second_sigterm_ends_at_once(start):
    process, url = start("--limit", "drain_seconds=3000", "--limit", "body_seconds=3000")
    with unfinished_request(url):
        process.send_signal(signal.SIGTERM)
        # The first signal is handled when the server accepts no more connections.
        while httpx2_status(url) is not None:
            time.sleep(0.01)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(200) == 128 + signal.SIGTERM


def httpx2_status(url):
    try:
        return httpx2.get(f"{url}/health").status_code
    except httpx2.TransportError:
        return None


def test_what_does_not_finish_in_time_is_told_so(start):
    process, url = start("--limit", "drain_seconds=1")
    with unfinished_request(url) as sock:
        process.send_signal(signal.SIGTERM)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
        assert process.wait(200) == 0
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: " in head.lower()
    assert json.loads(body)["error"]["code"] == "stopping"


def test_an_engine_that_fails_for_good_ends_the_server(settings):
    class Collapsing(OracleBackend):
        def judge_prepared(self, requests):
            raise SystemExit

    one = Engine(Collapsing(), Limits())
    listener = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    working = []
    server = threading.Thread(
        target=lambda: working.append(
            serve(make_app(one, settings()), listener, one, Limits(drain_seconds=1))
        )
    )
    server.start()
    body = {"query": "q", "documents": ["d"]}
    with httpx2.Client() as http:
        while httpx2_status(url) is None:
            time.sleep(0.01)
        for _ in range(MAX_FAILURES):
            assert http.post(f"{url}/rerank", json=body).status_code == 500
        health = http.get(f"{url}/health").json()
        assert health == {"status": "ok", "engine_failures": MAX_FAILURES}
        assert http.post(f"{url}/rerank", json=body).status_code == 500
    server.join(200)
    assert working == [False]


def test_a_stream_that_the_drain_cuts_ends_with_words(start):
    process, url = start("--limit", "drain_seconds=1", "--limit", "max_tokens=100000")
    body = {"model": name_of(url), "prompt": ["The film is"] * 8, "n": 8, "max_tokens": 100_000}
    lines = []
    with httpx2.stream(
        "POST", f"{url}/v1/completions", json={**body, "stream": True}, timeout=60
    ) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if not lines:
                process.send_signal(signal.SIGTERM)
            lines.append(line)
    assert process.wait(200) == 0
    *pieces, error, end = [line.removeprefix("data: ") for line in lines if line]
    assert end == "[DONE]"
    assert json.loads(error)["error"]["code"] == "stopping"
    assert all(json.loads(piece)["choices"] for piece in pieces)


def test_it_ends_at_once_after_the_drain(start, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, time\natexit.register(time.sleep, 1000)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process, _ = start()
    process.send_signal(signal.SIGTERM)
    assert process.wait(200) == 0


def test_on_all_addresses_it_says_where_it_answers(start):
    _, url = start("--host", "0.0.0.0", "--without-key")
    assert url.startswith("http://127.0.0.1:")
    assert httpx2.get(f"{url}/v1/models").status_code == 200
    refused = httpx2.get(
        f"{url}/v1/models", headers={"host": url.replace("http://127.0.0.1", "0.0.0.0")}
    )
    assert refused.json()["error"]["code"] == "host_not_allowed"


@pytest.mark.slow
def test_sighup_reads_the_keys_again(start, tmp_path, monkeypatch):
    monkeypatch.delenv("FREELM_API_KEY", raising=False)
    keys = tmp_path / "keys.yaml"
    keys.write_text("- {name: anna, key: key-of-anna-0123456789}")
    process, url = start("--keys", str(keys))

    def status(name):
        headers = {"x-api-key": f"key-of-{name}-0123456789"}
        return httpx2.get(f"{url}/ready", headers=headers).status_code

    assert (status("anna"), status("bert")) == (200, 401)
    keys.write_text("- {name: bert, key: key-of-bert-0123456789}")
    process.send_signal(signal.SIGHUP)
    while status("bert") != 200:
        time.sleep(0.05)
    assert status("anna") == 401


def workers_of(process):
    """Process ids of the workers; multiprocessing has one more process, that tracks resources."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_share_a_port_and_end_with_the_server(start):
    process, url = start("--workers", "2")
    workers = workers_of(process)
    assert len(workers) == 2
    assert writing(url, 2).status_code == 200
    # One that ends is replaced, and the other answers meanwhile.
    os.kill(workers[0], signal.SIGKILL)
    assert httpx2.get(f"{url}/health", timeout=60).status_code == 200
    while not set(workers_of(process)) - set(workers):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(200) == 0
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_server(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    command = [sys.executable, "-m", "freelm", "serve", str(tmp_path), "--workers", "2"]
    ended = subprocess.run([*command, "--port", "0"], capture_output=True, text=True, timeout=200)
    assert ended.returncode == 1
    assert "freelm: error: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_second_sigterm_ends_the_workers_at_once(start):
    limits = ("--limit", "drain_seconds=3000", "--limit", "body_seconds=3000")
    process, url = start("--workers", "2", *limits)
    with unfinished_request(url):
        process.send_signal(signal.SIGTERM)
        while httpx2_status(url) is not None:
            time.sleep(0.01)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(200) == 128 + signal.SIGTERM


@pytest.mark.slow
def test_health_answers_within_100_ms_under_full_load(start):
    """Nine of ten times: the largest bodies arrive without a pause, and other processes work too.

    That no single body holds the loop for so long is tested in `test_event_loop.py`.
    """
    _, url = start()
    name = name_of(url)
    documents = [f"word {i} " * 20 for i in range(50)]
    bodies = [
        json.dumps({"model": name, "query": "what?", "documents": documents}),
        json.dumps({"model": name, "query": "what?", "documents": ["x" * 1000] * 1000}),
        json.dumps({"model": name, "query": "what?", "documents": [1] * 19_000}),
    ]
    stop = threading.Event()

    def load(body):
        while not stop.is_set():
            headers = {"content-type": "application/json"}
            answer = httpx2.post(f"{url}/rerank", content=body, headers=headers, timeout=60)
            assert answer.status_code in (200, 400, 429, 503)

    clients = [threading.Thread(target=load, args=[body]) for body in bodies * 2]
    for client in clients:
        client.start()
    seconds = []
    with httpx2.Client() as http:
        for _ in range(100):
            started = time.perf_counter()
            assert http.get(f"{url}/health").status_code == 200
            seconds.append(time.perf_counter() - started)
            time.sleep(0.02)
    stop.set()
    for client in clients:
        client.join()
    assert sorted(seconds)[89] < 0.1
    assert max(seconds) < 1


def test_a_taken_port_is_said():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 cannot be used"):
            bind("127.0.0.1", port)


def test_a_host_that_nobody_knows_is_said(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConfigError, match=r"host 'nowhere' cannot be used: Name or service"):
        bind("nowhere", 0)
