"""Reports in the database. The only module of the feature that speaks SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from cloud.db import Queries, Transaction
from cloud.geometry import Box
from cloud.reports.domain import OpenTicket, Suggestion
from cloud.reports.photos import Photo
from cloud.reports.sealing import Sealed

_Q = Queries("cloud.reports")
Because = Literal["opened", "attached", "merged", "split"]
Part = Literal["told", "rating", "answer"]


@dataclass(frozen=True, slots=True)
class NewReport:
    """A report about to be written; WGS-84 degrees, and as they were given."""

    report_id: UUID
    receipt: str
    secret_hash: bytes
    channel: str
    source: str
    external_id: str
    category: str
    description: str
    address: str
    lon: float
    lat: float
    given_lon: float
    given_lat: float
    coordinate_system: str
    occurred_at: datetime
    received_at: datetime
    account_id: UUID | None
    public: bool
    photos: Sequence[Photo]
    photos_sealed: bool


@dataclass(frozen=True, slots=True)
class Link:
    """A report's place in a ticket, and who put it there."""

    report_id: UUID
    ticket_id: UUID
    at: datetime
    because: Because
    actor_id: str
    actor_name: str


@dataclass(frozen=True, slots=True)
class Request:
    """What is kept of a request that was answered."""

    body_mac: bytes
    salt: bytes
    answer: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TextOf:
    """Which text of a report: what was told, the words of the rating, or those of an answer by its number."""

    report_id: UUID
    part: Part
    n: int


def open_tickets_near(transaction: Transaction, box: Box) -> list[OpenTicket]:
    """Open tickets within a box, the oldest first."""
    return [OpenTicket(**row) for row in transaction.rows(_Q["open_tickets_near"], **asdict(box))]


def insert(transaction: Transaction, report: NewReport, ticket_id: UUID) -> None:
    """Write a report that stands in a ticket, with what its photos are called."""
    values = {name: getattr(report, name) for name in NewReport.__dataclass_fields__}
    named = Jsonb([photo.named() for photo in report.photos])
    transaction.run(_Q["insert_report"], **values | {"photos": named, "ticket_id": ticket_id})


def link(transaction: Transaction, entry: Link) -> None:
    """Write down where a report stands from now on."""
    transaction.run(_Q["insert_link"], **asdict(entry))


def suggest(transaction: Transaction, report_id: UUID, found: Iterable[Suggestion], now: datetime) -> None:
    """Keep what a report may be about as well."""
    rows = [
        {
            "report_id": report_id,
            "ticket_id": one.ticket_id,
            "score": one.score,
            "parts": Jsonb(
                {
                    "distance_m": round(one.distance_m, 1),
                    "apart_s": round(one.apart_s),
                    "kinship": one.kinship,
                }
            ),
            "made_at": now,
        }
        for one in found
    ]
    transaction.run_all(_Q["insert_suggestion"], rows)


def suggestions(transaction: Transaction, ticket_id: UUID) -> list[DictRow]:
    """Open tickets that may be about the same as this one, the likeliest first."""
    return transaction.rows(_Q["suggestions"], ticket_id=ticket_id)


def insert_person(transaction: Transaction, report_id: UUID, sealed: Sealed) -> None:
    """Keep who reported, sealed."""
    transaction.run(_Q["insert_person"], report_id=report_id, **asdict(sealed))


def person(transaction: Transaction, report_id: UUID) -> Sealed | None:
    """Who reported, sealed; None where nobody said, or it was deleted."""
    row = transaction.row(_Q["person"], report_id=report_id)
    return None if row is None else Sealed(**row)


def insert_text(transaction: Transaction, of: TextOf, sealed: Sealed) -> None:
    """Keep a text, sealed; the same one sealed anew takes its place."""
    transaction.run(_Q["insert_text"], **asdict(of), **asdict(sealed))


def texts(transaction: Transaction, report_ids: Sequence[UUID]) -> list[tuple[TextOf, Sealed]]:
    """The sealed texts of some reports."""
    return [_text(row) for row in transaction.rows(_Q["texts"], report_ids=list(report_ids))]


