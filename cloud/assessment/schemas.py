"""What the API says of the assessment."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from cloud.assessment.domain import Figures, Hotspot, Placed
from cloud.assessment.repo import By
from cloud.instants import Instant
from cloud.tickets.domain import State
from cloud.tickets.schemas import CategoryCode, Severity, UnitCode


class PeriodQuery(BaseModel):
    """Which tickets: those opened in a period; everything left out does not narrow."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: Instant | None = Field(default=None, description="by default thirty days before until")
    until: Instant | None = Field(default=None, description="by default now")
    category: CategoryCode | None = None
    unit_code: UnitCode | None = Field(default=None, description="this unit and everything below it")


class FiguresQuery(PeriodQuery):
    """And by what they are grouped."""

    by: By = Field(
        default="unit",
        description="unit; kind of unit; level it was escalated to; category; month of the district's time",
    )


class LeagueQuery(PeriodQuery):
    """And which units compete."""

    among: Literal["street", "community", "grid", "department"] = "street"


class HotspotQuery(PeriodQuery):
    """And which places are compared with what."""

    among: Literal["street", "community", "grid"] = "grid"
    against: Literal["elsewhere", "before"] = Field(
        default="elsewhere",
        description="other places in the same time, or the same place in four such times before",
    )


class UnsolvedQuery(BaseModel):
    """What has stood open for so long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: Annotated[int, Field(ge=1, le=3650)] = 7
    unit_code: UnitCode | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str | None, Field(max_length=200)] = None


class ShareRead(BaseModel):
    """So many of so many."""

    part: float
    of: int
    value: float | None = Field(description="null: there was no case")
    lower: float | None = Field(description="lower end of its 95 % interval (Wilson)")


class FiguresRead(BaseModel):
    """What is counted of a group of tickets."""

    tickets: int
    closed: int
    reopened: int
    overridden: int = Field(description="closed by a supervisor's word without a look")
    mean_close_s: float | None = Field(description="from opening to closing, blind time left out")
    blind_s: float = Field(description="time in which no device could look; counts against nobody")
    mean_stars: float | None = Field(description="of citizens and streets")
    shares: dict[str, ShareRead] = Field(
        description="acknowledged, arrived, resolved: in time; lowest: closed without escalation; kept: claimed and"
        " never reopened; answered: calls arrived at in time; rated: stars from 1 (0) to 5 (1)"
    )


class Group(BaseModel):
    """A group and its figures."""

    key: str
    figures: FiguresRead


class Assessment(BaseModel):
    """Figures by group."""

    since: datetime
    until: datetime
    by: By
    items: tuple[Group, ...]


class LeagueRow(BaseModel):
    """A unit's place."""

    rank: int | None = Field(description="null: too little to judge by")
    unit_code: str
    score: float | None = Field(description="0 to 100: weighted mean of the shares' lower ends")
    figures: FiguresRead


class League(BaseModel):
    """The table, the best first."""

    since: datetime
    until: datetime
    items: tuple[LeagueRow, ...]


class HotspotRead(BaseModel):
    """A place where more of a category happens than chance explains."""

    place: str
    category: str
    count: int
    expected: float
    p: float = Field(description="probability of so many or more by chance alone, exact")
    q: float = Field(description="adjusted for all places and categories looked at (Benjamini-Hochberg)")


class Hotspots(BaseModel):
    """The surest first; one in twenty of them may be chance."""

    since: datetime
    until: datetime
    items: tuple[HotspotRead, ...]


class Unsolved(BaseModel):
    """A ticket that has stood open for long."""

    model_config = ConfigDict(frozen=True)

    ticket_id: UUID
    number: str
    category: str
    category_zh: str
    category_en: str
    severity: Severity
    state: State
    level: int
    unit_code: str | None
    unit_zh: str
    unit_en: str
    grid_code: str | None
    opened_at: datetime
    reopenings: int
    review_at: datetime | None
    clocks_missed: int


class UnsolvedPage(BaseModel):
    """The oldest first."""

    items: tuple[Unsolved, ...]
    next_cursor: str | None


class RatingRequest(BaseModel):
    """The street's word on a unit's work."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit_code: UnitCode
    stars: Annotated[int, Field(ge=1, le=5)]
    note: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")] = ""


class RatingRead(RatingRequest):
    """As it was written down."""

    ticket_id: UUID
    at: datetime


def read_figures(figures: Figures) -> FiguresRead:
    """Figures as the API tells them."""
    return FiguresRead(
        tickets=figures.tickets,
        closed=figures.closed,
        reopened=figures.reopened,
        overridden=figures.overridden,
        mean_close_s=figures.close_s / figures.closed if figures.closed else None,
        blind_s=figures.blind_s,
        mean_stars=figures.stars / figures.ratings if figures.ratings else None,
        shares={
            name: ShareRead(part=one.part, of=one.of, value=one.value, lower=one.lower)
            for name, one in figures.shares.items()
        },
    )


def read_placed(placed: Placed) -> LeagueRow:
    """A row of the league."""
    return LeagueRow(
        rank=placed.rank, unit_code=placed.unit_code, score=placed.score, figures=read_figures(placed.figures)
    )


def read_hotspot(hotspot: Hotspot) -> HotspotRead:
    """A row of the places."""
    cell = hotspot.cell
    return HotspotRead(
        place=cell.place,
        category=cell.category,
        count=cell.count,
        expected=hotspot.expected,
        p=hotspot.p,
        q=hotspot.q,
    )
