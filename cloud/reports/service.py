"""Taking reports down."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from cloud.auth.domain import Account
from cloud.db import Database, Transaction
from cloud.dispatch import repo as dispatch_repo
from cloud.incidents.domain import FusionRule
from cloud.incidents.known import KnownPlaces
from cloud.photos.keeping import Prepared, forget_photos, name_photos, prepared, write_photos
from cloud.photos.sealing import PhotoOf
from cloud.reports import repo
from cloud.reports.coordinates import system_named, to_wgs84
from cloud.reports.domain import (
    ReportChannel,
    ReportSettings,
    check_time,
    hash_of,
    is_reportable,
    mac_of,
    receipt_number,
    secret_for,
)
from cloud.reports.filing import Placed, place_report
from cloud.reports.photos import Photo, take_photo
from cloud.reports.repo import NewReport, TextOf
from cloud.reports.schemas import Filed, ReportBody, Reporter, Suggested
from cloud.reports.sealing import KeyRing
from cloud.reports.texts import in_clear, keep_text
from cloud.tickets.editing import SYSTEM, Actor
from common.runtime.clock import Clock, to_datetime
from common.runtime.errors import InvalidError
from common.runtime.settings import nearest
from common.wire.categories import BY_CODE
from common.wire.ids import uuid7

_PUBLIC: Final = "public"


@dataclass(frozen=True, slots=True)
class Envelope:
    """How a report came.

    Attributes:
        channel: by which entry.
        account: who took it down or sends it; None: the public.
        key: the request's Idempotency-Key; empty: none.
        photos: as they were sent.
        source: the system that it came through, where no account names it.
        external_id: its number there.
        severity: None for the category's.
        public: its text may be read by anybody.
    """

    channel: ReportChannel
    account: Account | None = None
    key: str = ""
    photos: Sequence[bytes] = ()
    source: str = ""
    external_id: str = ""
    severity: int | None = None
    public: bool = False

    @property
    def scope(self) -> str:
        """Whose keys these are."""
        return str(self.account.account_id) if self.account else self.source or _PUBLIC


class ReportService:
    """Takes reports down for the API, the public and Open311.

    Args:
        database: where they are.
        clock: what time it is.
        rules: how matters are told apart, as for observations.
        settings: how reports are joined and kept.
        keys: what seals personal data; None: reporters cannot leave any.
        evidence_directory: where photos go; None: reports come without.
        known: where devices stand, as the process remembers it.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        rules: Sequence[FusionRule],
        settings: ReportSettings,
        *,
        keys: KeyRing | None,
        evidence_directory: Path | None,
        known: KnownPlaces | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._settings = settings
        self._keys = keys
        self._evidence = evidence_directory
        self._known = known or KnownPlaces()

    def file(self, body: ReportBody, envelope: Envelope) -> Filed:
        """Take a report down: it joins the open ticket of its matter, or opens one.

        The same request under the same key gets the same answer and does nothing again.

        Raises:
            InvalidError: a category, place, position, time or photo that cannot be taken, or personal data that
                cannot be kept; the key was used for another report.
            TransientError: the database or the disk is away.
        """
        now = to_datetime(self._clock.now_ms())
        photos = self._photos(envelope.photos)
        draft = self._draft(body, envelope, photos, now)
        severity = envelope.severity or BY_CODE[body.category].severity
        salt = secrets.token_bytes(16)
        sent = msgspec.json.encode(
            [body.model_dump_json(), envelope.channel, envelope.external_id, envelope.severity]
            + [photo.sha256 for photo in photos]
        )
        files = self._prepared(draft.report_id, photos)
        if files:
            again = self._settled(body, envelope, draft, sent)
            if again is not None:
                return again
            write_photos(self._database, self._evidence, files, now)

        def work(transaction: Transaction) -> Filed:
            if envelope.key:
                known = repo.begin_request(
                    *(transaction, envelope.scope, hash_of(envelope.key), mac_of(envelope.key, sent)),
                    salt=salt,
                    at=now,
                )
                if known is not None:
                    return _again(known, envelope.key, sent)
            _require_inside(transaction, body, draft)
            secret = secret_for(envelope.key or secrets.token_urlsafe(16), salt)
            report = replace(
                draft,
                secret_hash=hash_of(secret),
                description=in_clear(body.description, self._keys, public=envelope.public),
                address=in_clear(body.address, self._keys, public=envelope.public),
            )
            placed = place_report(
                *(transaction, self._rules, self._settings, report),
                places=self._known.places(transaction),
                severity=severity,
                actor=_actor(envelope),
                now=now,
            )
            name_photos(transaction, files, now)
            self._keep_person(transaction, report.report_id, body.reporter)
            told = {"description": body.description, "address": body.address}
            keep_text(transaction, self._keys, TextOf(report.report_id, "told", 0), told)
            filed = _filed(report, placed, secret)
            if envelope.key:
                answer = filed.model_dump(mode="json", exclude={"secret"})
                repo.answer_request(transaction, envelope.scope, hash_of(envelope.key), answer)
            return filed

        return self._database.run(work)

    def _photos(self, sent: Sequence[bytes]) -> list[Photo]:
        if len(sent) > self._settings.photos:
            raise InvalidError(
                "report.too_many_photos", f"expected at most {self._settings.photos} photos, got {len(sent)}"
            )
        return [take_photo(one, self._settings.photo_mb) for one in sent]

    def _prepared(self, report_id: UUID, photos: Sequence[Photo]) -> list[Prepared]:
        """The photos as their files hold them; one that comes twice is one."""
        jpegs = {photo.sha256: photo.jpeg for photo in photos}
        return [prepared(self._keys, PhotoOf(report_id, sha256), jpeg) for sha256, jpeg in jpegs.items()]

    def _settled(self, body: ReportBody, envelope: Envelope, draft: NewReport, sent: bytes) -> Filed | None:
        """What the same request was answered before, or its refusal: neither leaves a photo behind."""
        with self._database.transaction() as transaction:
            known = repo.request(transaction, envelope.scope, hash_of(envelope.key))
            if known is not None:
                return _again(known, envelope.key, sent)
            _require_inside(transaction, body, draft)
        return None

    def _draft(
        self, body: ReportBody, envelope: Envelope, photos: Sequence[Photo], now: datetime
    ) -> NewReport:
        _check_category(body.category)
        system = system_named(body.coordinate_system)
        lon, lat = to_wgs84(body.lon, body.lat, system)
        if not body.reporter.is_anonymous and self._keys is None:
            raise InvalidError(
                "report.no_personal_data",
                "expected a report without name, phone and e-mail: this ticket centre has no key to keep them sealed",
                "leave them out, or have the operator make one: drumtower cloud personal new-key",
            )
        account = envelope.account
        return NewReport(
            report_id=uuid7(self._clock.now_ms()),
            receipt=receipt_number(now, secrets.token_bytes(5)),
            secret_hash=b"",
            channel=envelope.channel,
            source=envelope.source or (account.name if account else ""),
            external_id=envelope.external_id,
            category=body.category,
            description=body.description,
            address=body.address,
            lon=lon,
            lat=lat,
            given_lon=body.lon,
            given_lat=body.lat,
            coordinate_system=system,
            occurred_at=check_time(body.occurred_at or now, now),
            received_at=now,
            account_id=account.account_id if account else None,
            public=envelope.public,
            photos=photos,
            photos_sealed=self._keys is not None,
        )

    def _keep_person(self, transaction: Transaction, report_id: UUID, reporter: Reporter) -> None:
        if self._keys is not None and not reporter.is_anonymous:
            text = reporter.model_dump_json().encode()
            repo.insert_person(transaction, report_id, self._keys.seal(text, report_id.bytes))


