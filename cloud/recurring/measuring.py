"""Measuring a recurring place again after somebody said that something was done."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cloud.db import Transaction
from cloud.recurring import repo
from cloud.recurring.domain import Rate, judge
from cloud.recurring.repo import Counting
from cloud.tickets.domain import Ticket
from cloud.verify.domain import Verdict

#: Books come each five minutes; asking each second would say the same.
_AGAIN: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a claim comes to, and by what."""

    verdict: Verdict
    before: Rate
    after: Rate

    def detail(self) -> dict[str, Any]:
        """As the history says it."""
        return {"before": self.before.snapshot(), "after": self.after.snapshot()}


def measure_claim(transaction: Transaction, ticket: Ticket, now: datetime) -> Measured | None:
    """The rate since the claim against the one before it; None where the ticket is no recurring place.

    Before is all from the beginning of what opened the ticket up to the claim, in the same band of hours and by the same
    cameras as after it.
    """
    place = repo.place(transaction, ticket.ticket_id)
    if place is None or ticket.claimed_at is None:
        return None
    is_fresh = place.measured_at is not None and now - place.measured_at < _AGAIN
    is_of_this_claim = place.claimed_at == ticket.claimed_at
    if is_fresh and is_of_this_claim and place.before and place.after and place.verdict:
        return Measured(place.verdict, place.before, place.after)
    begin = min(place.opened_upon.since, ticket.claimed_at)
    spans = ((begin, ticket.claimed_at), (ticket.claimed_at, max(now, ticket.claimed_at)))
    before, after = (
        repo.rate(transaction, Counting(place.category, place.band, *span), place.cameras) for span in spans
    )
    verdict = judge(place.rule, before, after, now)
    repo.measured(transaction, place.ticket_id, (before, after), verdict, now)
    return Measured(verdict, before, after)
