"""What must agree across a district's file, each fault with the line it stands on."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cloud.district import geometry
from cloud.district.domain import PARENT_KIND, matches, shadowed, unmatched
from cloud.district.schemas import DistrictFile, PolicyEntry, RuleEntry, UnitEntry
from common.runtime.config import Fault, InvalidConfigError, parse_config
from common.wire.categories import BY_CODE

#: Borders drawn by hand overlap in slivers; more than this share of the smaller grid is a mistake.
_SLIVER = 0.005
_E = TypeVar("_E", bound=BaseModel)
_Place = tuple[str | int, ...]


def read_district(path: Path) -> DistrictFile:
    """Read a district's file and check that it agrees with itself.

    Raises:
        InvalidConfigError: with every fault, of form and of agreement, in the order of their lines.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "expected text in UTF-8"
        raise InvalidConfigError([Fault(path, 1, "", f"cannot be read: {reason}")]) from error
    faults: list[Fault] = []
    loaded: DistrictFile | None = None
    try:
        loaded = parse_config(text, path, DistrictFile)
    except InvalidConfigError as error:
        faults = list(error.faults)
        if any(fault.message.startswith("not YAML") for fault in faults):
            raise
    faults += _Checks(path, text).run()
    if faults or loaded is None:
        raise InvalidConfigError(sorted(faults, key=lambda fault: fault.line))
    return loaded


