"""What is wrong with a district's rules, found before a ticket finds it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from cloud.dispatch.domain import Book, Matter, decide
from cloud.district.domain import ancestors, covers

Kind = Literal["loop", "unreachable", "unknown_unit", "unknown_calendar", "no_owner"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong."""

    kind: Kind
    message: str


class Placed(Protocol):
    """A rule that may be for some places and times only."""

    @property
    def place(self) -> Sequence[str]:
        """Units; empty: everywhere."""
        ...

    @property
    def during(self) -> str | None:
        """Only in the hours of this calendar."""
        ...

    @property
    def outside(self) -> str | None:
        """Only outside the hours of this calendar."""
        ...


def loops(stand_ins: Mapping[str, str]) -> Iterator[list[str]]:
    """Circles of units that stand in for each other, each once, beginning with its first code."""
    for first in sorted(stand_ins):
        path, code = [first], stand_ins[first]
        while code in stand_ins and code not in path:
            path.append(code)
            code = stand_ins[code]
        if code == first == min(path):
            yield [*path, first]


def takes_all(wide: Placed, narrow: Placed, parents: Mapping[str, str | None]) -> bool:
    """Whether one rule holds at every place and time at which another does."""
    same_time = (not wide.during and not wide.outside) or (
        (wide.during or "", wide.outside or "") == (narrow.during or "", narrow.outside or "")
    )
    if not wide.place or not same_time:
        return same_time
    return bool(narrow.place) and all(
        any(above in wide.place for above in ancestors(parents, code)) for code in narrow.place
    )


def check(
    book: Book,
    parents: Mapping[str, str | None],
    kinds: Mapping[str, str],
    categories: Iterable[str],
    now: datetime,
) -> list[Finding]:
    """Everything that is wrong with rules that are in force.

    Args:
        book: the rules.
        parents: the code above each unit.
        kinds: the kind of each unit that there is today.
        categories: of matters that may come.
        now: from here a fortnight is tried, hour by hour, where anything depends on the time.
    """
    circles = loops({code: one.unit_code for code, one in book.stand_ins.items()})
    found = [Finding("loop", f"stand-ins go in a circle: {' → '.join(circle)}") for circle in circles]
    found += _unknown(book)
    found += _unreachable(book, parents)
    found += _without_owner(book, parents, kinds, sorted(categories), now)
    return found


def _unknown(book: Book) -> Iterator[Finding]:
    for rule in book.rules:
        named = [*rule.call, *rule.place]
        if rule.target.startswith("department:"):
            named.append(rule.target.removeprefix("department:"))
        for code in named:
            if code not in book.units:
                yield Finding("unknown_unit", f"rule {rule.position} names {code!r}, which is no unit")
        for name in filter(None, (rule.during, rule.outside)):
            if name not in book.calendars:
                yield Finding("unknown_calendar", f"rule {rule.position}: no calendar {name!r}")


def _unreachable(book: Book, parents: Mapping[str, str | None]) -> Iterator[Finding]:
    for late, rule in enumerate(book.rules):
        for other in book.rules[:late]:
            if (
                covers(other.category, rule.category)
                and other.min_severity <= rule.min_severity
                and takes_all(other, rule, parents)
            ):
                said = (
                    f"rule {rule.position} is never reached: rule {other.position} takes everything it would"
                )
                yield Finding("unreachable", said)
                break


def _without_owner(
    book: Book,
    parents: Mapping[str, str | None],
    kinds: Mapping[str, str],
    categories: Sequence[str],
    now: datetime,
) -> Iterator[Finding]:
    """For every kind of place, category, severity and time: what would find no owner, the places told together."""
    instants = _instants(book, now)
    for places in _alike(book, parents, kinds):
        example = places[0]
        for category in categories:
            missing: dict[str, list[int]] = {}
            for severity in range(1, 5):
                for at in instants:
                    found = decide(book, Matter(category, severity, example, at))
                    if found.unit_code is None:
                        because = found.because.removesuffix(f" at severity {severity}")
                        missing.setdefault(because, []).append(severity)
            for because, severities in missing.items():
                grids = [place["grid"] for place in places]
                where = ", ".join(grids[:3]) + (f" and {len(grids) - 3} more grids" if len(grids) > 3 else "")
                levels = ", ".join(map(str, sorted(set(severities))))
                yield Finding("no_owner", f"{category} at severity {levels} in {where}: {because}")


def _instants(book: Book, now: datetime) -> list[datetime]:
    """One instant for each combination of open and closed calendars within a fortnight."""
    hours = [*book.calendars.values(), *(one.hours for one in book.stand_ins.values())]
    if not hours:
        return [now]
    told: dict[tuple[bool, ...], datetime] = {}
    for hour in range(14 * 24):
        at = now + timedelta(hours=hour)
        told.setdefault(tuple(calendar.is_open(at) for calendar in hours), at)
    return list(told.values())


def _alike(
    book: Book, parents: Mapping[str, str | None], kinds: Mapping[str, str]
) -> list[list[dict[str, str]]]:
    """The grids' places, those together that no rule can tell apart."""
    named = {code for rule in book.rules for code in rule.place}
    levels = {rule.target.removeprefix("level:") for rule in book.rules if rule.target.startswith("level:")}
    groups: dict[object, list[dict[str, str]]] = {}
    for grid in sorted(code for code, kind in kinds.items() if kind == "grid"):
        place = {kinds[code]: code for code in ancestors(parents, grid) if code in kinds}
        taken = {place[level] for level in levels & place.keys()}
        key = (
            frozenset(place),
            frozenset(named & set(place.values())),
            frozenset(code for code in taken if code in book.stand_ins),
        )
        groups.setdefault(key, []).append(place)
    return list(groups.values())
