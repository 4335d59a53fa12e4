"""From observations to incidents, without I/O.

An observation's phases form a join: merging any two states of it is commutative, associative and
idempotent, so phases may arrive in any order, any number of times, and end in one state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import Field

from cloud.dispatch.domain import fits
from cloud.geometry import METRES_A_DEGREE, box_around, distance_m
from cloud.incidents.order import SevereSince, earliest
from common.runtime.config import Settings
from common.wire.categories import BY_CODE

Kind = Literal["condition", "act"]
Scope = Literal["place", "device", "sensor"]
_CELL_DEGREES: Final = 0.001  # about 111 m: a disc of the usual 50 m touches at most four


class FusionRule(Settings):
    """How observations of a category become one matter and one incident."""

    category: Annotated[str, Field(description="a code, a beginning with * after it, or *")]
    scope: Scope = Field(default="place", description="place: anything of the category near enough joins")
    radius_m: Annotated[float, Field(gt=0, le=5000)] = 50.0
    rejoin_s: Annotated[float, Field(ge=0)] = Field(
        default=600.0, description="a condition that comes back within this time is the same incident"
    )
    stale_s: Annotated[float, Field(gt=0)] = Field(
        default=3600.0, description="an alarm that was over longer ago than this opens no ticket"
    )
    family: tuple[str, ...] = Field(
        default=(),
        description="categories that make one matter together, the leading one first; none: its own",
    )


DEFAULT_RULES: Final = (
    FusionRule(category="camera.zone_*", scope="sensor", rejoin_s=120, stale_s=900),
    FusionRule(category="device.*", scope="device", rejoin_s=300),
    FusionRule(category="rain.*", radius_m=500, rejoin_s=1800),
    FusionRule(category="button.*", radius_m=20, stale_s=6 * 3600),
    FusionRule(category="*"),
)


def rule_for(rules: Sequence[FusionRule], category: str) -> FusionRule:
    """The first rule that fits; the defaults of a rule when none does."""
    return next((rule for rule in rules if fits(rule.category, category)), FusionRule(category=category))


@dataclass(frozen=True, slots=True)
class Family:
    """Categories that tell of one matter: a gauge that rises and the water in a camera's picture.

    Attributes:
        name: what the district calls it.
        categories: the leading one first; matters are kept under it, and it names an incident that has it.
        radius_m, rejoin_s, stale_s: as a ``FusionRule`` has them, for all of them alike.
    """

    name: str
    categories: tuple[str, ...]
    radius_m: float
    rejoin_s: float
    stale_s: float


def with_families(rules: Sequence[FusionRule], families: Iterable[Family]) -> tuple[FusionRule, ...]:
    """The rules by which a district fuses: its families before everything else, by place, whoever sees it."""
    told = [
        FusionRule(
            category=category,
            radius_m=family.radius_m,
            rejoin_s=family.rejoin_s,
            stale_s=family.stale_s,
            family=family.categories,
        )
        for family in families
        for category in family.categories
    ]
    return (*told, *rules)


def matter_category(rule: FusionRule, category: str) -> str:
    """The category that a matter is kept under: its family's leading one, or its own."""
    return rule.family[0] if category in rule.family else category


def leading(family: Sequence[str], one: str, other: str) -> str:
    """Which of two categories names what both tell of: the earlier of a family, else the first of the two."""
    if one not in family or other not in family:
        return one
    return min(one, other, key=family.index)


@dataclass(frozen=True, slots=True)
class Device:
    """Who observed, and where it stands (WGS-84 degrees)."""

    device_id: int
    site: str
    name: str
    lon: float
    lat: float


@dataclass(frozen=True, slots=True)
class Observation:
    """The state of one observation as far as its phases are known.

    ``mark`` is empty once a phase of it counts; ``maintenance`` or ``drill`` while all of it calls no one. ``peak`` is
    the highest value that any phase told, where the newest told less; ``severe_since`` is of ``cloud.incidents.order``.
    """

    device_id: int
    observation_id: UUID
    kind: Kind
    revision: int
    category: str
    source: str
    sensor: str
    severity: int
    started_at: datetime
    at: datetime
    ended_at: datetime | None
    count: int
    value: float | None
    unit: str
    evidence: tuple[Mapping[str, Any], ...]
    detail: Mapping[str, Any]
    received_at: datetime
    mark: str = ""
    peak: float | None = None
    severe_since: SevereSince = ()

    @property
    def over_at(self) -> datetime | None:
        """When it was over: an act as soon as it was seen."""
        return self.at if self.kind == "act" and self.ended_at is None else self.ended_at


