"""What families, severity rules, places, bands and stretches of a district's file must agree on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cloud.dispatch.domain import fits
from cloud.district.domain import covers
from cloud.district.schemas import DistrictFile
from cloud.severity.domain import asks_less
from common.runtime.config import Wrong
from common.runtime.settings import Location, nearest, texts, twice
from common.wire.categories import BY_CODE

#: Readings are kept for 92 days unless told otherwise; what is counted must still be there.
_LONGEST_S: Final = 60 * 86_400


def matter_disagreements(file: DistrictFile) -> Iterator[Wrong]:
    """All of them; the parts that are wrong in themselves hide nothing else."""
    yield from _families(file)
    yield from _severity(file)
    for number, place in enumerate(file.vulnerable):
        for index, pattern in texts(place.categories):
            yield from _known_pattern(("vulnerable", number, "categories", index), pattern)
    yield from _recurring(file)


def _known_pattern(at: Location, pattern: str) -> Iterator[Wrong]:
    if not any(fits(pattern, code) for code in BY_CODE):
        yield Wrong(at, f"no category is called {pattern!r}{nearest(pattern, BY_CODE)}")


def _families(file: DistrictFile) -> Iterator[Wrong]:
    names = texts(family.name for family in file.fusion)
    yield from twice((("fusion", number, "name"), name) for number, name in names)
    first: dict[str, Location] = {}
    for number, family in enumerate(file.fusion):
        for index, code in texts(family.categories):
            at: Location = ("fusion", number, "categories", index)
            yield from _known_pattern(at, code)
            if code in BY_CODE and BY_CODE[code].kind == "act":
                yield Wrong(at, f"{code!r} passes; only what goes on can be one matter with something else")
            if code in first and first[code][1] != number:
                yield Wrong(at, f"{code!r} already is of the family {{other}}", first[code])
            first.setdefault(code, at)


def _severity(file: DistrictFile) -> Iterator[Wrong]:
    names = texts(rule.name for rule in file.severity)
    yield from twice((("severity", number, "name"), name) for number, name in names)
    kinds = {place.kind for place in file.vulnerable if place.right("kind")}
    judged = []
    for number, entry in enumerate(file.severity):
        if entry.right("category"):
            yield from _known_pattern(("severity", number, "category"), entry.category)
        if entry.right("near") and entry.near and not kinds & set(entry.near):
            said = f"never fits: no vulnerable place is a {' or '.join(entry.near)}"
            yield Wrong(("severity", number, "near"), said)
        if entry.right(*type(entry).model_fields):
            judged.append((number, entry.rule(number + 1)))
    for late, (number, rule) in enumerate(judged):
        for before, early in judged[:late]:
            if early.raise_to < rule.raise_to:
                said = "the gravest stand first: this raises further than the one {other}; put it earlier"
                yield Wrong(("severity", number, "raise_to"), said, ("severity", before, "raise_to"))
                break
            if covers(early.category, rule.category) and asks_less(early, rule):
                said = "never reached: the one {other} raises as far and asks for no more"
                yield Wrong(("severity", number), said, ("severity", before))
                break


def _recurring(file: DistrictFile) -> Iterator[Wrong]:
    bands = dict(reversed([(name, number) for number, name in texts(band.name for band in file.bands)]))
    names = texts(band.name for band in file.bands)
    yield from twice((("bands", number, "name"), name) for number, name in names)
    codes = texts(stretch.code for stretch in file.stretches)
    yield from twice((("stretches", number, "code"), code) for number, code in codes)
    yield from twice(
        (("stretches", number, "cameras", index), camera)
        for number, stretch in enumerate(file.stretches)
        for index, camera in texts(stretch.cameras)
    )
    rules = texts(entry.category for entry in file.recurring)
    yield from twice((("recurring", number, "category"), code) for number, code in rules)
    for number, entry in enumerate(file.recurring):
        if entry.right("category"):
            if entry.category not in BY_CODE:
                yield from _known_pattern(("recurring", number, "category"), entry.category)
            elif BY_CODE[entry.category].kind != "act":
                said = f"{entry.category!r} goes on and is a ticket by itself; only what passes recurs"
                yield Wrong(("recurring", number, "category"), said)
        for index, name in texts(entry.bands):
            if name not in bands:
                yield Wrong(("recurring", number, "bands", index), f"no band {name!r}{nearest(name, bands)}")
        for field in ("over", "verify_within"):
            if entry.right(field) and getattr(entry, field) > _LONGEST_S:
                yield Wrong(("recurring", number, field), "expected at most 60d: books are not kept for ever")
