"""What kinds of rules there are, compiled. Pure values; ``gateway.rule_settings`` makes them from the configuration.

A *threshold* rule compares a number with two thresholds. The number is the reading itself or a *measure* of the
readings: how fast they change, what they add up to over a window, how little they moved. *Silence* is that a sensor
says nothing while its box goes on. A *combination* holds while all (or any) of other rules hold on one device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

#: A span is kept in so many parts: what is remembered of it is bounded, and as coarse as that.
RATE_PARTS: Final = 12
WINDOW_PARTS: Final = 60
STUCK_PARTS: Final = 12


@dataclass(frozen=True, slots=True)
class Rate:
    """Change per ``per_ms`` since a reading that is one to two spans old.

    That reading is the newest at least ``span_ms`` old among the first ones of every twelfth of a span; where it is
    older than two spans there is no rate, so sensors must report at least once a span.
    """

    span_ms: int
    per_ms: int


@dataclass(frozen=True, slots=True)
class WindowSum:
    """What readings add up to over the last ``window_ms``, by sixtieths of the window.

    ``of``: ``intensity`` is per ``per_ms`` and counts for the time since the reading before it; ``amounts`` are added as
    they are; of a ``counter`` the growth is, and all of it when it began again. After a pause beyond ``gap_ms`` neither
    an intensity nor a counter's growth counts: nobody knows when it fell.
    Sums are of whole numbers (ten-thousandths of an intensity, millionths of the others), so that no way of
    splitting the stream changes them; what is negative counts as nothing.
    """

    of: Literal["intensity", "amounts", "counter"]
    window_ms: int
    per_ms: int = 3_600_000
    gap_ms: int = 600_000


@dataclass(frozen=True, slots=True)
class Stuck:
    """The range of values over the last ``after_ms`` (and at most a twelfth more).

    Unknown until readings have come for that long with no pause beyond ``gap_ms``, unless they moved.
    """

    after_ms: int
    gap_ms: int


Measure = Rate | WindowSum | Stuck


def reach_ms(measure: Measure) -> int:
    """How far back of a reading what is remembered of those before it can matter."""
    match measure:
        case Rate(span_ms=span):
            return 2 * span + span // RATE_PARTS + 1
        case WindowSum(window_ms=window, gap_ms=gap):
            return window + gap
        case Stuck(after_ms=after, gap_ms=gap):
            return after + 2 * (after // STUCK_PARTS + 1) + gap


def shape(measure: Measure) -> str:
    """What a record of the measure must have been made for to go on with it."""
    match measure:
        case Rate(span_ms=span):
            return f"rate/1 {span}"
        case WindowSum(of=of, window_ms=window, gap_ms=gap):
            return f"window/1 {of} {window} {gap}"
        case Stuck(after_ms=after, gap_ms=gap):
            return f"stuck/1 {after} {gap}"


def same_sort(one: Measure | None, other: Measure | None) -> bool:
    """Whether two measures measure the same sort of thing, if over another span."""
    if isinstance(one, WindowSum) and isinstance(other, WindowSum):
        return one.of == other.of
    return type(one) is type(other)


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """A number against two thresholds. ``levels`` are (value, severity) pairs from the mildest on, at least one.

    With ``above`` false everything is mirrored: the condition is being low. Thresholds and numbers then
    change sign on the way in and out; ``raise_at`` and the like stay as the configuration says them.
    ``tells`` false: it is only a part of combinations.
    """

    rule_id: str
    metric: str
    category: str
    raise_at: float
    clear_at: float
    levels: tuple[tuple[float, int], ...]
    unit: str = ""
    above: bool = True
    hold_ms: int = 0
    clear_hold_ms: int = 0
    update_ms: int = 60_000
    sites: frozenset[str] = frozenset()
    sensors: frozenset[str] = frozenset()
    measure: Measure | None = None
    tells: bool = True

    def watches(self, site: str, sensor: str, metric: str) -> bool:
        """Whether a series is under this rule; an empty set of sites or sensors means all."""
        return _watches(self, site, sensor, metric)

    @property
    def sign(self) -> float:
        """What numbers are multiplied with, so that beyond is always upward."""
        return 1.0 if self.above else -1.0

    @property
    def backdate_ms(self) -> int:
        """How long before its first reading beyond ``raise_at`` a condition began."""
        return self.measure.after_ms if isinstance(self.measure, Stuck) else 0

    def severity_of(self, value: float) -> int:
        """How severe a number is; the mildest level even when it is below all of them."""
        signed = self.sign * value
        reached = [severity for at, severity in self.levels if signed >= self.sign * at]
        return max(reached, default=self.levels[0][1])


@dataclass(frozen=True, slots=True)
class SilenceRule:
    """No reading of a series for ``after_ms`` of its box's time, while the box says other things."""

    rule_id: str
    metric: str
    category: str
    after_ms: int
    severity: int
    update_ms: int = 600_000
    sites: frozenset[str] = frozenset()
    sensors: frozenset[str] = frozenset()
    tells: bool = True

    def watches(self, site: str, sensor: str, metric: str) -> bool:
        """Whether a series is under this rule; an empty set of sites or sensors means all."""
        return _watches(self, site, sensor, metric)


@dataclass(frozen=True, slots=True)
class CombinationRule:
    """Holds on a device while all (``every``) or any of its members do, each by any of that device's sensors."""

    rule_id: str
    category: str
    members: tuple[str, ...]
    every: bool
    severity: int
    update_ms: int = 60_000
    sites: frozenset[str] = frozenset()

    def holds(self, raised: set[str]) -> bool:
        """Whether it holds, given which of its members do."""
        return raised.issuperset(self.members) if self.every else not raised.isdisjoint(self.members)


SeriesRule = ThresholdRule | SilenceRule
Rule = ThresholdRule | SilenceRule | CombinationRule


def goes_on(old: Rule, new: Rule) -> bool:
    """Whether a condition under the old rule is one under the new, to be judged by it from now on.

    Thresholds, times and severities may change under a condition; what is watched and what it is called may not.
    """
    if isinstance(old, CombinationRule) or isinstance(new, CombinationRule):
        return (
            isinstance(old, CombinationRule)
            and isinstance(new, CombinationRule)
            and (old.category, old.every, set(old.members)) == (new.category, new.every, set(new.members))
        )
    same = (old.category, old.metric, old.tells) == (new.category, new.metric, new.tells)
    if isinstance(old, SilenceRule) or isinstance(new, SilenceRule):
        return same and type(old) is type(new)
    return same and old.above == new.above and same_sort(old.measure, new.measure)


def _watches(rule: SeriesRule, site: str, sensor: str, metric: str) -> bool:
    return (
        metric == rule.metric
        and (not rule.sites or site in rule.sites)
        and (not rule.sensors or sensor in rule.sensors)
    )
