"""Who owns a matter: ordered rules, the first that fits. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def fits(pattern: str, category: str) -> bool:
    """Whether a category pattern covers a category: a code, a beginning with ``*`` after it, or ``*``."""
    if pattern.endswith("*"):
        return category.startswith(pattern[:-1])
    return pattern == category


@dataclass(frozen=True, slots=True)
class Rule:
    """One routing rule: ``target`` is ``department:<unit_code>`` or ``level:<kind of unit>``."""

    position: int
    category: str
    min_severity: int
    target: str
    call: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """Where a ticket goes.

    Attributes:
        unit_code: the owner, or None when nobody could be named.
        called: departments whistled onto it at once.
        because: the reason in words, for the history.
    """

    unit_code: str | None
    called: tuple[str, ...]
    because: str


def route(
    rules: Sequence[Rule],
    category: str,
    severity: int,
    place: Mapping[str, str],
    units: frozenset[str],
) -> Route:
    """The owner by the first rule that fits.

    Args:
        rules: in order of position.
        category: of the matter.
        severity: 1 to 4.
        place: kind of unit → its code, for the grid that owns the place and everything above it; without
            ``grid`` when the place lies outside every grid.
        units: all unit codes there are.

    Returns:
        A route; without an owner when no rule fits or its target does not exist at this place. A later rule
        is not tried then: an order of rules that silently falls through is one nobody can read.
    """
    for rule in rules:
        if severity < rule.min_severity or not fits(rule.category, category):
            continue
        called = tuple(code for code in rule.call if code in units)
        kind, _, name = rule.target.partition(":")
        owner = place.get(name) if kind == "level" else name if name in units else None
        if owner is None:
            what = f"no {name} at this place" if kind == "level" else f"no unit {name!r}"
            return Route(None, called, f"rule {rule.position} names {rule.target}: {what}")
        return Route(owner, tuple(c for c in called if c != owner), f"rule {rule.position}: {rule.target}")
    return Route(None, (), f"no rule covers {category} at severity {severity}")