def texts_sealed_with_others(
    transaction: Transaction, key_id: str, limit: int
) -> list[tuple[TextOf, Sealed]]:
    """The texts that are sealed with any other key, locked."""
    rows = transaction.rows(_Q["texts_sealed_with_others"], key_id=key_id, limit=limit)
    return [_text(row) for row in rows]


def _text(row: DictRow) -> tuple[TextOf, Sealed]:
    of = TextOf(row.pop("report_id"), row.pop("part"), row.pop("n"))
    return of, Sealed(**row)


def texts_in_clear(transaction: Transaction, report_ids: Sequence[UUID]) -> list[DictRow]:
    """What stands of the texts of some reports in the clear: description, address, rating, and answers by number."""
    return transaction.rows(_Q["texts_in_clear"], report_ids=list(report_ids))


def reports_in_clear(transaction: Transaction, limit: int) -> list[UUID]:
    """Reports that are not for everybody and of which words stand in the clear, locked."""
    rows = transaction.rows(_Q["reports_in_clear"], limit=limit)
    return [row["report_id"] for row in rows]


def count_in_clear(transaction: Transaction) -> int:
    """How many reports that are not for everybody have words in the clear."""
    return int(transaction.one(_Q["count_in_clear"])["count"])


def take_out_words(transaction: Transaction, report_ids: Sequence[UUID]) -> None:
    """Take the words of some reports out of where they stand in the clear."""
    for name in ("take_out_words", "take_out_answers"):
        transaction.run(_Q[name], report_ids=list(report_ids))


def forget_texts(transaction: Transaction, before: datetime) -> int:
    """Delete what people wrote of what was closed before an instant; of how many reports.

    What anybody may read stays, as it was published: without numbers and addresses.
    """
    gone = transaction.rows(_Q["forget_texts"], before=before)
    take_out_words(transaction, [row["report_id"] for row in gone if not row["public"]])
    return len(gone)


def tickets_of_photo(transaction: Transaction, sha256: str) -> list[UUID]:
    """The tickets in whose reports a picture stands; none: no reporter sent it."""
    named = Jsonb([{"sha256": sha256}])
    return [row["ticket_id"] for row in transaction.rows(_Q["tickets_of_photo"], named=named)]


def sealed_with_others(transaction: Transaction, key_id: str, limit: int) -> list[tuple[UUID, Sealed]]:
    """What is sealed with any other key, locked."""
    rows = transaction.rows(_Q["sealed_with_others"], key_id=key_id, limit=limit)
    return [(row.pop("report_id"), Sealed(**row)) for row in rows]


def reseal(transaction: Transaction, report_id: UUID, sealed: Sealed) -> None:
    """Replace a sealed text by the same under another key."""
    transaction.run(_Q["reseal"], report_id=report_id, **asdict(sealed))


def keys_in_use(transaction: Transaction) -> dict[str, int]:
    """How many texts each key sealed."""
    return {row["key_id"]: row["texts"] for row in transaction.rows(_Q["keys_in_use"])}


def forget_persons(transaction: Transaction, before: datetime) -> int:
    """Delete who reported what was closed before an instant; how many."""
    return transaction.run(_Q["forget_persons"], before=before)


def begin_request(
    transaction: Transaction, scope: str, key_hash: bytes, body_mac: bytes, *, salt: bytes, at: datetime
) -> Request | None:
    """Note a request; what is kept of it where it was answered before, waiting for one that is under way."""
    begun = transaction.run(
        _Q["begin_request"], scope=scope, key_hash=key_hash, body_mac=body_mac, salt=salt, at=at
    )
    return None if begun else request(transaction, scope, key_hash)


def request(transaction: Transaction, scope: str, key_hash: bytes) -> Request | None:
    """What is kept of a request that was answered; None: there was none."""
    row = transaction.row(_Q["request"], scope=scope, key_hash=key_hash)
    return None if row is None else Request(**row)


