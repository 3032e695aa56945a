import shutil
import ssl
import subprocess

import httpx2
import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.errors import ConfigError
from freelm.serve.batching import Engine
from freelm.serve.http.limits import Limits
from freelm.serve.settings import Settings, local_url, tls_files
from tiny_serve import OracleBackend, live


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def test_a_certificate_makes_it_https(certificate):
    cert, key = certificate
    engine = Engine(OracleBackend(), Limits())
    with live(engine, Settings(names=("tiny",)), tls=tls_files(cert, key)) as server:
        url = server.url.replace("http:", "https:")
        trusted = ssl.create_default_context(cafile=str(cert))
        body = {"query": "q", "documents": ["d"] * 500}
        assert httpx2.post(f"{url}/rerank", json=body, verify=trusted).status_code == 200
        assert server.get("/health") is None


def test_wrong_tls_files_are_named(certificate, tmp_path):
    cert, key = certificate
    assert tls_files(None, None) is None
    assert tls_files(cert, key) is not None
    with pytest.raises(ConfigError, match="--tls-cert and --tls-key belong together"):
        tls_files(cert, None)
    with pytest.raises(ConfigError, match="nowhere: no such file"):
        tls_files(tmp_path / "nowhere", key)
    with pytest.raises(ConfigError, match="are no certificate in PEM with its unencrypted key"):
        tls_files(key, key)


def test_the_address_of_a_tls_server_is_https():
    assert local_url("0.0.0.0", 443, tls=True) == "https://127.0.0.1:443/"
