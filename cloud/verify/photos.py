"""Photos by those who went there: taken in, checked by place and time, and accepted by somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from cloud.auth.domain import Account
from cloud.auth.roles import may_any
from cloud.db import Database, Transaction
from cloud.errors import ConflictError, ForbiddenError, NotFoundError
from cloud.incidents.domain import FusionRule, rule_for
from cloud.photos.keeping import name_photos, prepared, write_photos
from cloud.photos.sealing import PhotoOf
from cloud.reports.coordinates import system_named, to_wgs84
from cloud.reports.photos import take_photo
from cloud.reports.sealing import KeyRing
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import EventKind, State, Ticket
from cloud.tickets.editing import Actor, Editing
from cloud.verify import repo
from cloud.verify.domain import VerifySettings
from cloud.verify.photo_domain import check_place, check_time
from cloud.verify.requests import asked_of, is_awaited
from common.runtime.clock import Clock, to_datetime, to_ms
from common.wire.ids import uuid7


@dataclass(frozen=True, slots=True)
class Upload:
    """A photo as it was sent; where it was taken stands in the coordinate system that is named."""

    content: bytes
    lon: float
    lat: float
    coordinate_system: str
    taken_at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Taken:
    """Where, in WGS-84 degrees, and when a photo was taken."""

    lon: float
    lat: float
    at: datetime


class PhotoService:
    """Photos for the API and the console.

    Args:
        database: where they are written down.
        clock: what time it is.
        rules: how far a matter of a category reaches.
        directory: where the pictures are; None: there is no place for any.
        settings: how large they may be.
        keys: what seals them; None: they lie in the clear until there are some.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        rules: Sequence[FusionRule],
        directory: Path | None,
        settings: VerifySettings,
        *,
        keys: KeyRing | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._directory = directory
        self._settings = settings
        self._keys = keys

    def add(self, ticket_id: UUID, account: Account, upload: Upload) -> dict[str, Any]:
        """Take a photo in; the same one sent twice is one.

        Raises:
            NotFoundError: no such ticket.
            ForbiddenError: not with this role, or not at this place.
            ConflictError: nobody claims that the ticket is done, or the photo stands somewhere already.
            TooLargeError: it is too large.
            InvalidError: it is no photo, or was taken elsewhere, before the claim or in the future.
            TransientError: the disk does not take it.
        """
        system = system_named(upload.coordinate_system)
        lon, lat = to_wgs84(upload.lon, upload.lat, system)
        at = _Taken(lon, lat, upload.taken_at)
        now = to_datetime(self._clock.now_ms())
        with self._database.transaction() as transaction:
            self._check(transaction, ticket_id, account, at, now)
        photo = take_photo(upload.content, self._settings.photo_mb)
        files = [prepared(self._keys, PhotoOf(ticket_id, photo.sha256, "ticket"), photo.jpeg)]
        write_photos(self._database, self._directory, files, now)

        def work(transaction: Transaction) -> dict[str, Any]:
            ticket, distance = self._check(transaction, ticket_id, account, at, now)
            assert ticket.claimed_at is not None, "it is checked above"
            kept = repo.NewPhoto(
                photo_id=uuid7(to_ms(now)),
                ticket_id=ticket_id,
                claimed_at=ticket.claimed_at,
                sha256=photo.sha256,
                width=photo.width,
                height=photo.height,
                lon=lon,
                lat=lat,
                given_lon=upload.lon,
                given_lat=upload.lat,
                coordinate_system=system,
                distance_m=distance,
                taken_at=upload.taken_at,
                uploaded_at=now,
                account_id=account.account_id,
                account_name=account.shown_name,
                note=upload.note,
            )
            if repo.add_photo(transaction, kept):
                name_photos(transaction, files, now)
                editing = Editing(transaction, ticket, now)
                actor = Actor(str(account.account_id), account.shown_name)
                editing.record(EventKind.PHOTO_ADDED, actor, upload.note, _told(kept))
                editing.save()
            return _the_same(transaction, kept)

        return self._database.run(work)

    def photos(self, ticket_id: UUID) -> list[dict[str, Any]]:
        """A ticket's photos, the oldest first.

        Raises:
            NotFoundError: no such ticket.
        """
        with self._database.transaction() as transaction:
            if not ticket_repo.summaries(transaction, ticket_id=ticket_id):
                raise _unknown(ticket_id)
            return [dict(row) for row in repo.photos(transaction, ticket_id)]

    def _check(
        self,
        transaction: Transaction,
        ticket_id: UUID,
        account: Account,
        taken: _Taken,
        now: datetime,
    ) -> tuple[Ticket, float]:
        ticket = ticket_repo.lock(transaction, ticket_id)
        if ticket is None:
            raise _unknown(ticket_id)
        places = [ticket.unit_code, ticket.grid_code, *ticket_repo.called_units(transaction, ticket_id)]
        if not may_any(account, "photo", places):
            raise ForbiddenError(
                "ticket.forbidden",
                f"{account.name} ({account.role} of {account.unit_code}) may not add photos to a ticket of"
                f" {ticket.unit_code or 'nobody'}",
                "ask somebody of that unit, of one called onto it, or of the place's own",
            )
        if ticket.state is not State.VERIFYING or ticket.claimed_at is None:
            raise ConflictError(
                "photo.nothing_claimed",
                f"expected a ticket that is said to be done and is being verified, {ticket.number} is"
                f" {ticket.state.value!r}",
                "say first that it is resolved, then take the photo",
            )
        check_time(taken.at, ticket.claimed_at, now, self._settings.photo_ahead_s)
        radius_m = rule_for(self._rules, ticket.category).radius_m
        return ticket, check_place((ticket.lon, ticket.lat), (taken.lon, taken.lat), radius_m)


