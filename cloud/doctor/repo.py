"""What the doctor asks the database. The only module of the feature that speaks SQL."""

from __future__ import annotations

from typing import Any

from cloud.db import Queries, Transaction

_Q = Queries("cloud.doctor")


def is_of_release(transaction: Transaction) -> bool:
    """Whether the tables that are looked at are there."""
    return bool(transaction.one(_Q["is_of_release"])["it"])


def district(transaction: Transaction) -> dict[str, Any]:
    """How many units, routing rules, accounts and administrators there are."""
    return dict(transaction.one(_Q["district"]))


def why_failed(transaction: Transaction) -> str:
    """Why most of what failed could not be applied."""
    row = transaction.row(_Q["why_failed"])
    return "" if row is None else str(row["error"])
