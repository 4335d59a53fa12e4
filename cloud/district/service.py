"""Loading a district's file into the database."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cloud.db import Database
from cloud.district import geometry, repo
from cloud.district.checks import read_district
from cloud.district.geometry import Ring
from cloud.district.schemas import DistrictFile


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
    counts: Counter[str] = Counter(unit.kind for unit in district.units)
    return Loaded(dict(counts), len(district.routing), len(district.policies), gone)


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
