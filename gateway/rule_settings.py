"""Rules as they are written down (``rules:`` in ``gateway.yaml``, or a file of rules), and their compilation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Discriminator, Field, Tag

from common.runtime.settings import Settings, TagOf, Wrong, nearest, one_of, texts, twice
from common.wire.categories import BY_CODE
from gateway.metrics_catalogue import Metric
from gateway.rules.kinds import (
    CombinationRule,
    Measure,
    Rate,
    Rule,
    SilenceRule,
    Stuck,
    ThresholdRule,
    WindowSum,
)

_NAME = r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$"
_CATEGORY = r"^[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*){1,3}$"
_DAY_S: Final = 86_400
#: What must be told so many seconds after it happened: GB/T 41401-2022 asks it of covers.
ALARM_WITHIN_S: Final[Mapping[str, float]] = {"manhole.open": 30.0}
#: Of those, for packing on the box (2 s), the way and the commit.
WAY_S: Final = 5.0
_PER_MS: Final = {"second": 1000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_PER_SIGN: Final = {"second": "s", "minute": "min", "hour": "h", "day": "d"}

Name = Annotated[str, Field(pattern=_NAME)]
Severity = Annotated[int, Field(ge=1, le=4)]
Per = Literal["second", "minute", "hour", "day"]


class LevelSettings(Settings):
    """From this value on the condition is this severe (1 notice … 4 critical)."""

    at: float
    severity: Severity


class _NamedSettings(Settings):
    """What every rule has. Seconds are of capture time."""

    id: Name
    category: Annotated[str, Field(pattern=_CATEGORY, max_length=64)]
    sites: tuple[Name, ...] = ()
    update_s: Annotated[float, Field(ge=0, le=_DAY_S)] = 60.0


class _SeriesSettings(_NamedSettings):
    """What a rule has that watches one metric. Without ``tells`` it is only a part of combinations."""

    metric: str
    sensors: tuple[Name, ...] = ()
    tells: bool = True


class _LimitedSettings(_SeriesSettings):
    """A number against two thresholds, with hysteresis and hold times."""

    raise_at: float
    clear_at: float
    severity: Annotated[list[LevelSettings], Field(min_length=1)]
    hold_s: Annotated[float, Field(ge=0, le=_DAY_S)] = 0.0
    clear_hold_s: Annotated[float, Field(ge=0, le=_DAY_S)] = 0.0

    def cross_faults(self) -> Iterator[Wrong]:
        """The two thresholds lie apart, and further beyond is never milder."""
        if not self.right("raise_at", "clear_at"):
            return
        if self.raise_at == self.clear_at:
            yield Wrong(("clear_at",), "must differ from raise_at, or the condition would flicker")
            return
        sign = 1.0 if self.raise_at > self.clear_at else -1.0
        levels = [
            (sign * level.at, level.severity, number)
            for number, level in enumerate(self.severity)
            if level.right("at", "severity")
        ]
        for (at, severity, number), (next_at, next_severity, place) in pairwise(sorted(levels)):
            if at == next_at:
                yield Wrong(
                    ("severity", place, "at"),
                    "there is a severity for it {other}",
                    ("severity", number, "at"),
                )
            elif next_severity < severity:
                yield Wrong(
                    ("severity", place, "severity"),
                    f"expected at least the {severity} of the milder value {{other}}, got {next_severity}",
                    ("severity", number),
                )

    def _limited(self, unit: str, measure: Measure | None) -> ThresholdRule:
        """The rule as it is stepped; being low is the condition when ``clear_at`` is above ``raise_at``."""
        above = self.raise_at > self.clear_at
        levels = sorted((level.at, level.severity) for level in self.severity)
        return ThresholdRule(
            rule_id=self.id,
            metric=self.metric,
            category=self.category,
            raise_at=self.raise_at,
            clear_at=self.clear_at,
            levels=tuple(levels if above else reversed(levels)),
            unit=unit,
            above=above,
            hold_ms=_ms(self.hold_s),
            clear_hold_ms=_ms(self.clear_hold_s),
            update_ms=_ms(self.update_s),
            sites=frozenset(self.sites),
            sensors=frozenset(self.sensors),
            measure=measure,
            tells=self.tells,
        )


class ThresholdSettings(_LimitedSettings):
    """The readings themselves. ``report_s`` is the longest time between two of them while it matters."""

    kind: Literal["threshold"] = "threshold"
    report_s: Annotated[float, Field(gt=0, le=_DAY_S)] = 10.0

    def compiled(self, metric: Metric) -> Rule:
        """The rule as it is stepped."""
        return self._limited(metric.unit, None)

    @property
    def alarm_s(self) -> float:
        """The longest from something's happening to its being told, with reports at their slowest."""
        # Until the first reading beyond; then until the first one that comes when the hold time is over.
        held = self.hold_s + self.report_s if self.hold_s else 0.0
        return self.report_s + held + WAY_S


