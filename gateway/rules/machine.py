"""A number against two thresholds, with hysteresis and hold times, one series at a time. Pure.

A condition *starts* when the number is at ``raise_at`` or beyond for ``hold_ms`` without a break, and *ends* when it is
back at ``clear_at`` for ``clear_hold_ms``; between the two it goes on. It steps forward in capture time only: a reading
from before the last one stepped raises and clears nothing (it is stored all the same, and flagged). A number that is
unknown (NaN: too little came to measure it) changes nothing either.

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
from gateway.rules.kinds import Rate, Stuck, ThresholdRule, WindowSum

Position = Literal["quiet", "rising", "raised", "falling"]
NEVER: Final = 1 << 62


class RuleState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one series (or device) stands under one rule; kept as JSON, in the batch's transaction.

    ``since`` is when the series first went beyond ``raise_at`` (rising) or back to ``clear_at`` (falling).
    ``epoch``, ``seq`` and ``nth`` name the packet that started the observation, and its number there. ``sensor`` is
    whose reading started a combination.
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
    sensor: str = ""

    @property
    def holds(self) -> bool:
        """Whether the condition is on."""
        return self.position in {"raised", "falling"}


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
        if math.isnan(value):
            state = msgspec.structs.replace(state, clock=moment)
            continue
        state, observation = _step_one(rule, state, origin, (moment, value))
        if observation is not None:
            told.append(observation)
    return state, told


def bounds(rule: ThresholdRule, state: RuleState) -> tuple[float, float, int]:
    """When a series cannot change its state: all numbers strictly inside ``low``…``high``, all before ``until``.

    Returns:
        ``(low, high, until)``; numbers that touch or pass one of them must be stepped.
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


def name_next(state: RuleState, origin: Origin, source: str) -> tuple[str, int]:
    """The id of an observation that starts in a packet, and its number there.

    A packet may hold an end and a new start of the same condition: the second needs an id of its own.
    """
    again = (state.epoch, state.seq) == (origin.epoch, origin.seq)
    nth = state.nth + 1 if again else 0
    name = source + (f"#{nth}" if nth else "")
    return str(observation_id(origin.device, name, origin.epoch, origin.seq)), nth


#: An instant (ms) and a number.
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
    name, nth = name_next(state, origin, f"rule:{rule.rule_id}:{origin.sensor}")
    raised = RuleState(
        position="raised",
        clock=reading[0],
        observation_id=name,
        started_at=max(since - rule.backdate_ms, 0),
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
        detail=_detail(rule, state),
    )


def _detail(rule: ThresholdRule, state: RuleState) -> dict[str, str | float | int]:
    """What the rule is and how far it went, under the names that the configuration uses; times in seconds."""
    if isinstance(rule.measure, Stuck):
        after_s = rule.measure.after_ms / 1000
        return {"metric": rule.metric, "kind": "stuck", "epsilon": rule.raise_at, "after_s": after_s}
    told: dict[str, str | float | int] = {
        "metric": rule.metric,
        "peak": state.peak,
        "raise_at": rule.raise_at,
        "clear_at": rule.clear_at,
    }
    if isinstance(rule.measure, Rate):
        told |= {"kind": "rate", "span_s": rule.measure.span_ms / 1000}
    elif isinstance(rule.measure, WindowSum):
        told |= {"kind": "window_sum", "window_s": rule.measure.window_ms / 1000}
    return told
