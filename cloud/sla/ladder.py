"""Village → street → district → district head: whom a matter is escalated to. Pure.

A ticket's level is the number of the step it stands on; 0 is its owner, who stands below all of them. The steps
are the district's data; these are what most districts have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

#: From the bottom up. A department is called onto a place from beside this line.
_LINE: Final = ("grid", "community", "street", "centre")


@dataclass(frozen=True, slots=True)
class Rung:
    """A step.

    Attributes:
        level: its number, from 1.
        name, name_zh, name_en: what it is called.
        target: ``level:<kind of unit>`` of the ticket's place, or ``unit:<code>``.
        lead: it is the unit's lead in person, not whoever is on duty.
    """

    level: int
    name: str
    name_zh: str
    name_en: str
    target: str
    lead: bool = False


DEFAULT_LADDER: Final[tuple[Rung, ...]] = (
    Rung(1, "street", "街镇", "Street", "level:street"),
    Rung(2, "district", "区中心", "District centre", "level:centre"),
    Rung(3, "head", "区领导", "District head", "level:centre", lead=True),
)


def unit_of(rung: Rung, place: Mapping[str, str]) -> str | None:
    """The unit that a step means at a place (kind → code), or None where there is none."""
    kind, _, name = rung.target.partition(":")
    return name if kind == "unit" else place.get(name)


def next_rung(
    ladder: Sequence[Rung], level: int, place: Mapping[str, str], owner: str | None, to: str = ""
) -> tuple[Rung, str] | None:
    """The step to go to from a level, with its unit; None at the top, or where the ticket stands as high already.

    Args:
        ladder: from the bottom up.
        level: where the ticket stands.
        place: the units of its place.
        owner: who has it; steps that are the owner's own unit or below it are passed over.
        to: the step by name, or the first one above it that there is here; empty: the next one up.
    """
    least = next((rung.level for rung in ladder if rung.name == to), 0)
    if 0 < least <= level:
        return None  # whoever stands there, or above, has it: a late clock of less weight goes no further up
    for rung in ladder:
        unit = unit_of(rung, place)
        if rung.level <= level or rung.level < least or unit is None:
            continue
        if rung.lead or not _is_at_or_below(unit, owner, place):
            return rung, unit
    return None


def _is_at_or_below(unit: str, owner: str | None, place: Mapping[str, str]) -> bool:
    if unit == owner:
        return True
    line = [place[kind] for kind in _LINE if kind in place]
    return unit in line and owner in line and line.index(unit) < line.index(owner)
