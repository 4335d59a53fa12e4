"""The statements about maintenance, drills and alarms on the shelf."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from common.runtime.errors import InvalidError
from gateway.fleet import audit
from gateway.fleet.repo import Connection, transaction

Kind = Literal["maintenance", "drill", "shelved"]
#: A drill keeps real alarms from everybody too, and one that was forgotten must end by itself.
LONGEST: Final[dict[Kind, timedelta]] = {
    "maintenance": timedelta(days=30),
    "drill": timedelta(hours=12),
    "shelved": timedelta(hours=24),
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """Which alarm is on the shelf; no sensor: the category's, whatever sensor of the box raises it."""

    category: str
    sensor: str | None = None


@dataclass(frozen=True, slots=True)
class Quiet:
    """A maintenance, a drill or an alarm on the shelf; without a device it is of all of the site."""

    quiet_id: int
    kind: Kind
    site: str
    device: str | None
    from_at: datetime
    until_at: datetime
    reason: str
    who: str
    ended_by: str | None
    observations: int
    category: str | None = None
    sensor: str | None = None

    @property
    def place(self) -> str:
        """Where it is, and of a shelved one which alarm."""
        where = self.site if self.device is None else f"{self.site}/{self.device}"
        return " ".join(part for part in (where, self.category, self.sensor) if part)


def begin(
    connection: Connection,
    kind: Kind,
    place: tuple[str, str | None],
    span: tuple[datetime | None, timedelta | datetime],
    *,
    reason: str,
    actor: audit.Actor,
    alarm: Alarm | None = None,
) -> Quiet:
    """Write a time down.

    Args:
        connection: one of its own.
        kind: what it is.
        place: site and device; no device: all of the site.
        span: from when (None: now), and how long or until when.
        reason: why.
        actor: who.
        alarm: what is put on the shelf.

    Raises:
        InvalidError: when the place is not registered, or it would end before it begins or last too long.
        TransientError: when the database went away.
    """
    site, device = place
    begins, ends = span
    what = (None, None) if alarm is None else (alarm.category, alarm.sensor)
    with transaction(connection):
        row = connection.execute(
            "SELECT clock_timestamp(), EXISTS (SELECT FROM device WHERE site = %s AND (%s::text IS NULL OR name = %s))",
            [site, device, device],
        ).fetchone()
        assert row is not None
        if not row[1]:
            raise InvalidError(
                "quiet.unknown_place",
                f"{site if device is None else f'{site}/{device}'} is not registered",
                "drumtower gateway enrol registers boxes",
            )
        from_at = begins or row[0]
        until_at = from_at + ends if isinstance(ends, timedelta) else ends
        if not timedelta(0) < until_at - from_at <= LONGEST[kind] or until_at <= row[0]:
            raise InvalidError(
                "quiet.wrong_span",
                f"expected a {kind} that ends after it begins, later than now and within {LONGEST[kind]},"
                f" got {from_at.isoformat(timespec='seconds')} to {until_at.isoformat(timespec='seconds')}",
                "what is seen meanwhile calls no one, so it must end by itself",
            )
        made = connection.execute(
            "INSERT INTO quiet_time (kind, site, device, from_at, until_at, reason, who, category, sensor)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING quiet_id",
            [kind, site, device, from_at, until_at, reason, actor.name, *what],
        ).fetchone()
        assert made is not None
        quiet = Quiet(made[0], kind, site, device, from_at, until_at, reason, actor.name, None, 0, *what)
        until = until_at.isoformat(timespec="seconds")
        audit.write(
            connection, actor, f"{kind}.begin", place=quiet.place, why=reason, until=until, id=made[0]
        )
        return quiet


def newest(connection: Connection, kind: Kind, *, over: bool, limit: int) -> list[Quiet]:
    """Times that are or will be, or with ``over`` all, the latest first; with how many observations they marked."""
    rows = connection.execute(
        "SELECT q.quiet_id, q.kind, q.site, q.device, q.from_at, q.until_at, q.reason, q.who, q.ended_by,"
        " (SELECT count(DISTINCT o.observation_id) FROM observation o JOIN device d USING (device_id)"
        " WHERE d.site = q.site AND (q.device IS NULL OR d.name = q.device) AND o.mark = q.kind"
        " AND (q.category IS NULL OR o.category = q.category) AND (q.sensor IS NULL OR o.sensor = q.sensor)"
        " AND o.at >= q.from_at AND o.at < q.until_at), q.category, q.sensor"
        " FROM quiet_time q WHERE q.kind = %s AND (%s OR q.until_at > now()) ORDER BY q.from_at DESC LIMIT %s",
        [kind, over, limit],
    ).fetchall()
    return [Quiet(*row) for row in rows]


def end(connection: Connection, kind: Kind, quiet_id: int, actor: audit.Actor) -> str:
    """End a time now; its place.

    Raises:
        InvalidError: when there is none that goes on or is to come.
        TransientError: when the database went away.
    """
    with transaction(connection):
        row = connection.execute(
            "UPDATE quiet_time SET until_at = greatest(from_at, least(until_at, clock_timestamp())), ended_by = %s"
            " WHERE quiet_id = %s AND kind = %s AND until_at > clock_timestamp()"
            " RETURNING site || coalesce('/' || device, '')",
            [actor.name, quiet_id, kind],
        ).fetchone()
        if row is None:
            raise InvalidError(
                "quiet.unknown",
                f"there is no {kind} {quiet_id} that goes on or is to come",
                f"drumtower gateway {kind} list",
            )
        audit.write(connection, actor, f"{kind}.end", place=row[0], id=quiet_id)
        return str(row[0])
