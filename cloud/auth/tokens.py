"""Service tokens: what programs sign in with. Each acts as a role of a unit, and only where its scopes reach."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from cloud.auth import repo
from cloud.auth.domain import NAME, ROLES, SCOPES, Account, Caller, Role, ServiceToken
from cloud.auth.errors import TokenError
from cloud.auth.roles import may
from cloud.db import Database, Transaction
from cloud.errors import ForbiddenError, NotFoundError
from common.runtime.clock import Clock, to_datetime
from common.wire.ids import uuid7

#: Tells our tokens from other texts, for scanners that look for secrets in places where none should be.
PREFIX: Final = "drumtower_"
LONGEST_DAYS: Final = 730
_COMMAND_LINE: Final = "command line"
_TOUCH_EVERY: Final = timedelta(minutes=1)
_LONGEST: Final = 200


class TokenService:
    """Making, revoking and recognising service tokens.

    Args:
        database: opened.
        clock: the time by which they end.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def caller(self, text: str) -> Caller | None:
        """Who sends a token, or None when it is none that is still good."""
        if not text.startswith(PREFIX) or len(text) > _LONGEST:
            return None
        now = self._now()
        with self._database.transaction() as tx:
            found = repo.token_by_hash(tx, _hash(text), now)
            if found is None:
                return None
            token, account = found
            if token.last_used_at is None or now - token.last_used_at > _TOUCH_EVERY:
                repo.touch_token(tx, token.token_id, now)
        return Caller(account, scopes=frozenset(token.scopes))

    def add(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        role: str,
        unit_code: str,
        days: int,
        by: Account | None = None,
    ) -> tuple[str, ServiceToken]:
        """A new token.

        Args:
            name: what it is for; shown in histories as ``token:name``.
            scopes: where it reaches.
            role: as what it acts.
            unit_code: and where: there and in every unit below.
            days: how long, 1 to 730.
            by: who makes it; None on the command line.

        Returns:
            The token, which nobody can read again, and what is kept of it.

        Raises:
            TokenError: the name is taken or none, or a role, unit, scope or time that there is not.
            ForbiddenError: whoever makes it may not manage that unit.
        """
        wanted = tuple(sorted(set(scopes)))
        _check(name, wanted, role, days)
        if by is not None and not may(by, "manage", unit_code):
            raise _not_there(by, unit_code)
        now = self._now()
        text = PREFIX + secrets.token_urlsafe(32)
        actor = by.name if by else _COMMAND_LINE
        token = ServiceToken(
            uuid7(self._clock.now_ms()),
            name,
            _role(role),
            unit_code,
            wanted,
            now,
            actor,
            now + timedelta(days=days),
        )
        with self._database.transaction() as tx:
            if not repo.unit_exists(tx, unit_code):
                raise TokenError("token.no_unit", f"expected the code of a unit, got {unit_code!r}")
            if not repo.add_token(tx, token, _hash(text)):
                raise TokenError("token.exists", f"there is a token {name!r} already", "choose another name")
            detail = {"name": name, "role": role, "unit_code": unit_code, "scopes": list(wanted)}
            _note(tx, now, by, "token_added", detail)
        return text, token

    def tokens(self) -> list[ServiceToken]:
        """Every token, revoked ones too."""
        with self._database.transaction() as tx:
            return repo.tokens(tx)

    def revoke(self, token: UUID | str, by: Account | None = None) -> ServiceToken:
        """Let a token in no more; revoking it twice changes nothing.

        Args:
            token: its id, or its name.
            by: who does it; None on the command line.

        Raises:
            NotFoundError: there is none.
            ForbiddenError: whoever revokes it may not manage its unit.
        """
        now = self._now()
        by_id = isinstance(token, UUID)
        with self._database.transaction() as tx:
            found = repo.tokens(tx, token_id=token) if by_id else repo.tokens(tx, name=str(token))  # type: ignore[arg-type]
            if not found:
                raise NotFoundError("token.unknown", f"expected a service token, got {token}, which is none")
            (kept,) = found
            if by is not None and not may(by, "manage", kept.unit_code):
                raise _not_there(by, kept.unit_code)
            if repo.revoke_token(tx, kept.token_id, now):
                _note(tx, now, by, "token_revoked", {"name": kept.name})
            (kept,) = repo.tokens(tx, token_id=kept.token_id)
        return kept

    def _now(self) -> datetime:
        return to_datetime(self._clock.now_ms())


def _check(name: str, scopes: tuple[str, ...], role: str, days: int) -> None:
    if not NAME.fullmatch(name):
        raise TokenError(
            "token.bad_name",
            f"expected a name of 1–48 characters a–z, 0–9 and inner . _ -, got {name[:60]!r}",
        )
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise TokenError(
            "token.no_scope",
            f"expected scopes out of {', '.join(SCOPES)}, got {', '.join(unknown) or 'none'}",
        )
    if role not in ROLES:
        raise TokenError("token.no_role", f"expected one of {', '.join(ROLES)}, got {role!r}")
    if not 1 <= days <= LONGEST_DAYS:
        raise TokenError("token.bad_life", f"expected a life of 1 to {LONGEST_DAYS} days, got {days}")


def _role(text: str) -> Role:
    return next(role for role in ROLES if role == text)


def _not_there(account: Account, unit_code: str) -> ForbiddenError:
    return ForbiddenError(
        "token.forbidden",
        f"{account.name} ({account.role} of {account.unit_code}) may not manage tokens of {unit_code!r}",
        "ask an administrator of that unit, or of one above it",
    )


def _note(
    tx: Transaction, at: datetime, by: Account | None, action: str, detail: Mapping[str, object]
) -> None:
    account_id = by.account_id if by else None
    repo.add_audit(tx, at, by.name if by else _COMMAND_LINE, action, account_id=account_id, detail=detail)


def _hash(text: str) -> bytes:
    """What the database keeps of a token. 256 random bits need no slow hash."""
    return hashlib.sha256(text.encode()).digest()