def _check_category(code: str) -> None:
    if not is_reportable(code):
        reportable = [one.code for one in BY_CODE.values() if is_reportable(one.code)]
        raise InvalidError(
            "report.unknown_category",
            f"expected the category of a matter that people report, got {code!r}{nearest(code, reportable)}",
            "/open311/v2/services.json lists them",
        )


def _require_inside(transaction: Transaction, body: ReportBody, draft: NewReport) -> None:
    if dispatch_repo.place(transaction, draft.lon, draft.lat).get("grid") is None:
        raise InvalidError(
            "report.outside_district",
            f"expected a place inside the district, {body.lon:.5f}, {body.lat:.5f} ({body.coordinate_system}) lies in"
            " none of its grids",
            "check the order (longitude, latitude) and the coordinate system",
        )


def _actor(envelope: Envelope) -> Actor:
    account = envelope.account
    return Actor(str(account.account_id), account.shown_name) if account else SYSTEM


def _filed(report: NewReport, placed: Placed, secret: str) -> Filed:
    return Filed(
        report_id=report.report_id,
        receipt=report.receipt,
        secret=secret,
        received_at=report.received_at,
        ticket_id=placed.ticket.ticket_id,
        ticket_number=placed.ticket.number,
        attached=placed.attached,
        suggestions=tuple(
            Suggested(
                ticket_id=one.ticket_id,
                score=one.score,
                parts={
                    "distance_m": round(one.distance_m, 1),
                    "apart_s": one.apart_s,
                    "kinship": one.kinship,
                },
            )
            for one in placed.suggested
        ),
    )


def _again(known: repo.Request, key: str, sent: bytes) -> Filed:
    if not hmac.compare_digest(known.body_mac, mac_of(key, sent)):
        raise InvalidError(
            "report.key_used",
            "expected the report that this Idempotency-Key was first used with, got another one",
            "a new report needs a new key",
        )
    return Filed.model_validate(known.answer | {"secret": secret_for(key, known.salt)})


def forget(database: Database, settings: ReportSettings, now: datetime) -> tuple[int, int]:
    """Delete who reported what was closed long enough ago, what they wrote and their photos; forget old requests.

    What opens a photo is deleted here; its file is removed by whoever has the folder of evidence.

    Returns:
        How many persons, and how many requests.

    Raises:
        TransientError: the database is away.
    """
    with database.transaction() as transaction:
        before = now - timedelta(days=settings.personal_days)
        persons = repo.forget_persons(transaction, before)
        repo.forget_texts(transaction, before)
        forget_photos(transaction, before, now)
        requests = repo.forget_requests(transaction, now - timedelta(hours=settings.repeats_h))
    return persons, requests
