"""``python -m docker.prepare``: every secret that compose.yaml names, made on this machine, none with a default.

Certificates, the broker's accounts, the boxes' credentials, the database's password and the keys of personal data. What exists is kept, so
it may be run again: after a box was added to the site file, or to renew a certificate.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import sys
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.reports.sealing import add_key, read_keys
from common.runtime.errors import ConfigError, DrumtowerError
from common.wire.topics import Address
from gateway.fleet.credentials import new_credential
from gateway.fleet.enrol import credential_file
from gateway.fleet.sites import load_sites
from local.broker import Rights, format_acl, hash_password
from local.certificates import ensure_certificates
from local.paths import exclusive_lock, write_atomically

DOCKER = Path(__file__).resolve().parent
CONFIGS = DOCKER.parent / "firmware_configs"
#: Who shows a certificate, by the name that compose's network knows it under.
SERVERS = ("broker", "gateway")
#: Services that run as the account of their secrets, and so need a directory of its own instead of a volume.
STATES = ("broker", "backups", "prometheus", "grafana/dashboards")
#: The images' own account, for when root prepares: nothing shall run as root.
IMAGE_ACCOUNT = (10001, 10001)
# As local.certificates: the browsers' bound, renewed a month before, and a day for clocks that lag.
_DAYS = 397
_RENEW_BEFORE = datetime.timedelta(days=30)
_BACKDATED = datetime.timedelta(days=1)


def prepare(target: Path = DOCKER, configs: Path = CONFIGS) -> list[Address]:
    """Make what is missing below ``target`` and return the boxes that have an account.

    Args:
        target: where ``private/``, ``state/`` and ``.env`` are made; beside compose.yaml.
        configs: ``sites/`` and ``gateway.yaml`` of the deployment.

    Raises:
        ConfigError: when a configuration is wrong or the folder belongs to somebody else.
    """
    owner = IMAGE_ACCOUNT if os.getuid() == 0 else (os.getuid(), os.getgid())
    private = target / "private"
    devices = [
        Address(site.site, device.name) for site in load_sites(configs / "sites") for device in site.devices
    ]
    try:
        with exclusive_lock(private / "lock"):
            private.chmod(0o700)
            _certificates(private / "certificates")
            _accounts(private, devices)
            _database(private / "database")
            _personal_keys(private / "personal" / "keys")
            _secret(private / "grafana" / "password")
            write_atomically(private / "gateway.yaml", _gateway_settings(configs / "gateway.yaml"), 0o600)
        for service in STATES:
            (target / "state" / service).mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(target / ".env", f"OWNER_UID={owner[0]}\nOWNER_GID={owner[1]}\n".encode())
        if os.getuid() == 0:
            _give_away([private, target / "state"], owner)
    except OSError as error:
        raise ConfigError(
            "docker.prepare",
            f"cannot write below {target}: {error}",
            "run it as the account that ran it first, or remove docker/private and docker/state",
        ) from error
    return devices


def _give_away(folders: list[Path], owner: tuple[int, int]) -> None:
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, *owner, follow_symlinks=False)


def _certificates(folder: Path) -> None:
    """The authority of local.certificates, and beside it a certificate for each name of compose's network."""
    ensure_certificates(folder)
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    now = datetime.datetime.now(datetime.UTC)
    for name in SERVERS:
        if not _lasts(folder / f"{name}.pem", folder / f"{name}.key", authority, now):
            _sign(name, authority, folder, now)


def _lasts(file: Path, key_file: Path, authority: x509.Certificate, now: datetime.datetime) -> bool:
    if not (file.exists() and key_file.exists()):
        return False
    held = x509.load_pem_x509_certificate(file.read_bytes())
    try:
        held.verify_directly_issued_by(authority)
    except (ValueError, InvalidSignature):
        return False  # the authority was made anew
    return now + _RENEW_BEFORE < held.not_valid_after_utc


def _sign(name: str, authority: x509.Certificate, folder: Path, now: datetime.datetime) -> None:
    """A server certificate for ``name`` in compose's network and for whoever comes by the published port."""
    signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey), "local.certificates makes no other"
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(name), x509.DNSName("localhost")]
    local = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    usage = {"digital_signature": True} | dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([*names, *local]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_atomically(folder / f"{name}.key", pem, 0o600)
    write_atomically(folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM))


def _accounts(private: Path, devices: list[Address]) -> None:
    """A credential for the gateway and each box, and the broker's files that know them."""
    folder = private / "credentials"
    passwords = {"gateway": _secret(folder / "gateway")}
    rights: Rights = {"gateway": (("dt/v1/+/+/down/#",), ("dt/v1/+/+/up/#",))}
    for address in devices:
        own = f"dt/v1/{address.site}/{address.device}"
        passwords[str(address)] = _secret(credential_file(folder, address))
        rights[str(address)] = ((f"{own}/up/#",), (f"{own}/down/#",))
    lines = "".join(f"{user}:{hash_password(password)}\n" for user, password in passwords.items())
    write_atomically(private / "broker" / "passwords", lines.encode(), 0o600)
    write_atomically(private / "broker" / "acl", format_acl(rights).encode(), 0o600)


def _database(folder: Path) -> None:
    """The database's password, for its image and in the form that libpq reads."""
    password = _secret(folder / "password")
    write_atomically(folder / "passfile", f"database:5432:*:drumtower:{password}\n".encode(), 0o600)


def _personal_keys(path: Path) -> None:
    """The keys that seal who reported and what they wrote. Without a copy of this file nobody reads that again."""
    if path.exists():
        read_keys(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    add_key(path, datetime.datetime.now(datetime.UTC))


def _secret(path: Path) -> str:
    """The one line of a file; made where there is none."""
    if not path.exists():
        write_atomically(path, f"{new_credential()}\n".encode(), 0o600)
    return path.read_text(encoding="utf-8").strip()


def _gateway_settings(path: Path) -> bytes:
    """The deployment's settings with the evidence door open to the boxes' network, not to its own container only."""
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    settings["evidence"] = {**settings.get("evidence", {}), "host": "0.0.0.0"}  # noqa: S104 - port not published
    written = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
    return f"# Made by docker/prepare.py from {path.name}; edit that one.\n{written}".encode()


def main() -> int:
    """Prepare, and say what comes next."""
    try:
        devices = prepare()
    except DrumtowerError as error:
        print(f"{error.code}: {error.message}\n  what to do: {error.hint}", file=sys.stderr)
        return 1
    print(f"secrets for the database, the gateway and {len(devices)} boxes are in docker/private")
    print("keep a copy of docker/private/personal/keys apart from the backups: it alone opens who reported")
    print("next: docker compose -f docker/compose.yaml up --build --detach")
    return 0


if __name__ == "__main__":
    sys.exit(main())
