"""Calls, conferences and advice over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from cloud.instants import Instant
from cloud.tickets.schemas import UnitCode

_Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
_Said = Annotated[_Text, Field(min_length=1, max_length=2000)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True)


class ArrivalRequest(_Asked):
    """A called unit is there."""

    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    coordinate_system: Annotated[
        str,
        Field(
            max_length=60, description="WGS-84, GCJ-02 or CGCS2000, as the telephone gives it; never guessed"
        ),
    ] = "WGS-84"
    at: Annotated[Instant | None, Field(description="of the last minutes; none: now")] = None


class TaskRequest(_Asked):
    """Who owes what by when."""

    unit_code: UnitCode
    what: Annotated[_Text, Field(min_length=1, max_length=500)]
    due_at: Instant


class ConferenceRequest(_Asked):
    """What was found and decided together."""

    held_at: Instant
    present: Annotated[tuple[UnitCode, ...], Field(min_length=1, max_length=100)]
    findings: Annotated[_Text, Field(max_length=5000)] = ""
    decision: _Said
    tasks: Annotated[tuple[TaskRequest, ...], Field(max_length=50)] = ()


class DoneRequest(_Asked):
    """A promise is kept."""

    note: Annotated[_Text, Field(max_length=2000)] = ""


class AdviceRequest(_Asked):
    """A question to an adviser."""

    adviser: Annotated[_Text, Field(min_length=1, max_length=60, description="who")]
    unit_code: Annotated[UnitCode, Field(description="through which unit the adviser is reached")]
    question: _Said


class AdviceAnswer(_Asked):
    """What the adviser says."""

    answer: _Said


class CallRead(_Read):
    """A unit that was called."""

    unit_code: str
    unit_zh: str
    unit_en: str
    called_at: datetime
    called_by: str
    because: str
    arrive_due_at: datetime | None
    arrived_at: datetime | None
    reported_at: datetime | None = Field(description="when the arrival was reported")
    arrived_by: str | None
    distance_m: float | None = Field(description="from the ticket's place, on arrival")
    missed_at: datetime | None


class TaskRead(_Read):
    """A promise of a conference."""

    task_id: UUID
    n: int
    unit_code: str
    unit_zh: str
    unit_en: str
    what: str
    due_at: datetime
    done_at: datetime | None
    done_by: str | None
    done_note: str
    missed_at: datetime | None


class ConferenceRead(_Read):
    """A conference."""

    conference_id: UUID
    held_at: datetime
    recorded_at: datetime
    recorded_by: str
    present: tuple[str, ...]
    findings: str
    decision: str
    tasks: tuple[TaskRead, ...]


class AdviceRead(_Read):
    """What an adviser was asked."""

    advice_id: UUID
    adviser: str
    unit_code: str
    question: str
    asked_at: datetime
    asked_by: str
    answer: str | None
    answered_at: datetime | None
    answered_by: str | None


class Whistle(_Read):
    """Who was called onto a ticket, what they agreed, and who was asked."""

    calls: tuple[CallRead, ...]
    conferences: tuple[ConferenceRead, ...]
    advice: tuple[AdviceRead, ...]
