"""Applying observations, and reading what came of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from cloud.db import Database, Transaction
from cloud.errors import ConflictError
from cloud.geometry import box_around
from cloud.incidents import domain, repo
from cloud.incidents.domain import Change, Device, FusionRule, Matter, Observation
from cloud.incidents.places import Places, choose_matter
from cloud.incidents.schemas import Incident, IncidentFilters, IncidentPage
from cloud.paging import decode_cursor, encode_cursor
from common.runtime.clock import to_ms
from common.wire.ids import uuid7

_EVERYTHING = IncidentFilters()
_ALL_OPEN = IncidentFilters(open=True, kind="condition", limit=500)


class IncidentService:
    """Incidents for the API and the console."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list_open(self) -> tuple[Incident, ...]:
        """Conditions that still go on, the latest first; at most 500."""
        return self.list_incidents(_ALL_OPEN).items

    def list_incidents(
        self, filters: IncidentFilters = _EVERYTHING, cursor: str | None = None
    ) -> IncidentPage:
        """A page of incidents, the latest first.

        Raises:
            InvalidError: when the cursor is not one of ours.
        """
        before = None if cursor is None else decode_cursor(cursor)
        with self._database.transaction() as transaction:
            rows = repo.list_incidents(transaction, filters, before)
        items = tuple(Incident.model_validate(row) for row in rows[: filters.limit])
        more = len(rows) > filters.limit
        return IncidentPage(
            items=items, next_cursor=encode_cursor(items[-1].last_at, items[-1].incident_id) if more else None
        )


def locks_for(rules: Sequence[FusionRule], device: Device, state: Observation) -> Iterator[str]:
    """The locks to hold while an observation is applied."""
    rule = domain.rule_for(rules, state.category)
    scope = domain.scope_of(rule, device, state)
    category = domain.matter_category(rule, state.category)
    return domain.lock_names(category, scope, device.lon, device.lat, rule.radius_m)


def apply(
    transaction: Transaction,
    rules: Sequence[FusionRule],
    places: Places,
    device: Device,
    state: Observation,
    *,
    now: datetime,
) -> Change | None:
    """Take in what an observation says, in whatever order its phases come; its locks are held.

    Returns:
        What changed; None when nothing did, because this was known.

    Raises:
        ConflictError: when an observation comes back under another category.
    """
    rule = domain.rule_for(rules, state.category)
    known = repo.observation(transaction, state.kind, state.device_id, state.observation_id)
    if known is None:
        matter = _find_matter(transaction, rule, places, device, state, now=now)
        incident_id, is_new = _find_incident(transaction, rule, matter, device, state, now=now)
    else:
        old, incident_id = known
        if old.category != state.category:
            raise ConflictError(
                "observation.changed_category",
                f"expected observation {state.observation_id} to stay {old.category!r}, got {state.category!r}",
            )
        is_new, state = False, domain.merge(old, state)
        if state == old:
            return None
    before = None if is_new else repo.lock_incident(transaction, incident_id)
    repo.save_observation(transaction, state, incident_id)
    # A category may be declared otherwise by a later release; what an incident was begun as, it stays.
    kind = state.kind if before is None else before.kind
    worthy = kind == "condition" and not state.mark and not domain.is_late(state, rule, now)
    after = repo.refold(transaction, incident_id, kind, worthy=worthy, family=rule.family)
    change = Change(before, after, rule.family, state)
    _announce(transaction, change)
    return change


def _find_incident(
    transaction: Transaction,
    rule: FusionRule,
    matter: Matter,
    device: Device,
    state: Observation,
    *,
    now: datetime,
) -> tuple[UUID, bool]:
    """The incident that a new observation belongs to, and whether it was just begun."""
    if state.kind == "act":
        found = repo.incident_of_hour(
            transaction, matter.matter_id, domain.hour_of(state.started_at), state.mark
        )
    else:
        candidates = repo.candidates(transaction, matter.matter_id, state, rule)
        chosen = domain.choose(candidates, state, rule)
        found = chosen.incident_id if chosen else None
        for other in domain.bridged(candidates, state, rule):
            assert found is not None
            _take_in(transaction, found, other.incident_id, now)
    if found is not None:
        return found, False
    incident_id = uuid7(to_ms(now))
    repo.new_incident(transaction, incident_id, matter.matter_id, device, state, now=now)
    return incident_id, True


def _take_in(transaction: Transaction, into: UUID, other: UUID, now: datetime) -> None:
    """Make two incidents one; it is folded anew with the observation that showed it."""
    repo.take_in(transaction, into, other, now)
    transaction.announce("incident.joined", {"incident_id": str(other), "into_id": str(into)})


def _find_matter(
    transaction: Transaction,
    rule: FusionRule,
    places: Places,
    device: Device,
    state: Observation,
    *,
    now: datetime,
) -> Matter:
    """The matter that this is: the one of its scope, or of the place that the device watches, or a new one."""
    scope = domain.scope_of(rule, device, state)
    category = domain.matter_category(rule, state.category)
    if not scope:
        return matter_of_place(transaction, rule, places, category, (device.lon, device.lat), now=now)
    place = device.lon, device.lat
    found = repo.matter_of_scope(transaction, category, scope)
    return found or repo.new_matter(transaction, category, scope, place, now)


def matter_of_place(
    transaction: Transaction,
    rule: FusionRule,
    places: Places,
    category: str,
    point: tuple[float, float],
    *,
    now: datetime,
) -> Matter:
    """The matter of a category at a point (longitude, latitude in WGS-84), a new one where there is none.

    Its locks are held; the category is the one that matters are kept under.
    """
    near = repo.matters_near(transaction, category, box_around(*point, 2 * rule.radius_m))
    found, place = choose_matter(places, near, *point, rule.radius_m)
    return found or repo.new_matter(transaction, category, "", place, now)


def _announce(transaction: Transaction, change: Change) -> None:
    incident = change.incident
    if change.before is None:
        kind = "incident.opened"
    else:
        kind = "incident.ended" if change.ended else "incident.changed"
    transaction.announce(
        kind,
        {
            "incident_id": str(incident.incident_id),
            "category": incident.category,
            "kind": incident.kind,
            "severity": incident.severity,
            "started_at": incident.started_at.isoformat(),
            "ended_at": incident.ended_at.isoformat() if incident.ended_at else None,
            "observations": incident.observations,
            "count": incident.count,
            "ticket_worthy": incident.ticket_worthy,
            "mark": incident.mark,
            "lon": incident.lon,
            "lat": incident.lat,
        },
    )
