"""Threshold rules with hysteresis and hold times: readings to observations. Pure.

One rule watches one metric; each series under it has a state, which is a value. A condition *starts* when the
reading is at ``raise_at`` or beyond for ``hold_ms`` without a break, and *ends* when it is back at ``clear_at``
for ``clear_hold_ms``; between the two it goes on. Rules step forward in capture time only: a reading from before
the last one stepped raises and clears nothing (it is stored all the same, and flagged).

Time here is capture time in ms since the Unix epoch, held to at most the time of receipt by whoever calls, so
that a fast clock cannot push a rule into the future.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from common.wire.ids import observation_id
from common.wire.messages import Observation, Phase

Position = Literal["quiet", "rising", "raised", "falling"]
NEVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """One rule. ``levels`` are (value, severity) pairs from the mildest on, at least one.

    With ``above`` false everything is mirrored: the condition is being low. Thresholds and readings then
    change sign on the way in and out; ``raise_at`` and the like stay as the configuration says them.
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

    def watches(self, site: str, sensor: str, metric: str) -> bool:
        """Whether a series is under this rule; an empty set of sites or sensors means all."""
        return (
            metric == self.metric
            and (not self.sites or site in self.sites)
            and (not self.sensors or sensor in self.sensors)
        )

    @property
    def sign(self) -> float:
        """What readings are multiplied with, so that beyond is always upward."""
        return 1.0 if self.above else -1.0

    def severity_of(self, value: float) -> int:
        """How severe a reading is; the mildest level even when it is below all of them."""
        signed = self.sign * value
        reached = [severity for at, severity in self.levels if signed >= self.sign * at]
        return max(reached, default=self.levels[0][1])


class RuleState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one series stands under one rule; kept as JSON in ``rule_state``, in the batch's transaction.

    ``since`` is when the series first went beyond ``raise_at`` (rising) or back to ``clear_at`` (falling).
    ``epoch``, ``seq`` and ``nth`` name the packet that started the observation, and its number there.
    """

    position: Position = "quiet"
    clock: int = 0
    since: int = 0
    observation_id: str = ""
    started_at: int = 0
    revision: int = 0
    severity: int = 0
    peak: float = 0.0
    updated_at: int = 0
    epoch: int = 0
    seq: int = 0
    nth: int = 0


QUIET: Final = RuleState()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where readings come from: ``device`` is ``site/device``; epoch and seq are their packet's."""

    device: str
    sensor: str
    epoch: int
    seq: int


def step(
    rule: ThresholdRule, state: RuleState, origin: Origin, at: Sequence[int], values: Sequence[float]
) -> tuple[RuleState, list[Observation]]:
    """Step one series through the readings of one packet.

    Returns:
        The new state and what is to be told, in order. Readings before ``state.clock`` change nothing.
    """
    told: list[Observation] = []
    for moment, value in zip(at, values, strict=True):
        if moment < state.clock:
            continue
        state, observation = _step_one(rule, state, origin, (moment, value))
        if observation is not None:
            told.append(observation)
    return state, told


def bounds(rule: ThresholdRule, state: RuleState) -> tuple[float, float, int]:
    """When a series cannot change its state: all readings strictly inside ``low``…``high``, all before ``until``.

    Returns:
        ``(low, high, until)``; readings that touch or pass one of them must be stepped.
    """
    if state.position == "quiet":
        low, high, until = -math.inf, rule.sign * rule.raise_at, NEVER
    elif state.position == "raised":
        until = state.updated_at + rule.update_ms if rule.update_ms else NEVER
        low, high = rule.sign * rule.clear_at, math.nextafter(rule.sign * state.peak, math.inf)
    else:  # a hold time runs: every reading counts
        return math.inf, -math.inf, 0
    return (low, high, until) if rule.above else (-high, -low, until)


