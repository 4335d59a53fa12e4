"""A small certificate authority for one machine, and the server certificate it signs.

The profile follows RFC 5280: critical basic constraints and key usage, subject and authority key identifiers,
which Python's and OpenSSL's strict verification ask for.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from local.paths import exclusive_lock, write_atomically

_AUTHORITY_DAYS = 3650
# Apple's and the browsers' upper bound for a server certificate.
_SERVER_DAYS = 397
_RENEW_BEFORE = datetime.timedelta(days=30)
# A box whose clock lags must not refuse a certificate made just now.
_BACKDATED = datetime.timedelta(days=1)
_NAMES = ("localhost",)
_ADDRESSES = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class ServerCertificate:
    """Files in PEM: what clients trust, what the server shows, and its key (mode 0600)."""

    authority: Path
    certificate: Path
    key: Path


def ensure_certificates(directory: Path, now: datetime.datetime | None = None) -> ServerCertificate:
    """The authority and a server certificate for localhost and 127.0.0.1 in `directory`.

    Made where missing, made anew within 30 days of expiry; `now` (aware) is the present unless given. A renewed
    server certificate keeps its authority, so clients need not be told.
    """
    present = now if now is not None else datetime.datetime.now(datetime.UTC)
    files = ServerCertificate(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    authority_key_file = directory / "ca.key"
    with exclusive_lock(directory / "lock"):
        is_new_authority = not (_is_current(files.authority, present) and authority_key_file.exists())
        if is_new_authority:
            _make_authority(files.authority, authority_key_file, issued_at=present)
        if is_new_authority or not (_is_current(files.certificate, present) and files.key.exists()):
            _make_server(files, authority_key_file, issued_at=present)
    return files


def _is_current(certificate_file: Path, present: datetime.datetime) -> bool:
    """Whether there is a certificate, valid at `present` and not yet due for renewal."""
    if not certificate_file.exists():
        return False
    held = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    return held.not_valid_before_utc <= present and present + _RENEW_BEFORE < held.not_valid_after_utc


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    *,
    subject: x509.Name,
    subject_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issued_at: datetime.datetime,
    valid_days: int,
) -> x509.CertificateBuilder:
    """What an authority's and a server's certificate have in common; not yet signed."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(subject_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(issued_at - _BACKDATED)
        .not_valid_after(issued_at + datetime.timedelta(days=valid_days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key), critical=False)
    )


def _make_authority(certificate_file: Path, key_file: Path, *, issued_at: datetime.datetime) -> None:
    """A new authority, signed by itself; both files are written."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Drumtower local authority")
    certificate = (
        _builder(
            subject=name,
            subject_key=key.public_key(),
            issuer=name,
            issued_at=issued_at,
            valid_days=_AUTHORITY_DAYS,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_atomically(key_file, _pem(key), 0o600)
    write_atomically(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))


def _make_server(
    server: ServerCertificate, authority_key_file: Path, *, issued_at: datetime.datetime
) -> None:
    """A new key and certificate of the server, signed by the authority that is there; both files are written."""
    authority = x509.load_pem_x509_certificate(server.authority.read_bytes())
    authority_key = serialization.load_pem_private_key(authority_key_file.read_bytes(), None)
    if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
        raise TypeError(
            f"{authority_key_file} holds a {type(authority_key).__name__}, not an elliptic curve key"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(name) for name in _NAMES]
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
    certificate = (
        _builder(
            subject=_name("localhost"),
            subject_key=key.public_key(),
            issuer=authority.subject,
            issued_at=issued_at,
            valid_days=_SERVER_DAYS,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    write_atomically(server.key, _pem(key), 0o600)
    write_atomically(server.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