class RateSettings(_LimitedSettings):
    """How much readings change in a second, minute, hour or day, measured over a span."""

    kind: Literal["rate"]
    span_s: Annotated[float, Field(ge=1, le=_DAY_S)]
    per: Per = "hour"

    def compiled(self, metric: Metric) -> Rule:
        """The rule as it is stepped."""
        unit = f"{metric.unit or '1'}/{_PER_SIGN[self.per]}"[:16]
        return self._limited(unit, Rate(_ms(self.span_s), _PER_MS[self.per]))


class WindowSumSettings(_LimitedSettings):
    """What readings add up to over a window: an intensity over time, amounts, or the growth of a counter."""

    kind: Literal["window_sum"]
    of: Literal["intensity", "amounts", "counter"]
    window_s: Annotated[float, Field(ge=60, le=_DAY_S)]
    per: Per = "hour"
    gap_s: Annotated[float, Field(gt=0, le=_DAY_S)] = 600.0

    def compiled(self, metric: Metric) -> Rule:
        """The rule as it is stepped."""
        unit = metric.unit
        if self.of == "intensity":
            unit = unit.removesuffix(f"/{_PER_SIGN[self.per]}")
        measure = WindowSum(self.of, _ms(self.window_s), _PER_MS[self.per], _ms(self.gap_s))
        return self._limited(unit, measure)


class StuckSettings(_SeriesSettings):
    """Readings that go on coming and do not move by more than ``epsilon`` for a time."""

    kind: Literal["stuck"]
    after_s: Annotated[float, Field(ge=60, le=7 * _DAY_S)]
    epsilon: Annotated[float, Field(ge=0)] = 0.0
    gap_s: Annotated[float | None, Field(gt=0, le=7 * _DAY_S)] = None
    severity: Severity
    update_s: Annotated[float, Field(ge=0, le=_DAY_S)] = 3600.0

    def compiled(self, metric: Metric) -> Rule:
        """The rule as it is stepped: being within ``epsilon`` is the condition."""
        gap_s = self.after_s / 4 if self.gap_s is None else self.gap_s
        return ThresholdRule(
            rule_id=self.id,
            metric=self.metric,
            category=self.category,
            raise_at=self.epsilon,
            clear_at=math.nextafter(self.epsilon, math.inf),
            levels=((self.epsilon, self.severity),),
            unit=metric.unit,
            above=False,
            update_ms=_ms(self.update_s),
            sites=frozenset(self.sites),
            sensors=frozenset(self.sensors),
            measure=Stuck(_ms(self.after_s), _ms(gap_s)),
            tells=self.tells,
        )


class SilentSensorSettings(_SeriesSettings):
    """A sensor that says nothing for a time while its box goes on."""

    kind: Literal["silence"]
    after_s: Annotated[float, Field(ge=1, le=30 * _DAY_S)]
    severity: Severity
    update_s: Annotated[float, Field(ge=0, le=_DAY_S)] = 3600.0

    def compiled(self, metric: Metric) -> Rule:
        """The rule as it is stepped."""
        return SilenceRule(
            self.id,
            metric.name,
            self.category,
            _ms(self.after_s),
            self.severity,
            _ms(self.update_s),
            frozenset(self.sites),
            frozenset(self.sensors),
            self.tells,
        )


class CombinationSettings(_NamedSettings):
    """Other rules that hold on one device, all of them or any."""

    kind: Literal["all_of", "any_of"]
    members: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    severity: Severity

    def compiled(self) -> Rule:
        """The rule as it is stepped."""
        return CombinationRule(
            self.id,
            self.category,
            self.members,
            self.kind == "all_of",
            self.severity,
            _ms(self.update_s),
            frozenset(self.sites),
        )


