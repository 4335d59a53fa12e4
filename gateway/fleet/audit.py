"""Who did what by hand, when and why: lines in the table that the ticket centre's people have theirs in.

Lines are added in the transaction that does what they speak of, and never changed (a trigger sees to it).
"""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from gateway.fleet import repo


@dataclass(frozen=True, slots=True)
class Actor:
    """A person at a machine."""

    name: str
    host: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the audit."""

    at: datetime
    actor: str
    action: str
    host: str
    detail: dict[str, Any]


def this_person() -> Actor:
    """Whoever runs this process; behind ``sudo``, who called it."""
    return Actor(os.environ.get("SUDO_USER") or getpass.getuser(), socket.gethostname())


def write(connection: repo.Connection, actor: Actor, action: str, **detail: object) -> None:
    """Add a line, in the caller's transaction."""
    repo.add_audit(connection, actor.name, actor.host, action, msgspec.json.encode(detail).decode())


def newest(connection: repo.Connection, limit: int) -> list[Entry]:
    """The newest lines about boxes and rejects."""
    return [Entry(*row) for row in repo.newest_audit(connection, limit)]