def kind_of(category: str, phase: str) -> Kind:
    """Whether an observation tells of a condition or an act.

    The category says so, for it is declared once for all; by the phase alone any box could turn what is only
    to be counted into a ticket. Of a category that nobody declared there is only the phase to go by.
    """
    declared = BY_CODE.get(category)
    if declared is not None:
        return declared.kind
    return "act" if phase == "act" else "condition"


def merge(one: Observation, other: Observation) -> Observation:
    """The state that both phases together tell.

    The higher revision says what is measured; an end, once told, stays; severity and peak never fall; pictures add
    up. What counted once (it outlasted a maintenance, or began before it) counts.
    """
    newer = max(one, other, key=_order)
    ends = [state.ended_at for state in (one, other) if state.ended_at is not None]
    return replace(
        newer,
        severity=max(one.severity, other.severity),
        started_at=min(one.started_at, other.started_at),
        at=max(one.at, other.at),
        ended_at=max(ends, default=None),
        evidence=_united(one.evidence, other.evidence),
        received_at=min(one.received_at, other.received_at),
        mark=max(one.mark, other.mark) if one.mark and other.mark else "",
        peak=_peak(newer.value, one, other),
        severe_since=earliest(one.severe_since, other.severe_since),
    )


def _peak(newest: float | None, *states: Observation) -> float | None:
    told = [value for state in states for value in (state.value, state.peak) if value is not None]
    highest = max(told, default=None)
    return None if highest == newest else highest


def _order(state: Observation) -> tuple[object, ...]:
    # Beyond the revision only to be deterministic, should a box ever send two states under one revision: all
    # that the newer one decides, and nothing that merging changes, or the order of merging would show.
    return (
        state.revision,
        state.count,
        -math.inf if state.value is None else state.value,
        state.unit,
        state.source,
        state.sensor,
        repr(sorted(state.detail.items())),
    )


