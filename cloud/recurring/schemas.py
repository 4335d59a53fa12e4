"""What the ticket centre says about recurring places."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True)


class RateRead(_Read):
    """How often, in one band of hours and by the same cameras."""

    since: datetime
    until: datetime
    acts: int
    looked_h: float = Field(description="camera-hours looked, by the cameras' books")
    clock_h: float = Field(description="camera-hours on the clock; nobody can have looked for longer")
    per_h: float | None = Field(description="acts in an hour looked; null: nothing looked")
    at_least_per_h: float = Field(description="what it cannot be below, however little was looked")


class WorstAct(_Read):
    """One of the worst acts, with its pictures."""

    at: datetime
    device: str = Field(description="site/device")
    device_zh: str
    device_en: str
    sensor: str
    severity: int
    count: int
    pictures: tuple[str, ...] = Field(description="where they are; they may arrive later")


class RecurringPlace(_Read):
    """A stretch of road and a band of hours in which passing acts keep happening."""

    category: str
    stretch: str
    stretch_zh: str
    stretch_en: str
    band: str
    band_zh: str
    band_en: str
    days: tuple[int, ...] = Field(description="ISO weekdays")
    hours: tuple[str, ...] = Field(description="such as 07:00-09:00, in the district's time")
    limit_per_h: float
    cameras: int
    opened_upon: RateRead = Field(description="what the ticket was opened upon")
    before: RateRead | None = Field(description="all up to the last claim that something was done")
    after: RateRead | None = Field(description="since that claim")
    measured_at: datetime | None
    verdict: Literal["came_down", "not_down", "blind", "measuring"] | None = Field(
        description="null: nobody has claimed anything yet"
    )
    worst: tuple[WorstAct, ...]


class RecurringTicket(_Read):
    """A recurring place with its ticket."""

    ticket_id: UUID
    number: str
    state: str
    opened_at: datetime
    closed_at: datetime | None
    place: RecurringPlace


class RecurringFilters(BaseModel):
    """Which recurring places to list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    open: bool | None = Field(
        default=None, description="true: with an open ticket; false: only those of before"
    )
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str | None, Field(max_length=200, description="next_cursor of the page before")] = None


class RecurringPage(_Read):
    """Newest first; ``next_cursor`` gives the page after this one."""

    items: tuple[RecurringTicket, ...]
    next_cursor: str | None
