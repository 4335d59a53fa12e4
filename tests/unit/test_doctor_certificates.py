"""What the doctor says of certificates: good, soon over, over, of another, and passwords in the clear."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from common.runtime.broker_probe import Account, Door, knock, let_in
from common.runtime.doctor import Examination, Finding, exit_code, span
from common.runtime.errors import DrumtowerError
from gateway.doctor.examine import handshake

TOLD = Examination("edge")


def certificate(directory: Path, days: float, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """A certificate that signs itself and is good for so many days, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    directory.mkdir(parents=True, exist_ok=True)
    pem, private = directory / "server.pem", directory / "server.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return pem, private


@contextmanager
def server(pem: Path, key: Path) -> Iterator[int]:
    """A server that shows this certificate to whoever comes; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    channel, _ = listening.accept()
                except TimeoutError:
                    continue
                channel.settimeout(10)
                try:
                    with context.wrap_socket(channel, server_side=True) as secured:
                        secured.recv(100)
                except OSError:
                    channel.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def looked(pem: Path, key: Path, ca_file: Path) -> Finding:
    """What is said of a server's certificate."""
    with server(pem, key) as port:
        listens, shown = knock(TOLD, "broker", Door("DRUMTOWER_BROKER_URL", "127.0.0.1", port, True, ca_file))
    assert listens.verdict == "ok"
    return shown


@pytest.mark.parametrize(
    ("days", "verdict", "words"),
    [(300, "ok", "good for 300 days"), (10.1, "warn", "good for 10 days"), (-3, "fail", "has expired")],
)
def test_a_certificate_is_good_soon_over_or_over(
    tmp_path: Path, days: float, verdict: str, words: str
) -> None:
    pem, key = certificate(tmp_path, days)
    found = looked(pem, key, pem)
    assert (found.verdict, words in found.found) == (verdict, True), found
    assert found.fix or verdict == "ok"


def test_a_certificate_of_another_authority_or_for_another_place_is_told(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path / "one", 300)
    other, _ = certificate(tmp_path / "other", 300)
    found = looked(pem, key, other)
    assert found.verdict == "fail"
    assert "DRUMTOWER_CA_FILE" in found.fix
    elsewhere, its_key = certificate(tmp_path / "elsewhere", 300, "192.0.2.1")
    assert looked(elsewhere, its_key, elsewhere).verdict == "fail"


def test_a_line_without_tls_is_a_warning_and_nobody_there_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        door = Door("DRUMTOWER_BROKER_URL", "127.0.0.1", port, False)
        assert [found.verdict for found in knock(TOLD, "broker", door)] == ["ok", "warn"]
    (found,) = knock(TOLD, "broker", door)
    assert found.verdict == "fail"
    account = Account("gateway", "gw-default", True, "secret")
    assert let_in(TOLD, "account", door, account).verdict == "could not check"
    assert "secret" not in repr(account)


def test_the_evidence_doors_own_certificate_is_tried_without_a_network(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path / "one", 300)
    other, other_key = certificate(tmp_path / "other", 300)
    assert handshake(pem, key, pem).endswith("GMT")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(pem, key, other)
    with pytest.raises(ssl.SSLError):
        handshake(pem, other_key, pem)


def test_one_broken_look_hides_no_other_and_warnings_are_allowed() -> None:
    def broken() -> Iterator[Finding]:
        yield TOLD.ok("first", "well")
        raise DrumtowerError("test.broken", "postgresql://me:hidden-word@host/x went away", "start it")

    found = [*TOLD.looked("store", broken), TOLD.warn("disk", "little", "free some")]
    assert [each.verdict for each in found] == ["ok", "fail", "warn"]
    assert found[1].fix == "start it"
    assert "hidden-word" not in found[1].found
    assert (exit_code(found), exit_code([found[0], found[2]])) == (1, 0)
    assert [span(seconds) for seconds in (40, 700, 7300, 400_000)] == ["40 s", "12 min", "2 h", "5 days"]


def test_clocks_and_disks_are_judged_by_their_limits(tmp_path: Path) -> None:
    offsets = (0.4, -3.0, 90.0)
    assert [TOLD.clock("clock", each, "the database's").verdict for each in offsets] == ["ok", "warn", "fail"]
    assert "3.0 s ahead of the database's" in TOLD.clock("clock", -3.0, "the database's").found
    assert TOLD.room("disk", tmp_path / "not" / "there", 0.001, "free some").verdict == "ok"
    assert TOLD.room("disk", tmp_path, 1e12, "free some").verdict == "fail"
