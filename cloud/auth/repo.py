"""Accounts, sessions, failed sign-ins and the audit in the database."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from cloud.auth.domain import Account, ServiceToken
from cloud.db import Queries, Transaction

_SQL = Queries("cloud.auth")


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """An account with what only the door may see."""

    account: Account
    password_hash: str
    disabled: bool


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A line of the list of accounts."""

    account: Account
    created_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that is still good."""

    account: Account
    csrf_token: str
    last_seen_at: datetime
    expires_at: datetime


def _account(row: DictRow, reach: frozenset[str] = frozenset()) -> Account:
    return Account(row["account_id"], row["name"], row["role"], row["unit_code"], row["title"], reach)


def _reach(tx: Transaction, unit_code: str) -> frozenset[str]:
    return frozenset(row["unit_code"] for row in tx.rows(_SQL["reach"], unit_code=unit_code))


def account_by_name(tx: Transaction, name: str) -> StoredAccount | None:
    """An account, disabled ones too; its reach is left empty."""
    row = tx.row(_SQL["account_by_name"], name=name)
    if row is None:
        return None
    return StoredAccount(_account(row), row["password_hash"], row["disabled_at"] is not None)


def account_by_identity(tx: Transaction, issuer: str, subject: str) -> StoredAccount | None:
    """Whose identity it is at a provider, disabled ones too; its reach is left empty."""
    row = tx.row(_SQL["account_by_identity"], issuer=issuer, subject=subject)
    if row is None:
        return None
    return StoredAccount(_account(row), row["password_hash"], row["disabled_at"] is not None)


def link_identity(tx: Transaction, account_id: uuid.UUID, issuer: str, subject: str, at: datetime) -> bool:
    """An account's identity at a provider; False where somebody has it already."""
    return bool(tx.run(_SQL["link_identity"], account_id=account_id, issuer=issuer, subject=subject, at=at))


def unlink_identities(tx: Transaction, account_id: uuid.UUID) -> int:
    """Take them away; how many."""
    return tx.run(_SQL["unlink_identities"], account_id=account_id)


def all_accounts(tx: Transaction) -> list[AccountRow]:
    """Every account by name; their reach is left empty."""
    return [
        AccountRow(_account(row), row["created_at"], row["disabled_at"])
        for row in tx.rows(_SQL["all_accounts"])
    ]


def add_account(tx: Transaction, account: Account, password_hash: str, at: datetime) -> None:
    """A new account."""
    tx.run(
        _SQL["add_account"],
        account_id=account.account_id,
        name=account.name,
        title=account.title,
        password_hash=password_hash,
        role=account.role,
        unit_code=account.unit_code,
        at=at,
    )


def set_password(tx: Transaction, account_id: uuid.UUID, password_hash: str) -> None:
    """Another password."""
    tx.run(_SQL["set_password"], account_id=account_id, password_hash=password_hash)


def disable_account(tx: Transaction, account_id: uuid.UUID, at: datetime) -> None:
    """No more sign-ins; what it did stays."""
    tx.run(_SQL["disable_account"], account_id=account_id, at=at)


def unit_exists(tx: Transaction, unit_code: str) -> bool:
    """Whether there is such a unit."""
    return tx.row(_SQL["unit_exists"], unit_code=unit_code) is not None


def unit_codes(tx: Transaction) -> list[str]:
    """All units."""
    return [row["unit_code"] for row in tx.rows(_SQL["unit_codes"])]


def add_session(
    tx: Transaction,
    *,
    token_hash: bytes,
    account_id: uuid.UUID,
    csrf_token: str,
    address: str,
    at: datetime,
    expires_at: datetime,
) -> None:
    """A new session; those that are over go."""
    tx.run(_SQL["drop_old_sessions"], at=at)
    tx.run(
        _SQL["add_session"],
        token_hash=token_hash,
        account_id=account_id,
        csrf_token=csrf_token,
        address=address,
        at=at,
        expires_at=expires_at,
    )


def session_by_token(tx: Transaction, token_hash: bytes, at: datetime) -> SessionRow | None:
    """A session that is neither over nor of a disabled account."""
    row = tx.row(_SQL["session_by_token"], token_hash=token_hash, at=at)
    if row is None:
        return None
    account = _account(row, _reach(tx, row["unit_code"]))
    return SessionRow(account, row["csrf_token"], row["last_seen_at"], row["expires_at"])


