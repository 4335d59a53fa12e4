"""Notifications and their deliveries in the database. The only module of the feature that speaks SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from cloud.db import Queries, Transaction
from cloud.notify.domain import Notification

_Q = Queries("cloud.notify")

ListedState = Literal["waiting", "sent", "given-up"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that is this process's until its time runs out; ``tries`` counts this one."""

    notification: Notification
    channel: str
    tries: int


@dataclass(frozen=True, slots=True)
class Figures:
    """How the sending stands: what waits, the oldest of it in seconds, what was lately given up."""

    waiting: int
    oldest_s: float
    given_up: int
    calls_given_up: int


def new_ones(transaction: Transaction, now: datetime, limit: int) -> list[Notification]:
    """Due ones for which nobody has decided how they go, locked; those that another process holds are left out."""
    return [Notification(**row) for row in transaction.rows(_Q["new_ones"], now=now, limit=limit)]


def units_above(transaction: Transaction, unit_code: str) -> frozenset[str]:
    """A unit's code and those of all above it."""
    rows = transaction.rows(_Q["units_above"], unit_code=unit_code)
    return frozenset(row["unit_code"] for row in rows) | {unit_code}


def unit_names(transaction: Transaction, unit_code: str, language: str) -> dict[str, str]:
    """A unit's name in a language, by its code."""
    suffix = "zh" if language.startswith("zh") else "en"
    rows = transaction.rows(_Q["unit_names"], unit_code=unit_code)
    return {row["unit_code"]: row[f"name_{suffix}"] for row in rows}


def lay_out(
    transaction: Transaction, notification_id: int, channels: Sequence[tuple[str, datetime]], now: datetime
) -> None:
    """Write by which channels one goes, each from an instant on."""
    transaction.run_all(
        _Q["add_delivery"],
        [
            {"notification_id": notification_id, "channel": name, "next_at": next_at}
            for name, next_at in channels
        ],
    )
    transaction.run(_Q["mark_laid_out"], notification_id=notification_id, now=now)


def claim(transaction: Transaction, channel: str, now: datetime, until: datetime, most: int) -> Claim | None:
    """Take the channel's delivery that has been due longest; nobody else gets it before ``until``."""
    row = transaction.row(_Q["claim"], channel=channel, now=now, until=until, most=most)
    if row is None:
        return None
    tries = row.pop("tries")
    return Claim(Notification(**row), channel, tries)


def mark_sent(transaction: Transaction, claimed: Claim, now: datetime) -> bool:
    """The receiver has it. False: somebody else had marked it."""
    number = claimed.notification.notification_id
    _lock(transaction, number)
    transaction.run(_Q["count_try"], notification_id=number)
    marked = transaction.run(_Q["mark_delivered"], notification_id=number, channel=claimed.channel, now=now)
    transaction.run(_Q["mark_sent"], notification_id=number, now=now)
    return marked == 1


def put_off(
    transaction: Transaction, claimed: Claim, next_at: datetime, error: str, *, counted: bool = True
) -> None:
    """Try it again later; a try that was not one does not count."""
    number = claimed.notification.notification_id
    if counted:
        _lock(transaction, number)
        transaction.run(_Q["count_try"], notification_id=number)
    transaction.run(
        _Q["put_off"],
        notification_id=number,
        channel=claimed.channel,
        next_at=next_at,
        error=error,
        tries=claimed.tries,
        attempts=claimed.tries if counted else claimed.tries - 1,
    )


def give_up(transaction: Transaction, notification_id: int, channel: str, error: str, now: datetime) -> bool:
    """This channel tries it no more; whether nobody was told by any."""
    _lock(transaction, notification_id)
    transaction.run(_Q["end_delivery"], notification_id=notification_id, channel=channel, error=error)
    return transaction.run(_Q["give_up"], notification_id=notification_id, error=error, now=now) == 1


def worn_out(transaction: Transaction, most: int, now: datetime, limit: int) -> list[tuple[int, str]]:
    """Deliveries whose last try was never told of."""
    rows = transaction.rows(_Q["worn_out"], most=most, now=now, limit=limit)
    return [(row["notification_id"], row["channel"]) for row in rows]


def strayed(
    transaction: Transaction, channels: Sequence[str], now: datetime, limit: int
) -> list[tuple[int, str]]:
    """Deliveries for channels that are not among these."""
    rows = transaction.rows(_Q["strayed"], channels=list(channels), now=now, limit=limit)
    return [(row["notification_id"], row["channel"]) for row in rows]


def figures(transaction: Transaction, now: datetime, since: datetime) -> Figures:
    """How the sending stands; what was given up is counted from ``since`` on."""
    return Figures(**transaction.one(_Q["figures"], now=now, since=since))


def why_given_up(transaction: Transaction, since: datetime) -> str:
    """Why most of what was given up lately was."""
    row = transaction.row(_Q["why_given_up"], since=since)
    return "" if row is None else str(row["error"])


def channels(transaction: Transaction) -> list[dict[str, Any]]:
    """What each channel has done."""
    return [dict(row) for row in transaction.rows(_Q["channels"])]


def listing(transaction: Transaction, state: ListedState, limit: int) -> list[dict[str, Any]]:
    """Notifications in a state, the newest first."""
    return [dict(row) for row in transaction.rows(_Q["listing"], state=state, limit=limit)]


def revive(transaction: Transaction, since: datetime, now: datetime) -> int:
    """Let what was given up since then be tried anew, by the channels there are now; how many."""
    ids = [row["id"] for row in transaction.rows(_Q["revive"], since=since, now=now)]
    transaction.run(_Q["forget_deliveries"], ids=ids)
    return len(ids)


def _lock(transaction: Transaction, notification_id: int) -> None:
    transaction.row(_Q["lock_notification"], notification_id=notification_id)
