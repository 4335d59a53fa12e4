"""The chain of a ticket's history: what its hashes are made of and where it is broken. Pure.

Hash n is the SHA-256 (FIPS 180-4) of hash n-1 and of the line as canonical JSON. The database writes it
(migration 0121); here it is reckoned again without the database, so that whoever changes the one does not
change the other. Canonical JSON is that of RFC 8785 but for its numbers, which stay decimal and exact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

GENESIS: Final = bytes(32)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a history, without its hash; ``detail`` is JSON with numbers as int or Decimal."""

    ticket_id: UUID
    n: int
    at: datetime
    kind: str
    actor_id: str
    actor_name: str
    from_state: str | None
    to_state: str
    note: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """How far a history went when it was anchored."""

    ticket_id: UUID
    n: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Anchor:
    """One hash over every history that grew since the anchor before."""

    anchor_id: int
    at: datetime
    heads: int
    hash: bytes


def parse(text: str) -> Any:
    """JSON as it stands in the database, every digit of its numbers kept."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def canonical(value: Any) -> str:
    """The one text of a JSON value.

    Raises:
        TypeError: it is none.
    """
    match value:
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case int() | float() | Decimal():
            return _number(value if isinstance(value, Decimal) else Decimal(repr(value)))
        case Mapping():
            members = (f"{canonical(key)}:{canonical(value[key])}" for key in sorted(value))
            return "{" + ",".join(members) + "}"
        case list() | tuple():
            return "[" + ",".join(canonical(one) for one in value) + "]"
        case _:
            raise TypeError(f"expected a JSON value, got {type(value).__name__}")


def _number(value: Decimal) -> str:
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def link(previous: bytes, line: Line) -> bytes:
    """The hash of a line after the hash before it."""
    values = asdict(line) | {"ticket_id": str(line.ticket_id), "at": _microseconds(line.at)}
    return hashlib.sha256(previous + canonical(values).encode()).digest()


def first_fault(lines: Iterable[tuple[Line, bytes]], version: int) -> str:
    """Where a history is broken first, in words; empty when it is whole.

    Args:
        lines: in the order of their numbers, each with the hash that stands beside it.
        version: the number of the last line, as the ticket itself says.
    """
    previous, last = GENESIS, 0
    for line, stored in lines:
        if line.n != last + 1:
            return f"line {last + 1} is missing: after line {last} comes line {line.n}"
        if link(previous, line) != stored:
            return f"line {line.n} ({line.kind}) is not what was written, or its hash is not"
        previous, last = stored, line.n
    if last != version:
        return f"it ends with line {last}, and the ticket says that it has {version}"
    return ""


def anchor_hash(previous: bytes, at: datetime, heads: Iterable[Head]) -> bytes:
    """The hash of an anchor: the anchor before, its time, and each head in the order of the tickets' ids."""
    made = hashlib.sha256(previous + _microseconds(at).to_bytes(8, "big", signed=True))
    for head in heads:
        made.update(head.ticket_id.bytes + head.n.to_bytes(4, "big") + head.hash)
    return made.digest()


def anchor_fault(anchor: Anchor, expected_id: int, previous: bytes, heads: Iterable[Head]) -> str:
    """What is wrong with an anchor after the one before it, in words; empty when nothing is."""
    if anchor.anchor_id != expected_id:
        return f"anchor {expected_id} is missing: the next one there is {anchor.anchor_id}"
    known = tuple(heads)
    if len(known) != anchor.heads:
        return f"anchor {anchor.anchor_id} names {anchor.heads} histories, and {len(known)} are there"
    if anchor_hash(previous, anchor.at, known) != anchor.hash:
        return f"anchor {anchor.anchor_id} is not what was written, or what it names is not"
    return ""


def exported(anchor: Anchor) -> str:
    """An anchor as a line to be kept elsewhere."""
    return json.dumps(
        {
            "anchor": anchor.anchor_id,
            "at": anchor.at.astimezone(UTC).isoformat(),
            "heads": anchor.heads,
            "hash": anchor.hash.hex(),
        }
    )


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
