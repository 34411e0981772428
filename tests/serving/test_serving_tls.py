"""TLS 1.3 or nothing, from the command line down to the socket, with a certificate made here."""

from __future__ import annotations

import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from serving.running_server import serving

from toolkit.artifact import Artifact
from toolkit.errors import InputError
from toolkit.serving.key_file import add_key
from toolkit.serving.serve import LOOPBACK, Access, Server, free_port, prepare


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "toolkit test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(LOOPBACK))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(secret)
    return folder / "cert.pem", folder / "key.pem"


def trusting(pair: tuple[Path, Path], version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client of one version of TLS."""
    context = ssl.create_default_context(cafile=pair[0])
    context.minimum_version = context.maximum_version = version
    return context


def test_tls_1_3_is_served_and_1_2_is_not(artifacts: dict[str, Artifact], pair: tuple[Path, Path]) -> None:
    with serving(artifacts["text"].folder, tls=pair, header_seconds=1.0) as here:
        url = f"https://{LOOPBACK}:{here.port}"
        for _ in range(2):
            answer = httpx.post(
                f"{url}/v1/classify", json={"inputs": ["who"]}, verify=trusting(pair, ssl.TLSVersion.TLSv1_3)
            )
            assert answer.status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/livez", verify=trusting(pair, ssl.TLSVersion.TLSv1_2))
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://{LOOPBACK}:{here.port}/livez")
        started = time.monotonic()
        with here.connect() as silent:
            assert silent.recv(1) == b"", "a handshake that never begins is ended"
        assert time.monotonic() - started < 3
        context = trusting(pair, ssl.TLSVersion.TLSv1_3)
        with context.wrap_socket(here.connect(), server_hostname=LOOPBACK) as slow:
            assert slow.version() == "TLSv1.3"
            slow.sendall(b"GET /livez HTTP/1.1\r\nx: ")
            assert b"slow_head" in slow.recv(4096)


def test_a_server_takes_keys_and_tls_from_its_command_line(
    artifacts: dict[str, Artifact], pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TOOLKIT_DRAIN_SECONDS", "0.1")
    monkeypatch.chdir(tmp_path)
    key = add_key(Path("keys.json"), "app")
    access = Access(Path("keys.json"), *pair)
    port = free_port()
    launch = prepare(artifacts["text"].folder, host=LOOPBACK, port=port, threads=1, access=access)
    server = Server.start(launch, port=port, log=tmp_path / "log")
    try:
        assert server.url == f"https://{LOOPBACK}:{port}"
        server.wait_until_ready(60)
        verify = trusting(pair, ssl.TLSVersion.TLSv1_3)
        for path in ("/docs.json", "/metrics", "/v1/model"):
            assert httpx.get(server.url + path, verify=verify).status_code == 401
            good = httpx.get(server.url + path, verify=verify, headers={"authorization": f"Bearer {key}"})
            assert good.status_code == 200
            assert "server" not in good.headers
        metrics = httpx.get(f"{server.url}/metrics", verify=verify, headers={"x-api-key": key}).text
        assert "toolkit_queue_depth 0.0" in metrics
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/livez", verify=trusting(pair, ssl.TLSVersion.TLSv1_2))
    finally:
        server.stop()
    log = server.log.read_text()
    assert key not in log
    assert "Traceback" not in log


def test_files_that_cannot_be_used_are_refused_before_anything_starts(
    artifacts: dict[str, Artifact], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    cases = [
        (Access(tls_cert=pair[0]), "--tls-key"),
        (Access(tls_key=pair[1]), "--tls-cert"),
        (Access(None, empty, pair[1]), "cannot be used for TLS"),
        (Access(None, pair[0], tmp_path / "none.pem"), "No such file"),
        (Access(None, pair[0], pair[0]), "cannot be used for TLS"),
        (Access(keys=empty), "is not JSON"),
        (Access(keys=tmp_path / "none.json"), "toolkit key add"),
    ]
    for access, words in cases:
        with pytest.raises(InputError, match=words):
            prepare(artifacts["text"].folder, host=LOOPBACK, port=3000, threads=1, access=access)


def test_a_plain_connection_to_a_tls_port_gets_no_answer_in_the_clear(
    artifacts: dict[str, Artifact], pair: tuple[Path, Path]
) -> None:
    with serving(artifacts["text"].folder, tls=pair) as here, here.connect() as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        plain.shutdown(socket.SHUT_WR)
        try:
            answer = plain.recv(4096)
        except ConnectionResetError:
            answer = b""
        assert b"HTTP/1.1" not in answer
