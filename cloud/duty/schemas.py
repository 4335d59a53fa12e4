"""The rota in files and over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cloud.duty.domain import MAIL_ADDRESS, Shift
from cloud.instants import Instant
from cloud.tickets.schemas import UnitCode

_Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]


class ShiftEntry(BaseModel):
    """Somebody is on duty from one instant up to another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    person: Annotated[_Text, Field(min_length=1, max_length=60)]
    phone: Annotated[_Text, Field(max_length=40)] = ""
    email: Annotated[str, Field(pattern=MAIL_ADDRESS, max_length=254)] = ""
    begins_at: Instant
    ends_at: Instant
    position: Annotated[int, Field(ge=1, le=99, description="who of several is called first")] = 1


class RotaRequest(BaseModel):
    """A unit's whole rota of a time: what stood there before is replaced."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit_code: UnitCode
    since: Instant
    until: Instant
    shifts: Annotated[tuple[ShiftEntry, ...], Field(max_length=2000)]

    def rota(self) -> list[Shift]:
        """As the domain takes it."""
        return [Shift(self.unit_code, **shift.model_dump()) for shift in self.shifts]


class ShiftRead(BaseModel):
    """A shift."""

    unit_code: str
    person: str
    phone: str
    email: str = ""
    begins_at: datetime
    ends_at: datetime
    position: int


class Rota(BaseModel):
    """Shifts in order."""

    items: tuple[ShiftRead, ...]


class OnDuty(BaseModel):
    """Whom to call of a unit."""

    unit_code: str
    at: datetime
    person: str
    phone: str
    found_by: Literal["rota", "lead", "nobody"] = Field(description="lead: the rota names nobody")


class Hole(BaseModel):
    """A time in which nobody is on duty."""

    unit_code: str
    begins_at: datetime
    ends_at: datetime


class Holes(BaseModel):
    """The holes of all units that must have somebody, or that have a rota."""

    items: tuple[Hole, ...]


#: How far a rota is looked ahead.
AHEAD = timedelta(days=14)