def answer_request(transaction: Transaction, scope: str, key_hash: bytes, answer: Mapping[str, Any]) -> None:
    """Keep what a request was answered."""
    transaction.run(_Q["answer_request"], scope=scope, key_hash=key_hash, answer=Jsonb(dict(answer)))


def forget_requests(transaction: Transaction, before: datetime) -> int:
    """Forget requests that were answered before an instant."""
    return transaction.run(_Q["forget_requests"], before=before)


def reports(
    transaction: Transaction,
    *,
    report_id: UUID | None = None,
    receipt: str | None = None,
    ticket_id: UUID | None = None,
    channel: str | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = 1,
) -> list[DictRow]:
    """Reports with how their tickets stand, newest first."""
    before_at, before_id = before or (None, None)
    return transaction.rows(
        _Q["report"],
        report_id=report_id,
        receipt=receipt,
        ticket_id=ticket_id,
        channel=channel,
        before_at=before_at,
        before_id=before_id,
        limit=limit,
    )


def links(transaction: Transaction, report_id: UUID) -> list[DictRow]:
    """The tickets that a report stood in, in order."""
    return transaction.rows(_Q["links"], report_id=report_id)


def answers(transaction: Transaction, report_id: UUID) -> list[DictRow]:
    """What the reporter said when asked, in order."""
    return transaction.rows(_Q["answers"], report_id=report_id)


def add_answer(
    transaction: Transaction,
    report_id: UUID,
    ticket: tuple[UUID, int],
    at: datetime,
    *,
    done: bool,
    note: str,
) -> int:
    """Write down an answer about a ticket in a version; its number."""
    row = transaction.one(
        _Q["insert_answer"],
        report_id=report_id,
        at=at,
        done=done,
        note=note,
        ticket_id=ticket[0],
        version=ticket[1],
    )
    return int(row["n"])


def rate(transaction: Transaction, report_id: UUID, stars: int, note: str, at: datetime) -> bool:
    """Write down a rating; False where there is one."""
    return bool(transaction.run(_Q["rate"], report_id=report_id, stars=stars, note=note, at=at))


def is_seen_by_devices(transaction: Transaction, ticket_id: UUID) -> bool:
    """Whether a device saw the matter of a ticket."""
    return bool(transaction.one(_Q["seen_by_devices"], ticket_id=ticket_id)["it"])


def move(
    transaction: Transaction, from_id: UUID, to_id: UUID, reports_only: Sequence[UUID] | None = None
) -> list[UUID]:
    """Put the reports of a ticket, or some of them, into another; those that were moved."""
    only = None if reports_only is None else list(reports_only)
    rows = transaction.rows(_Q["move_reports"], from_id=from_id, to_id=to_id, only=only)
    return sorted(row["id"] for row in rows)


def move_incidents(
    transaction: Transaction, from_id: UUID, to_id: UUID, incidents_only: Sequence[UUID] | None = None
) -> list[UUID]:
    """Put the incidents of a ticket, or some of them, into another; those that were moved."""
    only = None if incidents_only is None else list(incidents_only)
    rows = transaction.rows(_Q["move_incidents"], from_id=from_id, to_id=to_id, only=only)
    return sorted(row["id"] for row in rows)


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge about to be written."""

    ticket_id: UUID
    into_id: UUID
    at: datetime
    by: str
    note: str
    incidents: Sequence[UUID]
    reports: Sequence[UUID]


def insert_merge(transaction: Transaction, merge: Merge) -> None:
    """Remember what moved with a merge."""
    values = asdict(merge) | {"incidents": list(merge.incidents), "reports": list(merge.reports)}
    transaction.run(_Q["insert_merge"], **values)


def merge_of(transaction: Transaction, ticket_id: UUID) -> DictRow | None:
    """The merge that a ticket rests in: its number and what moved."""
    return transaction.row(_Q["merge_of"], ticket_id=ticket_id)


def note_split(transaction: Transaction, merge_id: int, at: datetime, by: str, note: str) -> None:
    """The merge was undone."""
    transaction.run(_Q["note_split"], merge_id=merge_id, at=at, by=by, note=note)
