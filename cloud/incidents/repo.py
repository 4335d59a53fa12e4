"""Matters, incidents and observations in the database. The only module of the feature that speaks SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from cloud.db import Queries, Transaction
from cloud.geometry import Box
from cloud.incidents.domain import (
    Candidate,
    Device,
    Family,
    FusionRule,
    Incident,
    Kind,
    Matter,
    Observation,
    hour_of,
    kind_of,
    with_families,
)
from cloud.incidents.order import severe_since
from cloud.incidents.schemas import IncidentFilters
from common.runtime.errors import InvalidError
from common.wire.categories import CATEGORIES
from common.wire.messages import Evidence

_Q = Queries("cloud.incidents")
_STATE_FIELDS = tuple(field.name for field in fields(Observation))


def device(transaction: Transaction, device_id: int) -> Device:
    """A device of the registry.

    Raises:
        InvalidError: when it is not there.
    """
    row = transaction.row(_Q["device"], device_id=device_id)
    if row is None:
        raise InvalidError("observation.unknown_device", f"expected a registered device, got id {device_id}")
    return Device(**row)


def observation(
    transaction: Transaction, kind: Kind, device_id: int, observation_id: UUID
) -> tuple[Observation, UUID] | None:
    """What is known of an observation, and its incident."""
    row = transaction.row(_Q["observation"], device_id=device_id, observation_id=observation_id)
    return None if row is None else (observation_from(row | {"kind": kind}), row["incident_id"])


def observation_from(row: Mapping[str, Any]) -> Observation:
    """An observation from a row of our own table, with its kind added."""
    values = {name: row[name] for name in _STATE_FIELDS if name in row}
    values["severe_since"] = tuple(row.get("severe_since", ()))
    return Observation(**values | {"evidence": tuple(row["evidence"])})


def observation_from_inbox(row: Mapping[str, Any]) -> Observation:
    """An observation's state as one phase tells it.

    Raises:
        InvalidError: when its evidence is not in the form of the wire.
    """
    try:
        msgspec.convert(row["evidence"], list[Evidence])
    except msgspec.ValidationError as error:
        raise InvalidError(
            "observation.wrong_evidence", f"expected evidence as on the wire: {error}"
        ) from error
    kind = kind_of(row["category"], row["phase"])
    ended_at = row["ended_at"]
    if kind == "condition" and row["phase"] == "act":
        # Told as if it passed: taken for a condition that was over when it was seen, or it would never end.
        ended_at = ended_at or row["at"]
    since = severe_since(row["severity"], row["at"], row["received_at"])
    return observation_from({**row, "kind": kind, "ended_at": ended_at, "severe_since": since})


def save_observation(transaction: Transaction, state: Observation, incident_id: UUID) -> None:
    """Write an observation's state."""
    values = asdict(state) | {
        "incident_id": incident_id,
        "evidence": Jsonb(list(state.evidence)),
        "detail": Jsonb(state.detail),
        "severe_since": list(state.severe_since),
    }
    transaction.run(_Q["save_observation"], **values)


def rules_in_force(transaction: Transaction, rules: Sequence[FusionRule]) -> Sequence[FusionRule]:
    """How observations fuse: the district's families, then the given rules."""
    families = [
        Family(**row | {"categories": tuple(row["categories"])}) for row in transaction.rows(_Q["families"])
    ]
    return with_families(rules, families) if families else rules


def registry_version(transaction: Transaction) -> str:
    """Changes with each device that comes, goes or moves."""
    return str(transaction.one(_Q["registry_version"])["version"])


def devices(transaction: Transaction) -> list[Device]:
    """All that are registered."""
    return [Device(**row) for row in transaction.rows(_Q["devices"])]


def matter_of_scope(transaction: Transaction, category: str, scope: str) -> Matter | None:
    """The matter that one device or sensor sees."""
    row = transaction.row(_Q["matter_of_scope"], category=category, scope=scope)
    return None if row is None else Matter(**row)


