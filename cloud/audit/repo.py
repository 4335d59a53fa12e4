"""Histories and anchors in the database."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from cloud.audit.domain import Anchor, Head, Line, parse
from cloud.db import Queries, Transaction

_Q = Queries("cloud.audit")
_PAGE = 2000


def only_one(transaction: Transaction) -> bool:
    """Whether nobody else makes an anchor just now; held to the end of the transaction."""
    return bool(transaction.one(_Q["only_one"])["it"])


def newest_anchor(transaction: Transaction) -> Anchor | None:
    """The last one made."""
    row = transaction.row(_Q["newest_anchor"])
    return None if row is None else Anchor(**row)


def take_heads(transaction: Transaction, anchor_id: int) -> int:
    """Put down how far every history goes that grew since it was anchored last; how many."""
    return transaction.run(_Q["take_heads"], anchor_id=anchor_id)


def add_anchor(transaction: Transaction, anchor: Anchor) -> None:
    """Write an anchor."""
    transaction.run(
        _Q["add_anchor"], anchor_id=anchor.anchor_id, at=anchor.at, heads=anchor.heads, hash=anchor.hash
    )


def anchors(transaction: Transaction, after: int = 0) -> Iterator[Anchor]:
    """Every anchor after one, in order."""
    while rows := transaction.rows(_Q["anchors"], after=after, limit=_PAGE):
        yield from (Anchor(**row) for row in rows)
        after = rows[-1]["anchor_id"]


def heads(transaction: Transaction, anchor_id: int) -> Iterator[Head]:
    """What an anchor names, in the order of the tickets' ids."""
    after: UUID | None = None
    while rows := transaction.rows(_Q["heads"], anchor_id=anchor_id, after=after, limit=_PAGE):
        yield from (Head(**row) for row in rows)
        after = rows[-1]["ticket_id"]


def histories(transaction: Transaction) -> Iterator[tuple[str, int, list[tuple[Line, bytes]]]]:
    """Every ticket's number and version, with the lines of its history and their hashes."""
    after: UUID | None = None
    while tickets := transaction.rows(_Q["tickets"], after=after, limit=_PAGE // 10):
        found: dict[UUID, list[tuple[Line, bytes]]] = {row["ticket_id"]: [] for row in tickets}
        for row in transaction.rows(_Q["lines"], tickets=list(found)):
            stored = bytes(row.pop("hash"))
            found[row["ticket_id"]].append((Line(**(row | {"detail": parse(row["detail"])})), stored))
        for ticket in tickets:
            yield ticket["number"], ticket["version"], found[ticket["ticket_id"]]
        after = tickets[-1]["ticket_id"]


def false_heads(transaction: Transaction, limit: int) -> list[tuple[int, str, int]]:
    """What stands in a history otherwise than it was anchored: anchor, ticket's number, line."""
    rows = transaction.rows(_Q["false_heads"], limit=limit)
    return [(row["anchor_id"], row["number"], row["n"]) for row in rows]
