"""What a district does once before it starts: enrol the boxes, load the district, let people in.

The same functions that ``drumtower gateway enrol``, ``cloud load-district`` and ``cloud account add`` call.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cloud.auth.passwords import generate_password
from cloud.auth.service import AuthService
from cloud.db import Database
from cloud.district.service import load_district
from common.runtime.clock import SystemClock
from common.wire.topics import Address
from gateway.fleet.credentials import new_credential
from gateway.fleet.enrol import credential_file, enrol
from gateway.fleet.sites import load_sites

#: Who may sign in to the demo: name, role, unit, title.
ACCOUNTS = (
    ("admin", "admin", "centre", "管理员 Administrator"),
    ("duty", "dispatcher", "centre", "值班调度 Duty dispatcher"),
    ("water", "handler", "water", "水务处置 Water crew"),
)


@dataclass(frozen=True, slots=True)
class Provision:
    """The secrets of a run; each also lies in a file of mode 0600 in ``folder``."""

    folder: Path
    boxes: dict[Address, str]
    gateway_password: str
    accounts: dict[str, str]

    def credential_file(self, box: Address) -> Path:
        """The file with a box's credential."""
        return credential_file(self.folder, box)


def provision(database_url: str, sites: Path, district: Path, folder: Path) -> Provision:
    """Prepare a migrated database; again changes nothing.

    Args:
        database_url: the store.
        sites: the folder of the sites' configuration files.
        district: the configuration file of a district.
        folder: where secrets are kept; passwords in it are used again.

    Raises:
        DrumtowerError: when a configuration is wrong or the database does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # These boxes are the demo's own: where a database knows them and their credentials are gone, they get new ones.
    enrolled = enrol(database_url, load_sites(sites), folder, renew=True)
    accounts: dict[str, str] = {}
    with Database(database_url, size=2) as database:
        load_district(database, district)
        auth = AuthService(database, SystemClock())
        known = {row.account.name for row in auth.accounts()}
        for name, role, unit, title in ACCOUNTS:
            kept = _kept(folder / f"account.{name}")
            if name in known and kept is None:
                continue  # somebody else's account of that name: it keeps the password that they know
            password = kept or _write(folder / f"account.{name}", generate_password())
            if name not in known:
                auth.add_account(name, password, role, unit, title)
            accounts[name] = password
    gateway = _kept(folder / "gateway") or _write(folder / "gateway", new_credential())
    boxes = {Address.parse(name): credential for name, credential in enrolled.credentials.items()}
    return Provision(folder, boxes, gateway, accounts)


def _kept(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def _write(path: Path, secret: str) -> str:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secret + "\n")
    return secret
