"""The rota and what people are to be told, in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from cloud.db import Queries, Transaction
from cloud.duty.domain import Callee, Shift, on_duty
from cloud.etags import etag_of

_Q = Queries("cloud.duty")
#: A rota of a district for some weeks; who asks for more asks in parts.
_MOST = 5000
_SAID = ("person", "phone", "position", "email")


def shifts(
    transaction: Transaction, since: datetime, until: datetime, unit_code: str | None = None
) -> list[Shift]:
    """The shifts that touch a time, of one unit or of all."""
    rows = transaction.rows(_Q["shifts"], unit_code=unit_code, since=since, until=until, limit=_MOST)
    return [Shift(**row) for row in rows]


def etag(transaction: Transaction, unit_code: str) -> str:
    """Changes with any shift of a unit, whenever it is."""
    rows = transaction.rows(_Q["whole_rota"], unit_code=unit_code)
    return etag_of(
        [
            [shift["begins_at"].timestamp(), shift["ends_at"].timestamp(), *map(shift.get, _SAID)]
            for shift in rows
        ]
    )


def lock_unit(transaction: Transaction, unit_code: str) -> bool:
    """Keep others from writing this unit's rota; False: there is no such unit."""
    return transaction.row(_Q["lock_unit"], unit_code=unit_code) is not None


def replace(
    transaction: Transaction, unit_code: str, since: datetime, until: datetime, rota: Sequence[Shift]
) -> None:
    """Write a unit's rota of a time anew; what lies outside it stays."""
    transaction.run(_Q["keep_tails"], unit_code=unit_code, until=until)
    transaction.run(_Q["cut_heads"], unit_code=unit_code, since=since)
    transaction.run(_Q["clear"], unit_code=unit_code, since=since, until=until)
    transaction.run_all(_Q["add"], [asdict(shift) for shift in rota])


def units_on_duty(transaction: Transaction, since: datetime) -> list[str]:
    """The units whose rota may have no hole."""
    return [row["unit_code"] for row in transaction.rows(_Q["units_on_duty"], since=since)]


def callee(transaction: Transaction, unit_code: str, now: datetime, *, lead: bool = False) -> Callee:
    """Whom to call of a unit: who is on duty, else its lead; ``lead`` asks for the lead at once."""
    if not lead and (there := on_duty(shifts(transaction, now, now + datetime.resolution, unit_code), now)):
        first = there[0]
        return Callee(unit_code, first.person, first.phone, "rota", first.email)
    unit = transaction.row(_Q["unit"], unit_code=unit_code)
    if unit is not None and unit["lead"]:
        return Callee(unit_code, unit["lead"], unit["phone"], "lead", unit["email"])
    if unit is None:
        return Callee(unit_code, "", "", "nobody")
    return Callee(unit_code, "", unit["phone"], "nobody", unit["email"])


NoticeKind = Literal[
    "call_out",
    "escalated",
    "review_due",
    "storm",
    "called",
    "call_withdrawn",
    "call_late",
    "task",
    "task_due",
    "adviser_asked",
]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that somebody is to be told.

    ``dedupe_key`` names the reason: the same reason is told once, however often and by whomever it is found.
    """

    kind: NoticeKind
    callee: Callee
    payload: Mapping[str, Any]
    dedupe_key: str
    due_at: datetime
    channel: str = ""


def notify(transaction: Transaction, notice: Notice, now: datetime) -> bool:
    """Write it down for whoever sends; False: it was written before."""
    who = notice.callee
    payload = dict(notice.payload) | {"phone": who.phone, "email": who.email, "found_by": who.how}
    return (
        transaction.run(
            _Q["notify"],
            kind=notice.kind,
            unit_code=who.unit_code,
            person=who.person,
            channel=notice.channel,
            payload=Jsonb(payload),
            dedupe_key=notice.dedupe_key,
            now=now,
            due_at=notice.due_at,
        )
        == 1
    )
