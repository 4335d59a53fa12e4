"""The shelf as HTTP tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cloud.instants import Instant
from cloud.shelf.repo import Alarm, Shelved

_AlarmName = Annotated[
    str, Field(max_length=200, pattern=r"^[^\x00]*$", description="as the ticket's shelf names it")
]


class AlarmRead(BaseModel):
    """What a box raises: a category by a sensor."""

    alarm: _AlarmName
    site: str
    device: str
    category: str
    sensor: str
    device_zh: str
    device_en: str
    category_zh: str
    category_en: str


class ShelvedRead(BaseModel):
    """An alarm on the shelf; without a sensor it is the category's, whatever sensor of the box raises it."""

    shelved_id: int
    site: str
    device: str
    category: str
    sensor: str | None
    until_at: Instant
    reason: str
    who: str


class Shelf(BaseModel):
    """A ticket's alarms: those that call people, and those that lie on the shelf, the soonest off first."""

    alarms: tuple[AlarmRead, ...]
    shelved: tuple[ShelvedRead, ...]


class ShelfRequest(BaseModel):
    """An alarm to put there."""

    model_config = ConfigDict(extra="forbid")

    alarm: _AlarmName
    hours: Annotated[Literal[1, 4, 8, 24], Field(description="then it comes off by itself")]
    reason: Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]


def read_shelf(alarms: Sequence[Alarm], shelved: Sequence[Shelved]) -> Shelf:
    """A ticket's shelf, as the database has it."""
    return Shelf(
        alarms=tuple(AlarmRead.model_validate({"alarm": one.key, **asdict(one)}) for one in alarms),
        shelved=tuple(
            ShelvedRead.model_validate({"shelved_id": one.quiet_id, **asdict(one)}) for one in shelved
        ),
    )