def matters_near(transaction: Transaction, category: str, box: Box) -> list[Matter]:
    """Matters of a category within a box."""
    return [Matter(**row) for row in transaction.rows(_Q["matters_near"], category=category, **asdict(box))]


def new_matter(
    transaction: Transaction, category: str, scope: str, place: tuple[float, float], now: datetime
) -> Matter:
    """A matter nobody had seen before, at its place (longitude, latitude)."""
    lon, lat = place
    row = transaction.one(_Q["new_matter"], category=category, scope=scope, lon=lon, lat=lat, now=now)
    return Matter(row["matter_id"], lon, lat)


def candidates(
    transaction: Transaction, matter_id: int, state: Observation, rule: FusionRule
) -> list[Candidate]:
    """Incidents of a matter that an observation could join."""
    rejoin = timedelta(seconds=rule.rejoin_s)
    rows = transaction.rows(
        _Q["candidates"],
        matter_id=matter_id,
        since=state.started_at - rejoin,
        until=None if state.over_at is None else state.over_at + rejoin,
        mark=state.mark,
    )
    return [Candidate(**row) for row in rows]


def incident_of_hour(transaction: Transaction, matter_id: int, hour: datetime, mark: str) -> UUID | None:
    """The incident that counts a device's acts of an hour; those of a drill are counted apart."""
    row = transaction.row(_Q["incident_of_hour"], matter_id=matter_id, hour=hour, mark=mark)
    return None if row is None else row["incident_id"]


def new_incident(
    transaction: Transaction,
    incident_id: UUID,
    matter_id: int,
    device: Device,
    state: Observation,
    *,
    now: datetime,
) -> None:
    """Begin an incident; it is folded from its observations after they are written."""
    transaction.run(
        _Q["new_incident"],
        incident_id=incident_id,
        matter_id=matter_id,
        category=state.category,
        kind=state.kind,
        hour=hour_of(state.started_at) if state.kind == "act" else None,
        severity=state.severity,
        started_at=state.started_at,
        at=state.at,
        over_at=state.over_at,
        lon=device.lon,
        lat=device.lat,
        device_id=device.device_id,
        now=now,
        mark=state.mark,
    )


def lock_incident(transaction: Transaction, incident_id: UUID) -> Incident:
    """An incident, locked to the end of the transaction."""
    return Incident(**transaction.one(_Q["lock_incident"], incident_id=incident_id))


def refold(
    transaction: Transaction, incident_id: UUID, kind: Kind, *, worthy: bool, family: Sequence[str] = ()
) -> Incident:
    """Derive an incident anew from its observations; of a family the leading category among them names it."""
    row = transaction.one(
        _Q["refold_incident"],
        incident_id=incident_id,
        is_act=kind == "act",
        worthy=worthy,
        family=list(family),
    )
    return Incident(**row)


def take_in(transaction: Transaction, into: UUID, other: UUID, now: datetime) -> None:
    """Give one incident what another has: observations, its ticket, whether it is worth one; the other is gone."""
    for name in ("take_in_observations", "take_in_ticket", "drop_ticket", "take_in_incident", "note_joined"):
        transaction.run(_Q[name], into=into, other=other, now=now)


def list_incidents(
    transaction: Transaction, filters: IncidentFilters, before: tuple[datetime, UUID] | None
) -> list[DictRow]:
    """Incidents, latest first; one more than the limit, to see whether there is a next page."""
    before_at, before_id = before or (None, None)
    return transaction.rows(
        _Q["list_incidents"],
        kind=filters.kind,
        category=filters.category,
        only_open=filters.open,
        before_at=before_at,
        before_id=before_id,
        limit=filters.limit + 1,
    )


def sync_categories(transaction: Transaction) -> None:
    """Write the categories of this release, with their names, where they differ."""
    for category in CATEGORIES:
        transaction.run(
            _Q["sync_categories"],
            code=category.code,
            en=category.en,
            zh=category.zh,
            kind=category.kind,
            severity=category.severity,
            gbt_30428=category.gbt_30428,
        )
