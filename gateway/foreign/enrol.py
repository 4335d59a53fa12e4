"""Enrolment of foreign devices: the registry as the mapping files say, and a credential for each account."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.runtime.errors import ConfigError
from gateway.adapters.accounts import ForeignAccount, accounts_of
from gateway.adapters.mapping import MappingFile
from gateway.fleet import repo as fleet
from gateway.fleet.credentials import new_credential
from gateway.foreign import repo


@dataclass(frozen=True, slots=True)
class EnrolledAccount:
    """An account, its password, and whether that was made just now."""

    account: ForeignAccount
    password: str
    made: bool


def enrol_foreign(database_url: str, files: Sequence[MappingFile], folder: Path) -> list[EnrolledAccount]:
    """Register the devices of mapping files; the accounts to set up at the broker.

    A password in ``folder`` is kept; it is one line, readable by its owner only.

    Raises:
        TransientError: when the database does not answer.
        ConfigError: when a device is registered as a box already, or the folder cannot be written.
    """
    with fleet.connect(database_url, "enrol") as connection, fleet.transaction(connection):
        if boxes := repo.boxes_among(connection, files):
            raise ConfigError(
                "gateway.device_is_box",
                f"expected devices of their own, but these are boxes already: {', '.join(map(str, boxes))}",
                "give the foreign devices other names in their mapping file",
            )
        repo.upsert_devices(connection, files)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return [_with_password(account, folder) for file in files for account in accounts_of(file)]
    except OSError as error:
        raise ConfigError(
            "gateway.credential_folder",
            f"credentials cannot be kept in {folder}: {error.strerror}",
            "choose a folder that this account may write: --credentials FOLDER",
        ) from error


def _with_password(account: ForeignAccount, folder: Path) -> EnrolledAccount:
    path = folder / account.file
    try:
        kept = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        kept = ""
    if kept:
        return EnrolledAccount(account, kept, made=False)
    password = new_credential()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        os.fchmod(opened.fileno(), 0o600)
        opened.write(password + "\n")
    return EnrolledAccount(account, password, made=True)
