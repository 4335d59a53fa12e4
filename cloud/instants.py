"""Instants in requests: with their zone, and of a time in which they can be reckoned with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def _sane(at: datetime) -> datetime:
    if not _FIRST <= at < _LAST:
        raise ValueError("expected an instant from 2000 up to 2100")
    return at


Instant = Annotated[AwareDatetime, AfterValidator(_sane)]
