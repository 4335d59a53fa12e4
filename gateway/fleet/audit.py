"""Who did what by hand, when and why: lines in the table that the ticket centre's people have theirs in.

Lines are added in the transaction that does what they speak of, and never changed (a trigger sees to it).
"""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from gateway.fleet import repo

#: What is done by hand at a gateway, by the first word of an action; `drumtower gateway audit` shows these.
SUBJECTS: Final = ("reject", "quarantine", "maintenance", "drill", "shelved", "rules")
#: What changes nothing, by the last word of an action.
LOOKS: Final = ("listed", "inspected")


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
    """Add a line, in the caller's transaction; ``action`` begins with one of the ``SUBJECTS``."""
    assert action.partition(".")[0] in SUBJECTS, f"{action} would never be shown"
    repo.add_audit(connection, actor.name, actor.host, action, msgspec.json.encode(detail).decode())


def looked(connection: repo.Connection, action: str, **detail: object) -> None:
    """Add a line that whoever runs this process looked at something; what cannot be written down is not shown.

    Raises:
        TransientError: when it cannot be written.
    """
    with repo.transaction(connection):
        write(connection, this_person(), action, **detail)


def newest(connection: repo.Connection, limit: int, *, looks: bool = False) -> list[Entry]:
    """The newest lines about boxes, rejects and rules; with ``looks`` also of what changed nothing."""
    left_out = () if looks else LOOKS
    return [Entry(*row) for row in repo.newest_audit(connection, SUBJECTS, left_out, limit)]