def _united(*parts: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    pictures = [picture for part in parts for picture in part]
    # Sorted to the last detail, so that of two that differ under one hash it is always the same that stays.
    pictures.sort(
        key=lambda picture: (picture["captured_at"], picture["sha256"], repr(sorted(picture.items())))
    )
    by_hash: dict[str, Mapping[str, Any]] = {}
    for picture in pictures:
        by_hash.setdefault(picture["sha256"], picture)
    return tuple(by_hash.values())


def is_late(observation: Observation, rule: FusionRule, now: datetime) -> bool:
    """Whether it is known to be over, and was over so long ago that nobody need be called."""
    over_at = observation.over_at
    return over_at is not None and now - over_at > timedelta(seconds=rule.stale_s)


def scope_of(rule: FusionRule, device: Device, observation: Observation) -> str:
    """What a matter is tied to: '' for any place near enough, else the one device or sensor that sees it."""
    if observation.kind == "act" or rule.scope == "device":
        return f"{device.site}/{device.name}"
    if rule.scope == "sensor":
        return f"{device.site}/{device.name}/{observation.sensor}"
    return ""


def hour_of(at: datetime) -> datetime:
    """The hour in which acts are counted together; China's zone has whole hours, so UTC's are the same."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def lock_names(category: str, scope: str, lon: float, lat: float, radius_m: float) -> Iterator[str]:
    """The locks under which a matter is looked for and opened.

    All place cells that the radius around the point can touch. Two observations within the radius of each
    other share at least the cell that either stands in, so their workers meet at a lock even where a cell
    border runs between them.
    """
    if scope:
        yield f"matter|{category}|{scope}"
        return
    box = box_around(lon, lat, radius_m)
    for x in range(_cell(box.west), _cell(box.east) + 1):
        for y in range(_cell(box.south), _cell(box.north) + 1):
            yield f"matter|{category}|{x}|{y}"


def _cell(degrees: float) -> int:
    return math.floor(degrees / _CELL_DEGREES)


@dataclass(frozen=True, slots=True)
class Matter:
    """A category at a place: an anchor's (``cloud.incidents.places``), or where people told of it."""

    matter_id: int
    lon: float
    lat: float


def nearest(matters: Iterable[Matter], lon: float, lat: float, radius_m: float) -> Matter | None:
    """The matter a point belongs to: the nearest within the radius, the older of two equally near."""
    measured = ((distance_m(lon, lat, matter.lon, matter.lat), matter) for matter in matters)
    near = [entry for entry in measured if entry[0] <= radius_m]
    return min(near, key=lambda entry: (entry[0], entry[1].matter_id))[1] if near else None


def count_too_near(rules: Sequence[FusionRule], category: str, matters: Sequence[Matter]) -> int:
    """How many matters of a category stand within its radius of another: each should have been one with it."""
    radius_m = rule_for(rules, category).radius_m
    by_latitude = sorted(matters, key=lambda matter: matter.lat)
    reach = radius_m / METRES_A_DEGREE * 1.001
    too_near: set[int] = set()
    for position, matter in enumerate(by_latitude):
        for other in by_latitude[position + 1 :]:
            if other.lat - matter.lat > reach:
                break
            if distance_m(matter.lon, matter.lat, other.lon, other.lat) <= radius_m:
                too_near |= {matter.matter_id, other.matter_id}
    return len(too_near)


@dataclass(frozen=True, slots=True)
class Incident:
    """What its observations tell together."""

    incident_id: UUID
    matter_id: int
    category: str
    kind: Kind
    severity: int
    started_at: datetime
    last_at: datetime
    ended_at: datetime | None
    observations: int
    count: int
    ticket_worthy: bool
    lon: float
    lat: float
    device_id: int
    opened_at: datetime
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """An incident before (None: new) and after an observation.

    Attributes:
        before, incident: the incident.
        family: the categories it may be of.
        seen: the observation as it now stands.
    """

    before: Incident | None
    incident: Incident
    family: tuple[str, ...] = ()
    seen: Observation | None = None

    @property
    def ended(self) -> bool:
        """It went on before, and is over now."""
        return self.before is not None and self.before.ended_at is None and self.incident.ended_at is not None

    @property
    def returned(self) -> bool:
        """It was over before, and goes on now."""
        return self.before is not None and self.before.ended_at is not None and self.incident.ended_at is None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An incident of the same matter that an observation might belong to."""

    incident_id: UUID
    started_at: datetime
    ended_at: datetime | None
    ticket_final_at: datetime | None
    ticket_id: UUID | None = None


def choose(candidates: Sequence[Candidate], observation: Observation, rule: FusionRule) -> Candidate | None:
    """The incident that an observation joins: the earliest that it touches in time, or None for a new one."""
    return next(touched(candidates, observation, rule), None)


def bridged(
    candidates: Sequence[Candidate], observation: Observation, rule: FusionRule
) -> tuple[Candidate, ...]:
    """The incidents that an observation shows to be one with the one it joins: it was heard of after both.

    They are what it would have been joined by, had it come in its time. Of an observation that goes on only what it
    is known to have reached counts. Where both have tickets, and not the same one, each stays for itself.
    """
    first = choose(candidates, observation, rule)
    if first is None or first.ticket_final_at is not None:
        return ()
    reached = (observation.over_at or observation.at) + timedelta(seconds=rule.rejoin_s)
    found, ticket_id = [], first.ticket_id
    for other in touched(candidates, observation, rule):
        if other == first or other.ticket_final_at is not None or other.started_at > reached:
            continue
        if other.ticket_id is None or ticket_id in {None, other.ticket_id}:
            ticket_id = ticket_id or other.ticket_id
            found.append(other)
    return tuple(found)


def touched(
    candidates: Sequence[Candidate], observation: Observation, rule: FusionRule
) -> Iterator[Candidate]:
    """The incidents that an observation touches in time, the earliest first.

    An incident whose ticket is closed takes in only what was over before the closing: anything else is a
    matter that came back, and needs a ticket.
    """
    rejoin = timedelta(seconds=rule.rejoin_s)
    over_at = observation.over_at
    for candidate in sorted(candidates, key=lambda c: (c.started_at, c.incident_id)):
        final_at = candidate.ticket_final_at
        if final_at is not None and (over_at is None or over_at > final_at):
            continue
        begins_in_time = candidate.ended_at is None or observation.started_at <= candidate.ended_at + rejoin
        ends_in_time = over_at is None or over_at >= candidate.started_at - rejoin
        if begins_in_time and ends_in_time:
            yield candidate
