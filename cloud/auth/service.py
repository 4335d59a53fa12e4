"""Signing in and out, sessions, and keeping accounts."""

from __future__ import annotations

import difflib
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from cloud.auth import repo
from cloud.auth.domain import (
    NAME,
    ROLES,
    Account,
    Role,
    normal_password,
    wait_after,
    what_is_wrong,
)
from cloud.auth.errors import (
    AccountError,
    NotSignedInError,
    TooManyAttemptsError,
    WrongPasswordError,
)
from cloud.auth.passwords import Passwords
from cloud.db import Database
from common.runtime.clock import Clock, to_datetime
from common.wire.ids import uuid7

#: A shift with its hand-over; after that one signs in again.
SESSION_LIFE = timedelta(hours=12)
_TOUCH_EVERY = timedelta(minutes=1)
_FAILURES_KEPT = timedelta(days=1)
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Session:
    """What a signed-in request carries."""

    account: Account
    csrf_token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session just begun; the token is known to the browser alone."""

    token: str
    session: Session


class AuthService:
    """The door of the ticket centre.

    Args:
        database: opened.
        clock: the time of sessions and waits.
        passwords: how passwords are hashed.
    """

    def __init__(self, database: Database, clock: Clock, passwords: Passwords | None = None) -> None:
        self._database = database
        self._clock = clock
        self._passwords = passwords or Passwords()

    def sign_in(self, name: str, password: str, address: str) -> NewSession:
        """Begin a session.

        Raises:
            WrongPasswordError: when they do not belong together, or the account is disabled.
            TooManyAttemptsError: after several wrong ones in a row from this address; says how long to wait.
            TransientError: when the database is away.
        """
        name = name.strip().casefold()[:_LONGEST_NAME].replace("\0", "")
        self._count_try(name, address)
        with self._database.transaction() as tx:
            stored = repo.account_by_name(tx, name)
        # Outside a transaction: it takes a tenth of a second and 64 MiB, and no connection.
        right = self._passwords.check(stored.password_hash if stored else None, password)
        now = self._now()
        if stored is None or stored.disabled or not right:
            with self._database.transaction() as tx:
                known = stored.account.account_id if stored else None
                repo.add_audit(tx, now, name, "sign_in_refused", account_id=known, address=address)
            raise WrongPasswordError(
                "auth.wrong_password",
                "name and password do not belong together",
                "check both; an administrator can set a new password",
            )
        return self._begin(stored, password, address, now)

    def _count_try(self, name: str, address: str) -> None:
        """Count a try as failed before it is checked, so that many at once cannot slip past the count."""
        now = self._now()
        with self._database.transaction() as tx:
            repo.drop_old_failures(tx, now - _FAILURES_KEPT)
            failures, locked_until = repo.lock_failures(tx, name, address, now)
            wait = (locked_until - now).total_seconds()
            if wait <= 0:
                until = now + timedelta(seconds=wait_after(failures + 1))
                repo.count_failure(tx, name, address, failures=failures + 1, at=now, locked_until=until)
        if wait > 0:
            raise TooManyAttemptsError(int(wait) + 1)

    def _begin(self, stored: repo.StoredAccount, password: str, address: str, now: datetime) -> NewSession:
        dated = self._passwords.is_dated(stored.password_hash)
        fresh = self._passwords.hash(password) if dated else None
        return self._begin_session(stored.account, address, now, fresh=fresh)

    def sign_in_vouched(self, issuer: str, subject: str, address: str) -> NewSession:
        """Begin a session for whom a provider vouches for.

        Raises:
            NotSignedInError: no account is linked to them, or it is disabled.
        """
        now = self._now()
        with self._database.transaction() as tx:
            stored = repo.account_by_identity(tx, issuer, subject)
            if stored is None or stored.disabled:
                known = stored.account.account_id if stored else None
                detail = {"issuer": issuer, "subject": subject}
                name = stored.account.name if stored else "unknown"
                repo.add_audit(
                    tx, now, name, "sign_in_refused", account_id=known, address=address, detail=detail
                )
        if stored is None or stored.disabled:
            raise NotSignedInError(
                "auth.unknown_identity",
                "expected somebody whose account is linked here, got somebody unknown",
                "an administrator can link it: drumtower cloud account link",
            )
        return self._begin_session(stored.account, address, now, by=issuer)

    def _begin_session(
        self, account: Account, address: str, now: datetime, *, fresh: str | None = None, by: str = ""
    ) -> NewSession:
        token, csrf_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        expires_at = now + SESSION_LIFE
        with self._database.transaction() as tx:
            if not by:
                repo.forget_failures(tx, account.name, address)
            repo.add_session(
                tx,
                token_hash=_hash(token),
                account_id=account.account_id,
                csrf_token=csrf_token,
                address=address,
                at=now,
                expires_at=expires_at,
            )
            repo.add_audit(
                tx,
                now,
                account.name,
                "sign_in",
                account_id=account.account_id,
                address=address,
                detail={"by": by} if by else {},
            )
            if fresh is not None:
                repo.set_password(tx, account.account_id, fresh)
        return NewSession(token, Session(account, csrf_token, expires_at))

    def session(self, token: str) -> Session | None:
        """The session of a browser's token, or None when there is none that is still good."""
        now = self._now()
        with self._database.transaction() as tx:
            row = repo.session_by_token(tx, _hash(token), now)
            if row is None:
                return None
            if now - row.last_seen_at > _TOUCH_EVERY:
                repo.touch_session(tx, _hash(token), now)
        return Session(row.account, row.csrf_token, row.expires_at)

    def sign_out(self, token: str, address: str) -> None:
        """End a session; one that is over already is no error."""
        now = self._now()
        with self._database.transaction() as tx:
            row = repo.session_by_token(tx, _hash(token), now)
            if repo.end_session(tx, _hash(token)) and row is not None:
                account = row.account
                repo.add_audit(
                    tx, now, account.name, "sign_out", account_id=account.account_id, address=address
                )

    def add_account(self, name: str, password: str, role: str, unit_code: str, title: str = "") -> Account:
        """A new account.

        Raises:
            AccountError: when the name is taken or not one, the role or the unit does not exist, or the
                password is too weak.
        """
        if not NAME.fullmatch(name):
            raise AccountError(
                "auth.bad_name",
                f"expected a name of 1–48 characters a–z, 0–9 and inner . _ -, got {name[:60]!r}",
            )
        if role not in ROLES:
            raise AccountError("auth.no_role", f"expected one of {', '.join(ROLES)}, got {role!r}")
        _check_password(name, password)
        account = Account(uuid7(self._clock.now_ms()), name, _role(role), unit_code, title)
        hashed = self._passwords.hash(password)
        with self._database.transaction() as tx:
            if not repo.unit_exists(tx, unit_code):
                raise AccountError(
                    "auth.no_unit",
                    f"expected the code of a unit, got {unit_code!r}{_nearest(unit_code, repo.unit_codes(tx))}",
                    "load the district first: drumtower cloud load-district FILE",
                )
            if repo.account_by_name(tx, name) is not None:
                raise AccountError(
                    "auth.account_exists",
                    f"there is an account {name!r} already",
                    f"set its password with: drumtower cloud account password {name}",
                )
            now = self._now()
            repo.add_account(tx, account, hashed, now)
            detail = {"name": name, "role": role, "unit_code": unit_code}
            repo.add_audit(tx, now, "command line", "account_added", detail=detail)
        return account

    def set_password(self, name: str, password: str) -> None:
        """Another password for an account: its sessions end, its waits too.

        Raises:
            AccountError: when there is no such account or the password is too weak.
        """
        _check_password(name, password)
        hashed = self._passwords.hash(password)
        with self._database.transaction() as tx:
            account = self._known(repo.account_by_name(tx, name), name)
            repo.set_password(tx, account.account_id, hashed)
            repo.end_sessions_of(tx, account.account_id)
            repo.forget_failures(tx, name, None)
            repo.add_audit(tx, self._now(), "command line", "password_set", detail={"name": name})

    def disable(self, name: str) -> None:
        """Let an account sign in no more and end its sessions. What it did stays on record.

        Raises:
            AccountError: when there is no such account.
        """
        with self._database.transaction() as tx:
            account = self._known(repo.account_by_name(tx, name), name)
            repo.disable_account(tx, account.account_id, self._now())
            repo.end_sessions_of(tx, account.account_id)
            repo.add_audit(tx, self._now(), "command line", "account_disabled", detail={"name": name})

    def link(self, name: str, issuer: str, subject: str) -> None:
        """Let somebody sign in at a provider as an account of ours.

        Raises:
            AccountError: there is no such account, or the identity has one.
        """
        with self._database.transaction() as tx:
            account = self._known(repo.account_by_name(tx, name), name)
            if not repo.link_identity(tx, account.account_id, issuer, subject, self._now()):
                raise AccountError("auth.linked", f"{subject!r} of {issuer} is linked to an account already")
            detail = {"name": name, "issuer": issuer, "subject": subject}
            repo.add_audit(tx, self._now(), "command line", "account_linked", detail=detail)

    def unlink(self, name: str) -> int:
        """Take every provider's identity of an account away and end its sessions; how many there were.

        Raises:
            AccountError: there is no such account.
        """
        with self._database.transaction() as tx:
            account = self._known(repo.account_by_name(tx, name), name)
            count = repo.unlink_identities(tx, account.account_id)
            repo.end_sessions_of(tx, account.account_id)
            repo.add_audit(tx, self._now(), "command line", "account_unlinked", detail={"name": name})
        return count

    def looked_at(self, account: Account, sha256: str, address: str) -> None:
        """Write down that somebody is shown a picture."""
        with self._database.transaction() as tx:
            repo.add_audit(
                tx,
                self._now(),
                account.name,
                "evidence_viewed",
                account_id=account.account_id,
                address=address,
                detail={"sha256": sha256},
            )

    def accounts(self) -> list[repo.AccountRow]:
        """Every account."""
        with self._database.transaction() as tx:
            return repo.all_accounts(tx)

    @staticmethod
    def _known(stored: repo.StoredAccount | None, name: str) -> Account:
        if stored is None:
            raise AccountError(
                "auth.no_account", f"there is no account {name!r}", "drumtower cloud account list"
            )
        return stored.account

    def _now(self) -> datetime:
        return to_datetime(self._clock.now_ms())


def _hash(token: str) -> bytes:
    """What the database keeps of a token. 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).digest()


def _role(text: str) -> Role:
    return next(role for role in ROLES if role == text)


def _check_password(name: str, password: str) -> None:
    if wrong := what_is_wrong(name, normal_password(password)):
        raise AccountError("auth.weak_password", wrong)


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
