"""Accounts and how long a wrong password makes one wait. Pure."""

from __future__ import annotations

import re
import unicodedata
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

Role = Literal["viewer", "handler", "dispatcher", "supervisor", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "handler", "dispatcher", "supervisor", "admin")

Action = Literal[
    "note",
    "acknowledge",
    "arrive",
    "resolve",
    "dispatch",
    "transfer",
    "call",
    "suspend",
    "resume",
    "escalate",
    "reopen",
    "void",
    "confirm",
    "accept",
    "photo",
    "storm",
    "duty",
    "audit",
    "rate",
    "report",
    "merge",
    "split",
    "personal",
    "told",
    "shelve",
    "manage",
]

#: What a service token may be for; people who signed in are limited by their role and place alone.
Scope = Literal[
    "tickets:read",
    "tickets:act",
    "incidents:read",
    "evidence:read",
    "stream:read",
    "rules:read",
    "rules:write",
    "duty:read",
    "duty:write",
    "storms:read",
    "storms:write",
    "summary:read",
    "audit:read",
    "assessment:read",
    "reports:read",
    "reports:write",
    "personal:read",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)

MIN_PASSWORD = 10
MAX_PASSWORD = 200  # hashing an endless one would be a way to keep the server busy
NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,46}[a-z0-9])?")

_FREE_FAILURES = 4
_FIRST_WAIT_S = 30
_LONGEST_WAIT_S = 900


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who signed in.

    ``reach`` is the codes of its unit and every unit below it: where its role counts.
    """

    account_id: uuid.UUID
    name: str
    role: Role
    unit_code: str
    title: str = ""
    reach: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def shown_name(self) -> str:
        """How others see it: its title, or its name where it has none."""
        return self.title or self.name


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: a person with a session, or a program with a token.

    Attributes:
        account: in whose name.
        csrf_token: of a session, what proves that our own page sent a request.
        scopes: of a token, what it is for; None for a person.
    """

    account: Account
    csrf_token: str = field(default="", repr=False)
    scopes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ServiceToken:
    """What is known of a program's token; the token itself is not."""

    token_id: uuid.UUID
    name: str
    role: Role
    unit_code: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


def wait_after(failures: int) -> int:
    """Seconds until the next try after so many wrong passwords in a row.

    None for the first four, then 30 s, doubling up to 15 minutes.
    """
    if failures <= _FREE_FAILURES:
        return 0
    return int(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(failures - _FREE_FAILURES - 1, 16)))


def normal_password(password: str) -> str:
    """One password however the keyboard composed it (NFC, as PRECIS OpaqueString of RFC 8265)."""
    return unicodedata.normalize("NFC", password)


def what_is_wrong(name: str, password: str) -> str | None:
    """Why a password cannot be taken, or None."""
    normal = normal_password(password)
    if len(normal) < MIN_PASSWORD:
        return f"expected at least {MIN_PASSWORD} characters, got {len(normal)}"
    if len(normal) > MAX_PASSWORD:
        return f"expected at most {MAX_PASSWORD} characters, got {len(normal)}"
    if len(set(normal)) < 4:
        return "expected at least four different characters"
    if name.casefold() in normal.casefold():
        return "expected a password that does not hold the account's name"
    return None
