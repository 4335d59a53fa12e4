"""What a storm is and what it does. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from cloud.dispatch.domain import fits


@dataclass(frozen=True, slots=True)
class Plan:
    """What the district does in a storm.

    Attributes:
        categories: patterns of the matters it concerns.
        raise_to: below this severity nothing of them stays.
        rule_categories: patterns of the incidents that make a storm; empty: only people do.
        rule_incidents, rule_within_s: so many of them within such a time.
        rule_area: counted in each unit of this kind.
        rule_quiet_s: a storm by rule ends when none of them was seen for so long.
    """

    categories: tuple[str, ...]
    raise_to: int
    rule_categories: tuple[str, ...] = ()
    rule_incidents: int = 0
    rule_within_s: int = 0
    rule_area: Literal["centre", "street", "community"] = "centre"
    rule_quiet_s: int = 0

    def concerns(self, category: str) -> bool:
        """Whether a matter of this category is one for storms."""
        return any(fits(pattern, category) for pattern in self.categories)


def codes(patterns: Collection[str], categories: Collection[str]) -> list[str]:
    """The categories that patterns mean."""
    return sorted(code for code in categories if any(fits(pattern, code) for pattern in patterns))


@dataclass(frozen=True, slots=True)
class Storm:
    """One time in one area; it goes on while ``ended_at`` is None."""

    storm_id: UUID
    unit_code: str
    by_rule: bool
    began_at: datetime
    began_by: str
    reason: str
    ends_at: datetime | None = None
    ended_at: datetime | None = None
    ended_by: str | None = None
    end_reason: str | None = None
