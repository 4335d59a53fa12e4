"""What the fields of a district's file may hold."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

UnitCode = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
Name = Annotated[str, Field(min_length=1, max_length=60)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Pattern = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\.\*)?)$")]
Severity = Annotated[int, Field(ge=1, le=4)]
LevelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")]

_PART = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Span(int):
    """A time in seconds that remembers its days: under a working calendar a day is a working day."""

    days: int

    def under(self, day_s: int) -> int:
        """The seconds where a day has so many."""
        return int(self) + self.days * (day_s - _SECONDS["d"])


def _span(value: object) -> Span:
    """``45s``, ``15m``, ``4h``, ``3d``, ``1h30m`` as seconds."""
    if not isinstance(value, str) or not re.fullmatch(r"(\d{1,6}[smhd])+", value):
        raise ValueError("expected a time such as 45s, 15m, 4h, 3d or 1h30m")
    parts = [(int(number), unit) for number, unit in _PART.findall(value)]
    span = Span(sum(number * _SECONDS[unit] for number, unit in parts))
    span.days = sum(number for number, unit in parts if unit == "d")
    if not 0 < span <= 366 * _SECONDS["d"]:
        raise ValueError("expected a time above nothing and at most 366d")
    return span


Duration = Annotated[
    Span,
    PlainValidator(_span),
    WithJsonSchema({"type": "string", "pattern": r"^(\d{1,6}[smhd])+$", "examples": ["15m", "1h30m", "3d"]}),
]