def accept(editing: Editing, account: Account) -> dict[str, Any]:
    """Accept what somebody photographed; what the history says of it.

    Raises:
        ConflictError: a device can still look, a reporter's answer is waited for, or there is no photo of this claim by
            anybody else.
    """
    ticket = editing.ticket
    if ticket.blind_at is None or ticket.claimed_at is None:
        raise ConflictError(
            "ticket.not_blind",
            "expected a ticket whose devices cannot look, this one's can: they decide",
            "wait for them; a supervisor can confirm with a reason",
        )
    until = is_awaited(asked_of(editing), editing.now)
    if until is not None:
        raise ConflictError(
            "ticket.reporter_asked",
            f"whoever reported it is asked whether it is done, and is waited for until {until.isoformat()}",
            "their word comes first; a supervisor can confirm with a reason",
        )
    found = repo.photos_to_accept(
        editing.transaction, ticket.ticket_id, ticket.claimed_at, account.account_id
    )
    if not found:
        raise ConflictError(
            "ticket.no_photo",
            "expected a photo that somebody else took there after the claim, found none",
            "somebody goes there and adds one; another person accepts it",
        )
    repo.accept_photos(editing.transaction, [one for one, _ in found], account.shown_name, editing.now)
    return {"photos": [sha256 for _, sha256 in found]}


def _the_same(transaction: Transaction, kept: repo.NewPhoto) -> dict[str, Any]:
    for row in repo.photos(transaction, kept.ticket_id):
        if row["sha256"] == kept.sha256 and row["claimed_at"] == kept.claimed_at:
            return dict(row)
    raise ConflictError(
        "photo.used_before",
        "expected a photo that was taken for this, got one that stands elsewhere already",
        "take another one, there and now",
    )


def _told(kept: repo.NewPhoto) -> dict[str, Any]:
    return {
        "sha256": kept.sha256,
        "lon": kept.lon,
        "lat": kept.lat,
        "distance_m": round(kept.distance_m, 1),
        "taken_at": kept.taken_at.isoformat(),
        "coordinate_system": kept.coordinate_system,
    }


def _unknown(ticket_id: UUID) -> NotFoundError:
    return NotFoundError("ticket.unknown", f"expected the id of a ticket, got {ticket_id}, which is none")
