"""What the ticket centre says about incidents."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from cloud.tickets.schemas import CategoryCode, Severity


class Incident(BaseModel):
    """Something that happened: a condition from its start to its end, or the acts of one hour."""

    model_config = ConfigDict(frozen=True)

    incident_id: UUID
    category: str
    category_zh: str
    category_en: str
    kind: Literal["condition", "act"]
    severity: Severity
    started_at: datetime
    last_at: datetime
    ended_at: datetime | None = Field(description="null: it still goes on")
    observations: int
    count: int
    ticket_worthy: bool
    mark: str = Field(description="maintenance, drill or shelved: it calls no one; empty: it counts")
    lon: float
    lat: float
    opened_at: datetime
    device: str = Field(description="site/device that opened it")
    device_zh: str
    device_en: str
    ticket_id: UUID | None
    ticket_number: str | None


class IncidentFilters(BaseModel):
    """Which incidents to list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    open: bool = Field(default=False, description="only what still goes on")
    kind: Literal["condition", "act"] | None = None
    category: CategoryCode | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class IncidentPage(BaseModel):
    """Latest first; ``next_cursor`` gives the page after this one."""

    model_config = ConfigDict(frozen=True)

    items: tuple[Incident, ...]
    next_cursor: str | None
