"""Finding the owner of a place, a category and a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from cloud.db import Transaction
from cloud.dispatch import checking, domain, repo
from common.wire.categories import BY_CODE


def find_route(
    transaction: Transaction, category: str, severity: int, place: Mapping[str, str], at: datetime
) -> domain.Route:
    """Whose matter this is; ``place`` is the units of its place (kind → code).

    A category that nobody declared goes to the centre's queue, whatever the rules would say: a mistyped or
    invented code must not call out a department, and must not be lost either.
    """
    if category not in BY_CODE:
        return domain.Route(None, (), f"nobody declared the category {category}")
    return domain.decide(repo.book(transaction), domain.Matter(category, severity, place, at))


def check_rules(transaction: Transaction, now: datetime) -> list[checking.Finding]:
    """What is wrong with the rules in force: loops, rules never reached, unknown units, what finds no owner."""
    parents, kinds = repo.organisation(transaction)
    return checking.check(repo.book(transaction), parents, kinds, BY_CODE, now)
