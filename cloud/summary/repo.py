"""Counting, in the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from cloud.db import Queries, Transaction
from cloud.incidents.domain import FusionRule, Matter, count_too_near
from cloud.incidents.repo import rules_in_force
from cloud.summary.schemas import Checks, IncidentFigures, TicketFigures
from cloud.tickets.domain import NOT_OPEN, Channel, State

_Q = Queries("cloud.summary")


def incidents(transaction: Transaction) -> IncidentFigures:
    """Figures of incidents."""
    return IncidentFigures.model_validate(transaction.one(_Q["incidents"]))


def tickets(transaction: Transaction) -> TicketFigures:
    """Figures of tickets."""
    rows = transaction.rows(_Q["tickets"])

    def total(column: str, **wanted: str) -> int:
        return sum(row[column] for row in rows if all(row[key] == value for key, value in wanted.items()))

    channels: tuple[Channel, ...] = get_args(Channel)
    return TicketFigures(
        total=total("tickets"),
        open=sum(row["tickets"] for row in rows if State(row["state"]) not in NOT_OPEN),
        dispatched=total("dispatched"),
        unassigned=sum(row["unassigned"] for row in rows if State(row["state"]) not in NOT_OPEN),
        overdue=transaction.one(_Q["overdue"])["overdue"],
        blind=total("blind"),
        overridden=total("overridden"),
        by_state={state: total("tickets", state=state) for state in State},
        by_channel={channel: total("tickets", channel=channel) for channel in channels},
        dispatched_by_channel={channel: total("dispatched", channel=channel) for channel in channels},
    )


def checks(transaction: Transaction, rules: Sequence[FusionRule]) -> Checks:
    """Whether the promises are kept."""
    rows = transaction.rows(_Q["open_matters"])
    # Twice the same matter the index forbids; two matters so near that they should be one it cannot see.
    near = _too_near(transaction, rules, rows)
    twice = Counter(row["tickets"] > 1 for row in rows)[True]
    return Checks(
        matters_with_two_open_tickets=twice + near,
        incidents_without_exactly_one_ticket=transaction.one(_Q["incidents_without_one_ticket"])["wrong"],
    )


def matters_too_near(transaction: Transaction, rules: Sequence[FusionRule]) -> int:
    """How many matters with an open ticket stand within their radius of another: each should have been one with it.

    Args:
        transaction: the one to ask in.
        rules: the settings' ones; the district's families go before them.
    """
    return _too_near(transaction, rules, transaction.rows(_Q["open_matters"]))


def stream_head(transaction: Transaction) -> int:
    """The newest event of the stream."""
    return int(transaction.one(_Q["stream_head"])["event_id"])


def _too_near(
    transaction: Transaction, rules: Sequence[FusionRule], rows: Sequence[Mapping[str, Any]]
) -> int:
    by_category: dict[str, list[Matter]] = {}
    for row in rows:
        if not row["scope"]:
            by_category.setdefault(row["category"], []).append(_matter(row))
    in_force = rules_in_force(transaction, rules)
    return sum(count_too_near(in_force, category, matters) for category, matters in by_category.items())


def _matter(row: Mapping[str, Any]) -> Matter:
    return Matter(row["matter_id"], row["lon"], row["lat"])
