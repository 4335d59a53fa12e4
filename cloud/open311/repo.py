"""Requests as Open311 shows them."""

from __future__ import annotations

from psycopg.rows import DictRow

from cloud.db import Queries, Transaction
from cloud.open311.domain import Wanted

_Q = Queries("cloud.open311")


def requests(transaction: Transaction, wanted: Wanted, *, everything: bool) -> list[DictRow]:
    """A page of what anybody may read, newest first; ``everything``: also what did not come by Open311."""
    return transaction.rows(
        _Q["requests"],
        all=everything,
        ids=list(wanted.ids) or None,
        codes=list(wanted.codes) or None,
        since=wanted.since,
        until=wanted.until,
        status=list(wanted.status) or None,
        limit=wanted.page_size,
        offset=(wanted.page - 1) * wanted.page_size,
    )
