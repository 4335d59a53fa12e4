"""What the ticket centre says about tickets, over HTTP and to the console."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cloud.instants import Instant
from cloud.recurring.schemas import RecurringPlace
from cloud.tickets.domain import Action, Channel, Ground, State

Severity = Annotated[int, Field(ge=1, le=4, description="1 notice, 2 ordinary, 3 serious, 4 critical")]
UnitCode = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
CategoryCode = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,3}$", max_length=64)]


def _sane_box(text: str) -> str:
    west, south, east, north = (float(part) for part in text.split(","))
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise ValueError("expected west,south,east,north with west below east and south below north")
    return text


_DEGREES = r"-?[0-9]{1,3}(\.[0-9]{1,9})?"
#: A rectangle on the map.
Box = Annotated[str, Field(pattern=rf"^{_DEGREES}(,{_DEGREES}){{3}}$"), AfterValidator(_sane_box)]


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True)


class TicketSummary(_Read):
    """A line of the list, a point on the map."""

    ticket_id: UUID
    number: str
    category: str
    category_zh: str
    category_en: str
    channel: Channel
    severity: Severity
    state: State
    version: int
    level: int = Field(description="how far up it was escalated: 0 its owner, then the steps of the ladder")
    unit_code: str | None
    unit_zh: str
    unit_en: str
    unassigned: bool = Field(description="in the centre's queue: no rule named an owner")
    grid_code: str | None
    lon: float
    lat: float
    opened_at: datetime
    dispatched_at: datetime | None
    claimed_at: datetime | None = Field(description="when somebody said it was resolved")
    closed_at: datetime | None
    blind_at: datetime | None = Field(description="verifying: since when no device can look")
    overridden: bool = Field(description="closed by a supervisor's word, without a clean look")
    closed_by: Ground | None = Field(description="of a closed one, by what")
    reopenings: int
    next_clock: str | None = Field(description="the running clock that is due first")
    next_due_at: datetime | None
    clocks_missed: int
    incidents: int


class Event(_Read):
    """A line of the history. ``actor_id`` is empty where the system itself acted."""

    n: int
    at: datetime
    kind: str
    actor_id: str
    actor_name: str
    from_state: State | None
    to_state: State
    note: str
    detail: dict[str, Any]


class Clock(_Read):
    """A promise of time; a round is one try."""

    name: Literal["assign", "ack", "arrive", "resolve"]
    round: int
    state: Literal["running", "stopped", "met", "missed", "cancelled"]
    started_at: datetime
    due_at: datetime
    remaining_s: float | None
    met_at: datetime | None
    missed_at: datetime | None
    version: int


class Assignment(_Read):
    """A unit's part in a ticket."""

    unit_code: str
    unit_zh: str
    unit_en: str
    kind: Literal["owner", "called"]
    assigned_at: datetime
    assigned_by: str
    because: str
    ended_at: datetime | None


class EvidenceRef(_Read):
    """A picture; it may arrive after its ticket."""

    sha256: str
    media_type: str
    width: int
    height: int
    captured_at: datetime
    arrived: bool
    url: str


class LinkedIncident(_Read):
    """An incident of the ticket, with the device that saw it and its pictures."""

    incident_id: UUID
    started_at: datetime
    last_at: datetime
    ended_at: datetime | None
    severity: Severity
    observations: int
    count: int
    lon: float
    lat: float
    device: str = Field(description="site/device that opened it")
    device_zh: str
    device_en: str
    value: float | None = Field(description="the latest value, where a sensor measures one")
    unit: str
    evidence: tuple[EvidenceRef, ...]


class ReportPhoto(_Read):
    """A photo that came with a report."""

    sha256: str
    width: int
    height: int


class TicketReport(_Read):
    """That a person told of the matter; who it was and what they wrote is asked for by the report."""

    report_id: UUID
    receipt: str
    channel: Channel
    occurred_at: datetime
    received_at: datetime
    photos: tuple[ReportPhoto, ...]
    stars: int | None


class NearPlace(_Read):
    """A vulnerable place that a matter lies at."""

    kind: str
    name_zh: str
    name_en: str
    metres: int


class SeverityFacts(_Read):
    """What a rule went by; only what it asks for."""

    lasts_s: int | None = None
    observations: int | None = None
    devices: int | None = None
    reports: int | None = None
    level: float | None = Field(default=None, description="the highest value, in unit")
    unit: str = ""
    near: NearPlace | None = None


class SeverityReason(_Read):
    """Why a severity rose."""

    at: datetime
    before: Severity
    after: Severity
    because: Literal["rule", "storm", "told"] = Field(
        description="by a rule of the district, in a storm, or because devices or people tell of something graver"
    )
    rule: str = ""
    facts: SeverityFacts | None = None


class TicketDetail(TicketSummary):
    """Everything about a ticket."""

    severity_reasons: tuple[SeverityReason, ...] = Field(
        default=(),
        description="each rise of its severity and why, the newest last; it does not fall by itself",
    )
    recurring: RecurringPlace | None = Field(
        default=None, description="of a stretch where passing acts keep happening: the rate before and after"
    )
    merged_into: UUID | None = Field(default=None, description="of a merged one, where the work goes on")
    reports: tuple[TicketReport, ...] = Field(
        default=(), description="what people told, at most the newest 50"
    )

    review_at: datetime | None
    policy: dict[str, Any]
    level_zh: str = Field(default="", description="what the district calls the step it was escalated to")
    level_en: str = ""
    calendar_gaps: tuple[int, ...] = Field(
        default=(),
        description="years its clocks run through whose public holidays were not published at the opening:"
        " there only weekends are free",
    )
    actions: tuple[Action, ...] = Field(description="what its state allows people; roles decide who")
    events: tuple[Event, ...]
    clocks: tuple[Clock, ...]
    assignments: tuple[Assignment, ...]
    linked_incidents: tuple[LinkedIncident, ...]


class TicketFilters(BaseModel):
    """Which tickets to list; everything left out does not narrow."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: tuple[State, ...] = ()
    open: bool | None = Field(default=None, description="true: neither closed nor void; false: only those")
    category: CategoryCode | None = None
    channel: Channel | None = None
    unit_code: UnitCode | None = Field(default=None, description="this unit and everything below it")
    min_severity: Severity = 1
    unassigned: bool | None = None
    overdue: bool | None = Field(default=None, description="true: with a missed clock")
    number: Annotated[str, Field(pattern=r"^DT-[0-9]{8}-[0-9]{4,9}$")] | None = None
    grid_code: UnitCode | None = None
    opened_since: Instant | None = Field(default=None, description="opened then or later")
    opened_until: Instant | None = Field(default=None, description="opened before")
    bbox: Box | None = Field(default=None, description="west,south,east,north in WGS-84 degrees")
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class TicketPage(_Read):
    """Newest first; ``next_cursor`` gives the page after this one."""

    items: tuple[TicketSummary, ...]
    next_cursor: str | None


class ActionRequest(BaseModel):
    """Something done to a ticket."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Action
    note: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")] = ""
    unit_code: UnitCode | None = Field(default=None, description="for dispatch, transfer and call")
    review_at: datetime | None = Field(default=None, description="for suspend: when to look at it again")
    expected_version: int | None = Field(
        default=None, ge=1, description="the version that was read; If-Match says the same"
    )
