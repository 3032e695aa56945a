import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from offline import NetworkBlocked


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_connecting_to_another_machine_raises(host: str, network_attempts: list[str]) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        with pytest.raises(NetworkBlocked, match=re.escape(host)):
            sock.connect((host, 80))
        with pytest.raises(NetworkBlocked):
            sock.connect_ex((host, 80))
    with pytest.raises(NetworkBlocked):
        socket.create_connection((host, 80), timeout=1)
    assert network_attempts == [host] * 3
    network_attempts.clear()


def test_names_are_not_looked_up_and_datagrams_not_sent(network_attempts: list[str]) -> None:
    with pytest.raises(NetworkBlocked):
        socket.getaddrinfo("example.invalid", 443)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(NetworkBlocked),
    ):
        sock.sendto(b"x", ("192.0.2.1", 53))
    network_attempts.clear()


def test_an_attempt_that_was_caught_still_fails_the_test(tmp_path: Path) -> None:
    for name in ("conftest.py", "offline.py"):
        shutil.copy(Path(__file__).with_name(name), tmp_path)
    (tmp_path / "test_swallows.py").write_text(
        textwrap.dedent("""
            import socket
            def test_swallows():
                try:
                    socket.create_connection(("192.0.2.1", 80), timeout=1)
                except Exception:
                    pass
        """)
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert "1 passed, 1 error" in result.stdout
    assert "the test tried to reach 192.0.2.1" in result.stdout


def test_this_machine_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), timeout=5):
            pass
        with socket.create_connection(("localhost", server.getsockname()[1]), timeout=5):
            pass


def test_local_sockets_can_be_reached(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))


def test_the_users_own_settings_do_not_reach_tests(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    assert Path(os.environ["FREELM_CACHE"]).is_relative_to(tmp_path_factory.getbasetemp())
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert "FREELM_DATA" not in os.environ
    assert "FREELM_MODEL" not in os.environ


def test_the_hub_client_knows_that_it_is_offline() -> None:
    from huggingface_hub import constants

    assert constants.HF_HUB_OFFLINE
