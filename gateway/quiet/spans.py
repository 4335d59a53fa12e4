"""From when until when, as people write it. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from gateway.repo import DISTRICT

_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
#: Longer than anything is kept, and no calendar ends so soon.
_LONGEST: Final = timedelta(days=36_500)


def length(text: str) -> timedelta:
    """``90s``, ``30m``, ``2h`` or ``7d``.

    Raises:
        ValueError: when it is none of these.
    """
    match = _LENGTH.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a length like 90s, 30m, 2h or 7d, got {text!r}")
    number = float(match[1])
    if number * _SECONDS[match[2]] > _LONGEST.total_seconds():
        raise ValueError(f"expected a length within {_LONGEST.days} days, got {text[:40]!r}")
    return timedelta(**{_UNITS[match[2]]: number})


def instant(text: str) -> datetime:
    """An ISO 8601 instant; without a zone it is the district's.

    Raises:
        ValueError: when it is none.
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"expected an instant like 2026-01-31T14:00, got {text!r}") from error
    return at if at.tzinfo else at.replace(tzinfo=DISTRICT)
