"""Units, category patterns and the order of rules. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from cloud.dispatch.domain import fits
from cloud.district.geometry import Ring

UnitKind = Literal["centre", "street", "community", "grid", "department"]
Level = Literal["centre", "street", "community", "grid"]

#: Which kind of unit stands directly above which. A department may stand alone (a municipal one).
PARENT_KIND: Mapping[UnitKind, UnitKind | None] = {
    "centre": None,
    "street": "centre",
    "community": "street",
    "grid": "community",
    "department": "centre",
}
#: From the top down, so that parents come before their children.
KINDS: tuple[UnitKind, ...] = ("centre", "street", "community", "grid", "department")


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of the organisation; ``area`` is in WGS-84 degrees, longitude first."""

    unit_code: str
    parent_code: str | None
    kind: UnitKind
    name_zh: str
    name_en: str
    area: Ring | None = None
    lead: str = ""
    phone: str = ""
    email: str = ""
    hours: str = ""
    after_hours: str | None = None
    duty: bool = False

    def name(self, language: str) -> str:
        """Its name in Chinese or English."""
        return self.name_zh if language.startswith("zh") else self.name_en


@dataclass(frozen=True, slots=True)
class MapFeature:
    """Something drawn under the units so that people find their way."""

    kind: Literal["river", "road", "park"]
    name_zh: str
    name_en: str
    points: Ring


class Matching(Protocol):
    """A rule or a policy: it fits a category from a severity up."""

    @property
    def category(self) -> str:
        """A code, a family (``flood.*``) or ``*``."""
        ...

    @property
    def min_severity(self) -> int:
        """From this severity up."""
        ...


M = TypeVar("M", bound=Matching)


def covers(wide: str, narrow: str) -> bool:
    """Whether one pattern matches everything that another does."""
    if wide in ("*", narrow):
        return True
    return wide.endswith(".*") and narrow != "*" and narrow.startswith(wide[:-1])


def shadowed(
    rules: Sequence[M], also: Callable[[M, M], bool] = lambda _late, _early: True
) -> Iterator[tuple[int, int]]:
    """The rules that are never reached: (its index, the index of the earlier one that takes all of it).

    ``also(late, early)`` says whether the earlier one takes all of the later one's places and times, too.
    """
    for late, rule in enumerate(rules):
        for early, other in enumerate(rules[:late]):
            if (
                covers(other.category, rule.category)
                and other.min_severity <= rule.min_severity
                and also(rule, other)
            ):
                yield late, early
                break


def unmatched(rules: Collection[Matching], categories: Collection[str]) -> list[str]:
    """The categories that have no rule at the lowest severity."""
    always = [rule.category for rule in rules if rule.min_severity <= 1]
    return [code for code in categories if not any(fits(pattern, code) for pattern in always)]


def ancestors(parents: Mapping[str, str | None], unit_code: str) -> Iterator[str]:
    """A unit and those above it, upwards; ``parents`` maps each code to the one above."""
    seen = set()
    code: str | None = unit_code
    while code is not None and code in parents and code not in seen:
        seen.add(code)
        yield code
        code = parents[code]


def is_within(parents: Mapping[str, str | None], unit_code: str, top: str) -> bool:
    """Whether a unit is another one or stands below it."""
    return top in ancestors(parents, unit_code)
