"""Shifts, holes and who is on duty. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

Span = tuple[datetime, datetime]
#: One address, or none: RFC 5321 in ASCII, as mail servers without SMTPUTF8 take it.
MAIL_ADDRESS = r"^([^\s@<>,;:\"\x00-\x1f\x7f-\uffff]+@[A-Za-z0-9.-]+)?$"


@dataclass(frozen=True, slots=True)
class Shift:
    """Somebody is on duty for a unit from one instant up to, and without, another.

    ``position`` says who is called first of several at once.
    """

    unit_code: str
    person: str
    phone: str
    begins_at: datetime
    ends_at: datetime
    position: int = 1
    email: str = ""


def on_duty(shifts: Iterable[Shift], at: datetime) -> list[Shift]:
    """Who is on duty at an instant, in the order of calling."""
    there = [shift for shift in shifts if shift.begins_at <= at < shift.ends_at]
    return sorted(there, key=lambda shift: (shift.position, shift.begins_at, shift.person))


def holes(shifts: Sequence[Shift], since: datetime, until: datetime) -> list[Span]:
    """When nobody is on duty between two instants, in order."""
    found, reached = [], since
    for shift in sorted(shifts, key=lambda one: one.begins_at):
        if shift.begins_at > reached:
            found.append((reached, min(shift.begins_at, until)))
        reached = max(reached, shift.ends_at)
        if reached >= until:
            break
    if reached < until:
        found.append((reached, until))
    return [(start, end) for start, end in found if start < end]


@dataclass(frozen=True, slots=True)
class Callee:
    """Whom to call.

    Attributes:
        unit_code: the unit called.
        person, phone, email: who; empty where nobody is known, or no address.
        how: ``rota``, ``lead`` (of the unit, for want of a rota) or ``nobody``.
    """

    unit_code: str
    person: str
    phone: str
    how: str
    email: str = ""