RuleSettings = Annotated[
    Annotated[ThresholdSettings, Tag("threshold")]
    | Annotated[RateSettings, Tag("rate")]
    | Annotated[WindowSumSettings, Tag("window_sum")]
    | Annotated[StuckSettings, Tag("stuck")]
    | Annotated[SilentSensorSettings, Tag("silence")]
    | Annotated[CombinationSettings, Tag("all_of")]
    | Annotated[CombinationSettings, Tag("any_of")],
    Discriminator(TagOf("kind", "threshold")),
]


class RuleFile(Settings):
    """Rules alone: a file of them, or a set from the store."""

    rules: tuple[RuleSettings, ...]


def right_with(metrics: Mapping[str, Metric]) -> Callable[[RuleFile], Iterator[Wrong]]:
    """What a file of rules must agree with besides itself: the declared metrics."""
    return lambda loaded: rule_faults(loaded.rules, metrics)


def rule_faults(rules: Sequence[Any], metrics: Mapping[str, Metric]) -> Iterator[Wrong]:
    """What rules say against each other, against the metrics and against the categories; places seen from above ``rules``.

    Args:
        rules: settings of rules, right or not.
        metrics: those that are declared.
    """
    yield from twice((("rules", place, "id"), name) for place, name in texts(rule.id for rule in rules))
    for place, rule in enumerate(rules):
        for fault in _faults_of(rule, rules, metrics):
            yield fault.within(("rules", place))


def compile_rules(rules: Sequence[Any], metrics: Mapping[str, Metric]) -> tuple[Rule, ...]:
    """Settings as the rules that are stepped."""
    return tuple(
        rule.compiled() if isinstance(rule, CombinationSettings) else rule.compiled(metrics[rule.metric])
        for rule in rules
    )


def rules_text(rules: Sequence[Any]) -> str:
    """Settings as YAML again, for want of the text they came from."""
    told = [rule.model_dump(mode="json", exclude_unset=True) for rule in rules]
    return yaml.safe_dump({"rules": told}, sort_keys=False, allow_unicode=True)


def _faults_of(rule: Any, rules: Sequence[Any], metrics: Mapping[str, Metric]) -> Iterator[Wrong]:
    if isinstance(rule, CombinationSettings):
        single = [name for _, name in texts(other.id for other in rules if not _is_combination(other))]
        for number, name in texts(rule.members):
            if name not in single:
                yield Wrong(
                    ("members", number),
                    f"{name!r} is no rule that can be combined{nearest(name, single)}; combinations hold no others",
                )
    elif rule.right("metric") and rule.metric not in metrics:
        yield Wrong(("metric",), one_of(rule.metric, sorted(metrics)))
    if not rule.right("category"):
        return
    if rule.category not in BY_CODE:
        yield Wrong(
            ("category",), f"no category is called {rule.category!r}{nearest(rule.category, BY_CODE)}"
        )
    within = ALARM_WITHIN_S.get(rule.category)
    if within is not None:
        yield from _too_slow(rule, rules, within)


def _is_combination(rule: Any) -> bool:
    return isinstance(rule, CombinationSettings)


def _too_slow(rule: Any, rules: Sequence[Any], within: float) -> Iterator[Wrong]:
    """What keeps a rule from telling in the time that its category asks for."""
    if isinstance(rule, CombinationSettings):
        parts, key = [other for other in rules if other.id in rule.members], "members"
    else:
        parts, key = [rule], "hold_s"
    for part in parts:
        if not isinstance(part, ThresholdSettings):
            yield Wrong(
                ("category",),
                f"{rule.category} must be told within {within:g} s, which only a threshold of the readings can; "
                f"{part.id!r} is another kind",
            )
        elif part.right("report_s", "hold_s") and part.alarm_s > within:
            yield Wrong(
                (key,),
                f"{rule.category} must be told within {within:g} s, but {part.id!r} may take {part.alarm_s:g} s:"
                f" report_s {part.report_s:g} to the first reading, hold_s {part.hold_s:g} and as long again to the"
                f" one after it, {WAY_S:g} s for the way",
            )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
