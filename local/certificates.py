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
    moment = now if now is not None else datetime.datetime.now(datetime.UTC)
    files = ServerCertificate(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    authority_key_file = directory / "ca.key"
    with exclusive_lock(directory / "lock"):
        renewed = False
        if not (_lasts(files.authority, moment) and authority_key_file.exists()):
            _make_authority(files.authority, authority_key_file, moment)
            renewed = True
        if renewed or not (_lasts(files.certificate, moment) and files.key.exists()):
            _make_server(files, authority_key_file, moment)
    return files


def _lasts(certificate: Path, moment: datetime.datetime) -> bool:
    if not certificate.exists():
        return False
    held = x509.load_pem_x509_certificate(certificate.read_bytes())
    return held.not_valid_before_utc <= moment and moment + _RENEW_BEFORE < held.not_valid_after_utc


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
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    moment: datetime.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _BACKDATED)
        .not_valid_after(moment + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _make_authority(file: Path, key_file: Path, moment: datetime.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Drumtower local authority")
    certificate = (
        _builder(name, name, key.public_key(), moment, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_atomically(key_file, _pem(key), 0o600)
    write_atomically(file, certificate.public_bytes(serialization.Encoding.PEM))


def _make_server(files: ServerCertificate, authority_key_file: Path, moment: datetime.datetime) -> None:
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    authority_key = serialization.load_pem_private_key(authority_key_file.read_bytes(), None)
    if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
        raise TypeError(
            f"{authority_key_file} holds a {type(authority_key).__name__}, not an elliptic curve key"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(name) for name in _NAMES]
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
    certificate = (
        _builder(_name("localhost"), authority.subject, key.public_key(), moment, _SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    write_atomically(files.key, _pem(key), 0o600)
    write_atomically(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
