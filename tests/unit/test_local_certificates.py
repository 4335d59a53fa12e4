"""The small authority: what it signs is trusted for this machine's names, and is renewed in time."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from local.certificates import ServerCertificate, ensure_certificates


def handshake(files: ServerCertificate, name: str) -> None:
    """A TLS handshake between the server's files and a client that trusts the authority alone; raises on refusal."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(files.certificate, files.key)
    client_context = ssl.create_default_context(cafile=str(files.authority))
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    server_side, client_side = socket.socketpair()

    def serve() -> None:
        try:
            server_context.wrap_socket(server_side, server_side=True).close()
        except OSError:  # the client hung up: what it thinks is asserted there
            server_side.close()

    server = threading.Thread(target=serve)
    server.start()
    try:
        client_context.wrap_socket(client_side, server_hostname=name).close()
    finally:
        client_side.close()
        server.join(10)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_strict_client_trusts_the_server_by_name_and_by_address(tmp_path: Path, name: str) -> None:
    handshake(ensure_certificates(tmp_path), name)


def test_a_client_refuses_the_server_under_another_name(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(files, "gateway.example")


def test_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path)
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    before = ensure_certificates(tmp_path).certificate.read_bytes()
    assert ensure_certificates(tmp_path).certificate.read_bytes() == before


def test_a_server_certificate_near_its_end_is_renewed_by_the_same_authority(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path)
    authority, certificate = files.authority.read_bytes(), files.certificate.read_bytes()
    ends = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    ensure_certificates(tmp_path, now=ends - datetime.timedelta(days=40))
    assert files.certificate.read_bytes() == certificate
    ensure_certificates(tmp_path, now=ends - datetime.timedelta(days=20))
    assert files.certificate.read_bytes() != certificate
    assert files.authority.read_bytes() == authority


def test_a_new_authority_takes_its_servers_certificate_along(tmp_path: Path) -> None:
    files = ensure_certificates(tmp_path)
    (tmp_path / "ca.key").unlink()
    ensure_certificates(tmp_path)
    handshake(files, "localhost")