def touch_session(tx: Transaction, token_hash: bytes, at: datetime) -> None:
    """It was used."""
    tx.run(_SQL["touch_session"], token_hash=token_hash, at=at)


def end_session(tx: Transaction, token_hash: bytes) -> bool:
    """Whether there was one to end."""
    return tx.row(_SQL["end_session"], token_hash=token_hash) is not None


def end_sessions_of(tx: Transaction, account_id: uuid.UUID) -> None:
    """All of an account."""
    tx.run(_SQL["end_sessions_of"], account_id=account_id)


def lock_failures(tx: Transaction, name: str, address: str, at: datetime) -> tuple[int, datetime]:
    """Failures in a row and until when tries do not count; held to the end of the transaction."""
    tx.run(_SQL["begin_failures"], name=name, address=address, at=at)
    row = tx.one(_SQL["lock_failures"], name=name, address=address)
    return row["failures"], row["locked_until"]


def count_failure(
    tx: Transaction, name: str, address: str, *, failures: int, at: datetime, locked_until: datetime
) -> None:
    """So many in a row by now."""
    tx.run(
        _SQL["count_failure"],
        name=name,
        address=address,
        failures=failures,
        at=at,
        locked_until=locked_until,
    )


def forget_failures(tx: Transaction, name: str, address: str | None) -> None:
    """From one address, or (None) from all."""
    tx.run(_SQL["forget_failures"], name=name, address=address)


def drop_old_failures(tx: Transaction, before: datetime) -> None:
    """Those nobody added to since."""
    tx.run(_SQL["drop_old_failures"], before=before)


def add_audit(
    tx: Transaction,
    at: datetime,
    actor: str,
    action: str,
    *,
    account_id: uuid.UUID | None = None,
    address: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """A line that is never changed."""
    tx.run(
        _SQL["add_audit"],
        at=at,
        account_id=account_id,
        actor=actor,
        action=action,
        address=address,
        detail=Jsonb(dict(detail or {})),
    )


def add_token(tx: Transaction, token: ServiceToken, token_hash: bytes) -> bool:
    """A new service token; whether its name was free."""
    return bool(
        tx.run(
            _SQL["add_token"],
            token_id=token.token_id,
            name=token.name,
            token_hash=token_hash,
            role=token.role,
            unit_code=token.unit_code,
            scopes=list(token.scopes),
            created_at=token.created_at,
            created_by=token.created_by,
            expires_at=token.expires_at,
        )
    )


def token_by_hash(tx: Transaction, token_hash: bytes, at: datetime) -> tuple[ServiceToken, Account] | None:
    """A token that is neither revoked nor over, and in whose name it acts."""
    row = tx.row(_SQL["token_by_hash"], token_hash=token_hash, at=at)
    if row is None:
        return None
    token = _token(row)
    reach = _reach(tx, token.unit_code)
    return token, Account(token.token_id, f"token:{token.name}", token.role, token.unit_code, "", reach)


def touch_token(tx: Transaction, token_id: uuid.UUID, at: datetime) -> None:
    """It was used."""
    tx.run(_SQL["touch_token"], token_id=token_id, at=at)


def tokens(tx: Transaction, token_id: uuid.UUID | None = None, name: str | None = None) -> list[ServiceToken]:
    """Every token by name, revoked ones too; or the one that is asked for."""
    return [_token(row) for row in tx.rows(_SQL["tokens"], token_id=token_id, name=name)]


def revoke_token(tx: Transaction, token_id: uuid.UUID, at: datetime) -> bool:
    """Whether there was one to revoke."""
    return bool(tx.run(_SQL["revoke_token"], token_id=token_id, at=at))


def evidence_views(tx: Transaction, sha256: str, limit: int) -> list[DictRow]:
    """Who looked at a picture, the latest first."""
    return tx.rows(_SQL["evidence_views"], sha256=sha256, limit=limit)


def _token(row: DictRow) -> ServiceToken:
    return ServiceToken(**(row | {"scopes": tuple(row["scopes"])}))
