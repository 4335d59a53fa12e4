"""Rules of severity, vulnerable places and families in the database, and what is known of a matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from cloud.db import Queries, Transaction
from cloud.incidents.domain import Family
from cloud.severity.domain import Seen, SeverityRule, VulnerablePlace

_Q = Queries("cloud.severity")


def store(
    transaction: Transaction,
    families: Sequence[Family],
    rules: Sequence[SeverityRule],
    places: Sequence[VulnerablePlace],
) -> None:
    """Write a district's families, rules and places anew."""
    for name in ("clear_families", "clear_rules", "clear_places"):
        transaction.run(_Q[name])
    transaction.run_all(
        _Q["store_family"],
        [
            asdict(one) | {"position": position, "categories": list(one.categories)}
            for position, one in enumerate(families, start=1)
        ],
    )
    transaction.run_all(_Q["store_rule"], [asdict(one) | {"near": list(one.near)} for one in rules])
    transaction.run_all(
        _Q["store_place"],
        [
            asdict(one) | {"position": position, "categories": list(one.categories)}
            for position, one in enumerate(places, start=1)
        ],
    )


def rules(transaction: Transaction) -> list[SeverityRule]:
    """The rules in force, in order."""
    return [SeverityRule(**row | {"near": tuple(row["near"])}) for row in transaction.rows(_Q["rules"])]


def places(transaction: Transaction) -> list[VulnerablePlace]:
    """The vulnerable places."""
    return [
        VulnerablePlace(**row | {"categories": tuple(row["categories"])})
        for row in transaction.rows(_Q["places"])
    ]


def seen(
    transaction: Transaction, incidents: Sequence[UUID], until: datetime | None = None
) -> tuple[Seen, ...]:
    """What devices saw in some incidents; what goes on is counted until an instant, where one is given."""
    if not incidents:
        return ()
    rows = transaction.rows(_Q["seen"], incidents=list(incidents), until=until)
    return tuple(Seen(**row | {"devices": frozenset(row["devices"])}) for row in rows)


def incidents_of(transaction: Transaction, ticket_id: UUID) -> list[UUID]:
    """A ticket's incidents."""
    return [row["incident_id"] for row in transaction.rows(_Q["incidents_of"], ticket_id=ticket_id)]


def reports_of(transaction: Transaction, ticket_id: UUID) -> int:
    """How many people told of a ticket's matter."""
    return int(transaction.one(_Q["reports_of"], ticket_id=ticket_id)["reports"])


def lasting(
    transaction: Transaction,
    rule: SeverityRule,
    codes: Sequence[str],
    since: datetime,
    page: tuple[UUID | None, int],
) -> list[UUID]:
    """Open tickets that a rule would raise if nothing else were asked: below it, and going on since long ago."""
    after, limit = page
    rows = transaction.rows(
        _Q["lasting"], raise_to=rule.raise_to, since=since, codes=list(codes), after=after, limit=limit
    )
    return [row["ticket_id"] for row in rows]
