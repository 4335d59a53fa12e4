"""Enrolment: the registry as the site files say, and a credential for each box."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.runtime.errors import ConfigError
from common.wire.topics import Address
from gateway.fleet import repo
from gateway.fleet.credentials import hash_credential, matches, new_credential
from gateway.fleet.sites import Site


@dataclass(slots=True)
class Enrolment:
    """What came of it.

    ``credentials`` maps ``site/device`` to its plain credential, for whoever sets up the broker's accounts; devices
    whose credential only its own box knows are in ``elsewhere`` instead.
    """

    credentials: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


def credential_file(folder: Path, address: Address) -> Path:
    """Where a box's credential is: one line, readable by its owner only."""
    return folder / f"{address.site}.{address.device}"


def enrol(database_url: str, sites: Sequence[Site], folder: Path, *, renew: bool = False) -> Enrolment:
    """Upsert devices and categories, and see that each device has a credential.

    A credential in ``folder`` is kept, and the registry is brought to it. A device that the registry knows a
    credential of, without a file here, keeps it unless ``renew``.

    Raises:
        TransientError: when the database does not answer.
        ConfigError: when the folder cannot be written.
    """
    result = Enrolment()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with repo.connect(database_url, "enrol") as connection, repo.transaction(connection):
            repo.seed_categories(connection)
            for address, known_hash in repo.upsert_devices(connection, sites).items():
                kept = _kept(credential_file(folder, address))
                if kept is None and known_hash is not None and not renew:
                    result.elsewhere.append(str(address))
                    continue
                credential = kept or new_credential()
                if kept is None:
                    _write(credential_file(folder, address), credential)
                    result.made.append(str(address))
                if known_hash is None or not matches(known_hash, credential):
                    repo.set_credential_hash(connection, address, hash_credential(credential))
                result.credentials[str(address)] = credential
    except OSError as error:
        raise ConfigError(
            "gateway.credential_folder",
            f"credentials cannot be kept in {folder}: {error.strerror}",
            "choose a folder that this account may write: --credentials FOLDER",
        ) from error
    return result


def _kept(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def _write(path: Path, credential: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(credential + "\n")