def combine(limits: Iterable[tuple[float, float, int]]) -> tuple[float, float, int]:
    """The bounds inside which none of several rules on a series can change."""
    low, high, until = -math.inf, math.inf, NEVER
    for one_low, one_high, one_until in limits:
        low, high, until = max(low, one_low), min(high, one_high), min(until, one_until)
    return low, high, until


#: An instant (ms) and a value.
_Reading = tuple[int, float]


def _step_one(
    rule: ThresholdRule, state: RuleState, origin: Origin, reading: _Reading
) -> tuple[RuleState, Observation | None]:
    at, value = reading
    signed = rule.sign * value
    match state.position:
        case "quiet" | "rising":
            if signed < rule.sign * rule.raise_at:
                return msgspec.structs.replace(state, position="quiet", clock=at, since=0), None
            since = state.since if state.position == "rising" else at
            if at - since < rule.hold_ms:
                return msgspec.structs.replace(state, position="rising", clock=at, since=since), None
            return _raise(rule, state, origin, reading, since)
        case "raised" | "falling":
            if signed > rule.sign * rule.clear_at:
                return _go_on(rule, state, origin, reading, falling_since=None)
            since = state.since if state.position == "falling" else at
            if at - since < rule.clear_hold_ms:
                return _go_on(rule, state, origin, reading, falling_since=since)
            ended = msgspec.structs.replace(
                state, position="quiet", clock=at, since=0, revision=state.revision + 1
            )
            return ended, _tell(rule, ended, origin.sensor, reading, phase="end", ended_at=since)


def _raise(
    rule: ThresholdRule, state: RuleState, origin: Origin, reading: _Reading, since: int
) -> tuple[RuleState, Observation]:
    # A packet may hold an end and a new start of the same condition: the second needs an id of its own.
    again = (state.epoch, state.seq) == (origin.epoch, origin.seq)
    nth = state.nth + 1 if again else 0
    name = f"rule:{rule.rule_id}:{origin.sensor}" + (f"#{nth}" if nth else "")
    raised = RuleState(
        position="raised",
        clock=reading[0],
        observation_id=str(observation_id(origin.device, name, origin.epoch, origin.seq)),
        started_at=since,
        severity=rule.severity_of(reading[1]),
        peak=reading[1],
        updated_at=reading[0],
        epoch=origin.epoch,
        seq=origin.seq,
        nth=nth,
    )
    return raised, _tell(rule, raised, origin.sensor, reading, phase="start")


def _go_on(
    rule: ThresholdRule, state: RuleState, origin: Origin, reading: _Reading, falling_since: int | None
) -> tuple[RuleState, Observation | None]:
    at, value = reading
    worse = rule.sign * value > rule.sign * state.peak
    severity = max(state.severity, rule.severity_of(value)) if worse else state.severity
    due = bool(rule.update_ms) and at - state.updated_at >= rule.update_ms
    tells = due or severity > state.severity
    after = msgspec.structs.replace(
        state,
        position="raised" if falling_since is None else "falling",
        clock=at,
        since=falling_since or 0,
        peak=value if worse else state.peak,
        severity=severity,
        revision=state.revision + tells,
        updated_at=at if tells else state.updated_at,
    )
    return after, _tell(rule, after, origin.sensor, reading, phase="update") if tells else None


def _tell(
    rule: ThresholdRule,
    state: RuleState,
    sensor: str,
    reading: _Reading,
    *,
    phase: Phase,
    ended_at: int | None = None,
) -> Observation:
    return Observation(
        observation_id=state.observation_id,
        phase=phase,
        revision=state.revision,
        category=rule.category,
        source=f"rule:{rule.rule_id}",
        sensor=sensor,
        started_at=state.started_at,
        at=reading[0],
        severity=state.severity,
        ended_at=ended_at,
        value=reading[1],
        unit=rule.unit,
        detail={
            "metric": rule.metric,
            "peak": state.peak,
            "raise_at": rule.raise_at,
            "clear_at": rule.clear_at,
        },
    )
