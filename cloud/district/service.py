"""Loading a district's file into the database."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cloud.calendar.files import shipped_years
from cloud.db import Database
from cloud.dispatch.domain import Book, Rule, StandIn
from cloud.district import geometry, repo
from cloud.district.checks import read_district
from cloud.district.domain import ancestors
from cloud.district.geometry import Ring
from cloud.district.schemas import DistrictFile, RuleEntry
from cloud.recurring import repo as recurring_repo
from cloud.recurring.repo import Plan
from cloud.severity import repo as severity_repo


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load wrote: units by kind, rules, policies, and units that the file no longer names."""

    units: dict[str, int]
    rules: int
    policies: int
    gone: list[str]


def load_district(database: Database, path: Path) -> Loaded:
    """Check a district's file and write it, in one transaction; loading it again changes nothing.

    Raises:
        InvalidConfigError: with every fault of the file.
        TransientError: when the database does not answer.
    """
    district = read_district(path)
    with database.transaction() as tx:
        gone = repo.store_units(tx, district, areas(district))
        repo.store_rules(tx, district)
        severity_repo.store(
            tx,
            [entry.family() for entry in district.fusion],
            [entry.rule(position) for position, entry in enumerate(district.severity, start=1)],
            [entry.place() for entry in district.vulnerable],
        )
        recurring_repo.store(tx, plan_of(district))
    counts: Counter[str] = Counter(unit.kind for unit in district.units)
    return Loaded(dict(counts), len(district.routing), len(district.policies), gone)


def plan_of(district: DistrictFile) -> Plan:
    """What a checked file says of recurring places."""
    return Plan(
        tuple(entry.rule() for entry in district.recurring),
        tuple(entry.band() for entry in district.bands),
        tuple(entry.stretch() for entry in district.stretches),
    )


def book_of(district: DistrictFile) -> Book:
    """What a checked file decides by, with the holidays that ship with this release."""
    hours = {entry.name: entry.calendar().keeping(shipped_years()) for entry in district.calendars}
    rules = [rule_of(position, rule) for position, rule in enumerate(district.routing, start=1)]
    stand_ins = {
        unit.code: StandIn(hours[unit.hours], unit.after_hours)
        for unit in district.units
        if unit.hours is not None and unit.after_hours is not None
    }
    return Book(rules, frozenset(unit.code for unit in district.units), hours, stand_ins)


def rule_of(position: int, rule: RuleEntry) -> Rule:
    """A rule as the domain takes it."""
    return Rule(
        position,
        rule.category,
        rule.min_severity,
        rule.target,
        tuple(rule.call),
        rule.place,
        rule.during or "",
        rule.outside or "",
    )


def place_of(district: DistrictFile, lon: float, lat: float) -> dict[str, str]:
    """Kind of unit → code, from the grid of a checked file that holds a point up to the centre."""
    units = {unit.code: unit for unit in district.units}
    parents = {unit.code: unit.parent for unit in district.units}
    grid = next(
        (
            unit.code
            for unit in sorted(district.units, key=lambda unit: unit.code)
            if unit.kind == "grid" and unit.ring is not None and geometry.contains(unit.ring, (lon, lat))
        ),
        None,
    )
    place = {unit.kind: unit.code for unit in district.units if unit.kind == "centre"}
    return place | ({units[code].kind: code for code in ancestors(parents, grid)} if grid else {})


def areas(district: DistrictFile) -> dict[str, Ring]:
    """The area of each unit by code: as given, or else what the grids below it make together."""
    found = {unit.code: unit.ring for unit in district.units if unit.ring is not None}
    parents = {unit.code: unit.parent for unit in district.units}
    below: dict[str, list[Ring]] = {}
    for unit in district.units:
        above = parents[unit.code]
        while unit.kind == "grid" and unit.ring is not None and above is not None:
            below.setdefault(above, []).append(unit.ring)
            above = parents.get(above)
    for code, rings in below.items():
        if code not in found and (outline := geometry.dissolve(rings)) is not None:
            found[code] = outline
    return found