class _Checks:
    """The checks over whatever entries are well-formed: one bad entry does not hide the faults of others."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        data = yaml.safe_load(text)
        self._data: dict[str, Any] = data if isinstance(data, dict) else {}
        self._lines = dict(_lines(yaml.compose(text, Loader=yaml.SafeLoader), ()))
        self._units = self._entries("units", UnitEntry)
        self._named = {
            str(item["code"]) for item in self._raw("units") if isinstance(item, dict) and "code" in item
        }
        self._by_code = {unit.code: unit for _, unit in reversed(self._units)}

    def run(self) -> list[Fault]:
        """Every fault."""
        return [
            *self._codes(),
            *self._parents(),
            *self._areas(),
            *self._overlaps(),
            *self._targets(),
            *self._order("routing", self._entries("routing", RuleEntry)),
            *self._order("policies", self._entries("policies", PolicyEntry)),
            *self._policies_cover(),
        ]

    def _raw(self, section: str) -> list[Any]:
        found = self._data.get(section)
        return found if isinstance(found, list) else []

    def _entries(self, section: str, model: type[_E]) -> list[tuple[int, _E]]:
        """The entries of a section that are well-formed, each with its index."""
        found = []
        for number, item in enumerate(self._raw(section)):
            try:
                found.append((number, model.model_validate(item)))
            except ValidationError:  # reported by parse_config with its own words
                continue
        return found

    def _fault(self, place: _Place, message: str) -> Fault:
        at = place
        while at not in self._lines and at:
            at = at[:-1]
        return Fault(self._path, self._lines.get(at, 1), ".".join(map(str, place)), message)

    def _codes(self) -> Iterator[Fault]:
        first: dict[str, int] = {}
        for number, unit in self._units:
            if unit.code in first:
                line = self._lines.get(("units", first[unit.code]), 1)
                yield self._fault(
                    ("units", number, "code"), f"{unit.code!r} is already the unit of line {line}"
                )
            first.setdefault(unit.code, number)
        if self._units and sum(unit.kind == "centre" for _, unit in self._units) != 1:
            centres = [unit.code for _, unit in self._units if unit.kind == "centre"]
            yield self._fault(
                ("units",), f"expected exactly one unit of kind centre, got {centres or 'none'}"
            )

    def _parents(self) -> Iterator[Fault]:
        for number, unit in self._units:
            above = PARENT_KIND[unit.kind]
            place = ("units", number, "parent")
            if unit.parent is None:
                if above is not None and unit.kind != "department":
                    yield self._fault(place, f"missing: a {unit.kind} stands below a {above}")
            elif unit.parent not in self._named:
                yield self._fault(place, f"no unit {unit.parent!r}{_nearest(unit.parent, self._named)}")
            elif above is None:
                yield self._fault(place, f"a {unit.kind} stands below nothing, got {unit.parent!r}")
            elif (parent := self._by_code.get(unit.parent)) is not None and parent.kind != above:
                yield self._fault(
                    place, f"a {unit.kind} stands below a {above}; {unit.parent!r} is a {parent.kind}"
                )

    def _areas(self) -> Iterator[Fault]:
        for number, unit in self._units:
            if unit.ring is None:
                if unit.kind == "grid":
                    yield self._fault(("units", number, "area"), "missing: a grid owns a place")
            elif wrong := geometry.what_is_wrong(unit.ring):
                yield self._fault(("units", number, "area"), wrong)

    def _overlaps(self) -> Iterator[Fault]:
        grids = [
            (number, unit, unit.ring, geometry.box(unit.ring))
            for number, unit in self._units
            if unit.kind == "grid" and unit.ring is not None and geometry.what_is_wrong(unit.ring) is None
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
                yield self._fault(
                    ("units", number, "area"),
                    f"{other.code!r} overlaps {one.code!r}: {share:.0%} of the smaller is in both",
                )

    def _targets(self) -> Iterator[Fault]:
        departments = {unit.code for _, unit in self._units if unit.kind == "department"}
        unknown = self._named - set(self._by_code)  # badly written units: their own fault is enough
        for number, rule in self._entries("routing", RuleEntry):
            head, _, code = rule.target.partition(":")
            if head == "department" and code not in departments | unknown:
                yield self._fault(
                    ("routing", number, "target"), f"no department {code!r}{_nearest(code, departments)}"
                )
            for index, called in enumerate(rule.call):
                place = ("routing", number, "call", index)
                if called not in departments | unknown:
                    yield self._fault(place, f"no department {called!r}{_nearest(called, departments)}")
                elif called in rule.call[:index]:
                    yield self._fault(place, f"{called!r} is called twice")
                elif rule.target == f"department:{called}":
                    yield self._fault(place, f"{called!r} owns it already; call others")

    def _order(self, section: str, entries: Sequence[tuple[int, RuleEntry | PolicyEntry]]) -> Iterator[Fault]:
        for number, rule in entries:
            if not any(matches(rule.category, code) for code in BY_CODE):
                yield self._fault(
                    (section, number, "category"),
                    f"no category is called {rule.category!r}{_nearest(rule.category, BY_CODE)}",
                )
        for late, early in shadowed([rule for _, rule in entries]):
            line = self._lines.get((section, entries[early][0]), 1)
            yield self._fault(
                (section, entries[late][0]),
                f"never reached: line {line} ({entries[early][1].category}) takes everything it would; put it earlier",
            )

    def _policies_cover(self) -> Iterator[Fault]:
        entries = self._entries("policies", PolicyEntry)
        seen: dict[str, int] = {}
        for number, policy in entries:
            if policy.name in seen:
                line = self._lines.get(("policies", seen[policy.name]), 1)
                yield self._fault(
                    ("policies", number, "name"), f"{policy.name!r} already stands on line {line}"
                )
            seen.setdefault(policy.name, number)
        whole = len(entries) == len(self._raw("policies"))
        if whole and entries and (missing := unmatched([policy for _, policy in entries], BY_CODE)):
            yield self._fault(
                ("policies",),
                f'no clocks for {", ".join(missing)}; end with a policy for "*" from severity 1',
            )


def _lines(node: yaml.Node | None, at: _Place) -> Iterator[tuple[_Place, int]]:
    """The line of every key and item."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*at, str(key.value))
            yield place, key.start_mark.line + 1
            yield from _lines(value, place)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield (*at, number), value.start_mark.line + 1
            yield from _lines(value, (*at, number))


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
