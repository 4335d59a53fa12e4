"""Whether what rules told of conditions hangs together with itself, and with where the rules say that they stand.

States of rules and what they tell are written in a batch's one transaction, so whatever is killed: of each condition
every revision is told once, from its one start to at most one end; of one series none begins while another goes on; and
what has no end is what the rule's state holds for going on. A start or an end that got lost, or a state that was
forgotten or is an old one, breaks one of these.

What comes first is what the database took in first, for batches of one device come one after the other there. Capture
times say nothing of it: a box's clock may be set back, and what stands still is dated before its first reading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from typing import Final

import psycopg


@dataclass(frozen=True, slots=True)
class Condition:
    """What was told of one condition, and what its rule holds of it.

    Attributes:
        series: whose it is, in words: the rule, the device and (but of a combination) the sensor.
        observation_id: its id.
        told: each phase with its revision, by revision.
        began_at: when the database took in its start; None where there is none.
        over_at: and its end.
        held: the revision that the rule's state stands at; None where the rule does not hold it for going on.
    """

    series: str
    observation_id: str
    told: tuple[tuple[str, int], ...]
    began_at: datetime | None
    over_at: datetime | None
    held: int | None

    @property
    def ended(self) -> bool:
        """Whether its end was told."""
        return any(phase == "end" for phase, _ in self.told)

    def __str__(self) -> str:
        """As faults name it."""
        return f"condition {self.observation_id} of {self.series}"


def conditions(connection: psycopg.Connection) -> list[Condition]:
    """Every condition that rules told or hold, all of one moment."""
    return [
        Condition(series, observation_id, tuple(zip(phases, revisions, strict=True)), began, over, held)
        for series, observation_id, phases, revisions, began, over, held in connection.execute(
            _CONDITIONS
        ).fetchall()
    ]


def torn(found: Iterable[Condition]) -> list[str]:
    """Everything about conditions that does not hang together, a sentence each."""
    faults = []
    for _, series in groupby(sorted(found, key=lambda one: one.series), key=lambda one: one.series):
        together = list(series)
        for one in together:
            faults += [f"{one}: {what}" for what in (*_of_phases(one.told), *_of_state(one))]
        faults += _at_once(together)
    return faults


def _of_phases(told: Sequence[tuple[str, int]]) -> Iterator[str]:
    """What is wrong with the phases of one condition."""
    if not told:
        return
    phases = Counter(phase for phase, _ in told)
    revisions = Counter(revision for _, revision in told)
    if phases["start"] != 1:
        yield f"it has {phases['start']} starts"
    elif told[0][0] != "start":
        yield "its start is not the first that was told of it"
    if phases["end"] > 1:
        yield f"it has {phases['end']} ends"
    elif phases["end"] and told[-1][0] != "end":
        yield "its end is not the last that was told of it"
    for revision in range(max(revisions) + 1):
        if revisions[revision] != 1:
            yield f"revision {revision} was told {revisions[revision]} times"


def _of_state(one: Condition) -> Iterator[str]:
    """Whether its rule's state says of a condition what was told."""
    if not one.told:
        yield "its rule holds it for going on, and nothing was told of it"
    elif one.ended and one.held is not None:
        yield "its end was told, and its rule holds it for going on"
    elif not one.ended and one.held is None:
        yield "no end was told, and its rule does not hold it for going on"
    elif not one.ended and one.held != one.told[-1][1]:
        yield f"it was told up to revision {one.told[-1][1]}, and its rule is at {one.held}"


def _at_once(series: Iterable[Condition]) -> Iterator[str]:
    """Conditions of one series that began while another went on; an end and a start of one batch do not meet."""
    spans = [
        (one.began_at, one.over_at is None, one.over_at or one.began_at, one)
        for one in series
        if one.began_at is not None and (one.over_at is not None) == one.ended
    ]
    spans.sort(key=lambda span: span[:-1])
    for before, after in pairwise(spans):
        _, goes_on, over_at, earlier = before
        if goes_on or over_at > after[0]:
            yield f"{after[-1]}: it began while {earlier.observation_id} went on"


# Of a combination the sensor only says who began it: of a device there is one at a time. A rule may tell nothing, being
# a part of combinations alone: what it holds counts only where it told a start since the rules in force came.
_CONDITIONS: Final = b"""
WITH told AS (
    SELECT device_id, observation_id::text AS id, min(source) AS source,
           min(CASE WHEN detail ->> 'kind' IN ('all_of', 'any_of') THEN '' ELSE sensor END) AS sensor,
           array_agg(phase ORDER BY revision, committed_at) AS phases,
           array_agg(revision ORDER BY revision, committed_at) AS revisions,
           min(committed_at) FILTER (WHERE phase = 'start') AS began_at,
           max(committed_at) FILTER (WHERE phase = 'end') AS over_at
    FROM observation WHERE source LIKE 'rule:%' GROUP BY device_id, observation_id
), state AS (
    SELECT device_id, rule_id, sensor, state FROM rule_state JOIN series USING (series_id)
    UNION ALL SELECT device_id, rule_id, '', state FROM rule_device_state
), held AS (
    SELECT device_id, state ->> 'observation_id' AS id, 'rule:' || rule_id AS source, sensor,
           coalesce((state ->> 'revision')::integer, 0) AS revision
    FROM state WHERE state ->> 'position' IN ('raised', 'falling')
), telling AS (
    SELECT DISTINCT source FROM observation WHERE source LIKE 'rule:%' AND phase = 'start'
    AND committed_at >= (SELECT coalesce(max(at), '-infinity') FROM rule_set)
)
SELECT rtrim(source || ' on ' || d.site || '/' || d.name || ' ' || sensor), id, coalesce(phases, '{}'),
       coalesce(revisions, '{}'), began_at, over_at, held.revision
FROM told FULL JOIN held USING (device_id, id, source, sensor) JOIN device d USING (device_id)
WHERE phases IS NOT NULL OR source IN (SELECT source FROM telling)
ORDER BY 1, began_at, id
"""
