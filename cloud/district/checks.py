"""What must agree across a district's file, each fault with the line it stands on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal, TypeVar

from cloud.dispatch.checking import takes_all
from cloud.dispatch.domain import fits
from cloud.district import geometry
from cloud.district.clock_checks import clock_disagreements
from cloud.district.domain import PARENT_KIND, shadowed, unmatched
from cloud.district.matter_checks import matter_disagreements
from cloud.district.schemas import DistrictFile, PolicyEntry, RuleEntry
from common.runtime.config import Wrong, load_config
from common.runtime.settings import nearest, texts, twice
from common.wire.categories import BY_CODE

#: Borders drawn by hand overlap in slivers; more than this share of the smaller grid is a mistake.
_SLIVER = 0.005
E = TypeVar("E", RuleEntry, PolicyEntry)


def read_district(path: Path) -> DistrictFile:
    """Read a district's file and check that it agrees with itself.

    Raises:
        InvalidConfigError: with every fault, of form and of agreement, in the order of their lines.
    """
    return load_config(path, DistrictFile, also=disagreements)


def disagreements(file: DistrictFile) -> Iterator[Wrong]:
    """What the file says against itself; entries and fields that are wrong in themselves hide nothing else."""
    yield from _codes(file)
    yield from _parents(file)
    yield from _areas(file)
    yield from _overlaps(file)
    yield from _targets(file)
    parents = {code: file.units[number].parent for number, code in _written_codes(file)}
    yield from _order("routing", file.routing, lambda late, early: takes_all(early, late, parents))
    yield from _order("policies", file.policies)
    yield from _policies_cover(file)
    yield from clock_disagreements(file)
    yield from matter_disagreements(file)


def _written_codes(file: DistrictFile) -> list[tuple[int, str]]:
    """A code that is badly written is still the one that others mean."""
    return list(texts(unit.code for unit in file.units))


def _codes(file: DistrictFile) -> Iterator[Wrong]:
    yield from twice((("units", number, "code"), code) for number, code in _written_codes(file))
    centres = [unit.code for unit in file.units if unit.kind == "centre"]
    if len(centres) > 1 or (not centres and file.units and all(unit.right("kind") for unit in file.units)):
        yield Wrong(("units",), f"expected exactly one unit of kind centre, got {centres or 'none'}")


def _parents(file: DistrictFile) -> Iterator[Wrong]:
    by_code = {code: file.units[number] for number, code in reversed(_written_codes(file))}
    for number, unit in enumerate(file.units):
        place = ("units", number, "parent")
        if not unit.right("parent"):
            continue
        if unit.parent is not None and unit.parent not in by_code:
            yield Wrong(place, f"no unit {unit.parent!r}{nearest(unit.parent, by_code)}")
        elif unit.right("kind"):
            above = PARENT_KIND[unit.kind]
            if unit.parent is None:
                if above is not None and unit.kind != "department":
                    yield Wrong(place, f"missing: a {unit.kind} stands below a {above}")
            elif above is None:
                yield Wrong(place, f"a {unit.kind} stands below nothing, got {unit.parent!r}")
            elif (parent := by_code[unit.parent]).right("kind") and parent.kind != above:
                said = f"a {unit.kind} stands below a {above}; {unit.parent!r} is a {parent.kind}"
                yield Wrong(place, said)


def _areas(file: DistrictFile) -> Iterator[Wrong]:
    for number, unit in enumerate(file.units):
        if not unit.right("area"):
            continue
        if unit.ring is None:
            if unit.kind == "grid":
                yield Wrong(("units", number, "area"), "missing: a grid owns a place")
        elif wrong := geometry.what_is_wrong(unit.ring):
            yield Wrong(("units", number, "area"), wrong)


def _overlaps(file: DistrictFile) -> Iterator[Wrong]:
    grids = [
        (number, unit, unit.ring, geometry.box(unit.ring))
        for number, unit in enumerate(file.units)
        if unit.kind == "grid"
        and unit.right("area")
        and unit.ring is not None
        and geometry.what_is_wrong(unit.ring) is None
    ]
    for (_, one, ring, bounds), (number, other, second, others) in combinations(grids, 2):
        if (
            bounds[0] >= others[2]
            or others[0] >= bounds[2]
            or bounds[1] >= others[3]
            or others[1] >= bounds[3]
        ):
            continue
        smaller = min(abs(geometry.signed_area(ring)), abs(geometry.signed_area(second)))
        share = geometry.shared_area(ring, second) / smaller
        if share > _SLIVER:
            yield Wrong(
                ("units", number, "area"),
                f"{other.code!r} overlaps {one.code!r}: {share:.0%} of the smaller is in both",
            )


def _targets(file: DistrictFile) -> Iterator[Wrong]:
    # Whether a unit of unknown kind is a department shows once its kind is right.
    departments = {code for number, code in _written_codes(file) if file.units[number].kind == "department"}
    perhaps = {code for number, code in _written_codes(file) if not file.units[number].right("kind")}
    for number, rule in enumerate(file.routing):
        owner = rule.target.removeprefix("department:") if rule.right("target") else ""
        if rule.right("target") and owner != rule.target and owner not in departments | perhaps:
            yield Wrong(
                ("routing", number, "target"), f"no department {owner!r}{nearest(owner, departments)}"
            )
        for index, called in texts(rule.call):
            place = ("routing", number, "call", index)
            if called not in departments | perhaps:
                yield Wrong(place, f"no department {called!r}{nearest(called, departments)}")
            elif called in rule.call[:index]:
                yield Wrong(place, f"{called!r} is called twice")
            elif called == owner:
                yield Wrong(place, f"{called!r} owns it already; call others")


def _order(
    section: Literal["routing", "policies"],
    entries: Sequence[E],
    also: Callable[[E, E], bool] = lambda _late, _early: True,
) -> Iterator[Wrong]:
    for number, entry in enumerate(entries):
        if entry.right("category") and not any(fits(entry.category, code) for code in BY_CODE):
            yield Wrong(
                (section, number, "category"),
                f"no category is called {entry.category!r}{nearest(entry.category, BY_CODE)}",
            )
    judged = [
        (number, entry) for number, entry in enumerate(entries) if entry.right("category", "min_severity")
    ]
    for late, early in shadowed([entry for _, entry in judged], also):
        wide, other = judged[early]
        yield Wrong(
            (section, judged[late][0]),
            f"never reached: the one {{other}} ({other.category}) takes everything it would; put it earlier",
            (section, wide),
        )


def _policies_cover(file: DistrictFile) -> Iterator[Wrong]:
    names = texts(policy.name for policy in file.policies)
    yield from twice((("policies", number, "name"), name) for number, name in names)
    if file.policies and all(policy.right("category", "min_severity") for policy in file.policies):
        missing = unmatched(file.policies, BY_CODE)
        if missing:
            yield Wrong(
                ("policies",),
                f'no clocks for {", ".join(missing)}; end with a policy for "*" from severity 1',
            )
