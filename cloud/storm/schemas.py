"""Storms over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud.instants import Instant
from cloud.tickets.schemas import UnitCode

Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^[^\x00]*$")
]


class StormEvent(BaseModel):
    """A line of its history; ``actor_id`` is empty where the system itself acted."""

    n: int
    at: datetime
    kind: Literal["began", "ended"]
    actor_id: str
    actor_name: str
    reason: str


class StormRead(BaseModel):
    """A storm; it goes on while ``ended_at`` is null."""

    storm_id: UUID
    unit_code: str = Field(description="its area")
    by_rule: bool
    began_at: datetime
    began_by: str
    reason: str
    ends_at: datetime | None = Field(description="when it ends by itself")
    ended_at: datetime | None
    ended_by: str | None
    end_reason: str | None
    events: tuple[StormEvent, ...] = ()


class StormList(BaseModel):
    """Those that go on first, then the last ones."""

    items: tuple[StormRead, ...]


class StormRequest(BaseModel):
    """Begin storm mode in an area."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit_code: UnitCode = Field(description="a centre, street or community")
    reason: Reason
    began_at: Instant | None = Field(default=None, description="since when, if not now; never in the future")
    ends_at: Instant | None = Field(default=None, description="when it ends by itself")


class StormAction(BaseModel):
    """End it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["end"]
    reason: Reason
