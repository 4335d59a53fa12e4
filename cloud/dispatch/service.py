"""Finding the owner of a place and a category."""

from __future__ import annotations

from cloud.db import Transaction
from cloud.dispatch import domain, repo


def find_route(
    transaction: Transaction, category: str, severity: int, lon: float, lat: float
) -> tuple[domain.Route, dict[str, str]]:
    """Whose matter this is, and the units of its place (kind → code)."""
    units_of_place = repo.place(transaction, lon, lat)
    found = domain.route(
        repo.rules(transaction), category, severity, units_of_place, repo.unit_codes(transaction)
    )
    return found, units_of_place
