"""Finding the owner of a place and a category."""

from __future__ import annotations

from cloud.db import Transaction
from cloud.dispatch import domain, repo
from common.wire.categories import BY_CODE


def find_route(
    transaction: Transaction, category: str, severity: int, lon: float, lat: float
) -> tuple[domain.Route, dict[str, str]]:
    """Whose matter this is, and the units of its place (kind → code).

    A category that nobody declared goes to the centre's queue, whatever the rules would say: a mistyped or
    invented code must not call out a department, and must not be lost either.
    """
    units_of_place = repo.place(transaction, lon, lat)
    if category not in BY_CODE:
        return domain.Route(None, (), f"nobody declared the category {category}"), units_of_place
    found = domain.route(
        repo.rules(transaction), category, severity, units_of_place, repo.unit_codes(transaction)
    )
    return found, units_of_place
