"""From what scenes say to numbered observations, and the memory that lets a condition outlive a restart."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from common.runtime.clock import Clock
from common.runtime.log import get_logger
from common.wire import ids
from common.wire.categories import BY_CODE
from common.wire.messages import Events, Evidence, Observation, Phase
from edge.database import Database, DiskFullError
from edge.packets import Outbox

_MOST_EVIDENCE: Final = 16
_MOST_WAITING: Final = 500
_decoder: Final = msgspec.json.Decoder(Observation)
_log = get_logger("observations")

Detail = Mapping[str, str | float | int]


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing to say about a matter.

    Attributes:
        phase: start, update or end of a condition; or a passing act.
        source: what saw it: ``scene:{camera}:{scene}``, ``camera:{camera}``, ``sensor:{sensor}``.
        sensor: the camera's or sensor's name.
        category: a code of ``common.wire.categories``.
        started_at, at: ms since the Unix epoch.
    """

    phase: Phase
    source: str
    sensor: str
    category: str
    started_at: int
    at: int
    count: int = 1
    value: float | None = None
    detail: Detail = field(default_factory=dict)
    evidence: Evidence | None = None


class ObservationBook:
    """Gives each condition one id from start to end, counts its revisions, and accepts it into the outbox.

    The open condition and its packet are written in one transaction: after a power cut there is never a
    condition at the district that the box no longer knows, and so could not end.

    Any thread may call it: cameras and sensors have theirs.

    Args:
        database: the box's.
        outbox: in the same database.
        clock: when ids are made.
        accepted: called when a packet was accepted.
        severities: by source, where a configuration says other than the category.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        *,
        accepted: Callable[[], None] = lambda: None,
        severities: Mapping[str, int] | None = None,
    ) -> None:
        self.lost = 0
        self._lock = threading.RLock()
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._accepted = accepted
        self._severities = dict(severities or {})
        self._waiting: deque[Observation] = deque()
        with database.reading() as connection:
            rows = connection.execute("SELECT state FROM open_observation").fetchall()
        self._open = {
            (found.source, found.category): found for (state,) in rows for found in [_decoder.decode(state)]
        }

    def open_conditions(self) -> list[Observation]:
        """The latest state of every condition that has started and not ended."""
        return list(self._open.values())

    def is_open(self, source: str, category: str) -> bool:
        """Whether that condition lasts."""
        return (source, category) in self._open

    def rate(self, of: str, severities: Mapping[str, int]) -> None:
        """From now on go by these severities, by source, for all sources whose names begin so."""
        with self._lock:
            others = {name: one for name, one in self._severities.items() if not name.startswith(of)}
            self._severities = {**others, **severities}

    def severity_of(self, source: str, category: str) -> int:
        """1 to 4: what the configuration says of that source, otherwise the category's."""
        return self._severities.get(source, BY_CODE[category].severity)

    def say(self, seen: Seen) -> Observation:
        """Number it and keep it; without room on the disk it waits in memory and is tried again."""
        with self._lock:
            known = self._open.get((seen.source, seen.category)) if seen.phase != "act" else None
            observation = self._observation(seen, known)
            if seen.phase in {"start", "update"}:
                self._open[seen.source, seen.category] = observation
            elif seen.phase == "end":
                self._open.pop((seen.source, seen.category), None)
            self._waiting.append(observation)
            self.flush()
            return observation

    def end(self, known: Observation, reason: str) -> None:
        """End a condition that nothing watches any more."""
        now = self._clock.now_ms()
        self.say(
            Seen(
                "end",
                known.source,
                known.sensor,
                known.category,
                known.started_at,
                max(now, known.at),
                known.count,
                known.value,
                {**known.detail, "ended_because": reason},
            )
        )

    def flush(self) -> None:
        """Try to write down what waits."""
        if not self._waiting:
            return
        with self._lock:
            written = self._write_waiting()
        if written:
            self._accepted()

    def _write_waiting(self) -> int:
        """How many were written down."""
        written = 0
        try:
            while self._waiting:
                self._write_or_make_room(self._waiting[0])
                self._waiting.popleft()
                written += 1
        except DiskFullError as error:
            _log.error(
                error.code, message=error.message, hint=error.hint, observations_waiting=len(self._waiting)
            )
            self._let_go()
        return written

    def _observation(self, seen: Seen, known: Observation | None) -> Observation:
        proofs = list(known.evidence) if known else []
        started_at = known.started_at if known else seen.started_at
        # The box's clock may have been set back since it began.
        at = max(seen.at, started_at)
        if seen.evidence is not None and len(proofs) < _MOST_EVIDENCE:
            proofs.append(seen.evidence)
        return Observation(
            observation_id=known.observation_id if known else str(ids.uuid7(self._clock.now_ms())),
            # A condition that is open already does not start again; the end of an unknown one says all there is.
            phase="update" if known and seen.phase == "start" else seen.phase,
            revision=known.revision + 1 if known else 0,
            category=seen.category,
            source=seen.source,
            sensor=seen.sensor,
            started_at=started_at,
            at=at,
            severity=self.severity_of(seen.source, seen.category),
            ended_at=at if seen.phase == "end" else None,
            count=seen.count,
            value=seen.value,
            evidence=proofs,
            detail=dict(seen.detail),
        )

    def _write_or_make_room(self, observation: Observation) -> None:
        try:
            self._write(observation)
        except DiskFullError:
            # A box without sensors appends nothing else, so nobody else would make room for it.
            self._outbox.make_room()
            self._write(observation)

    def _write(self, observation: Observation) -> None:
        with self._database.transaction() as connection:
            self._outbox.append(Events([observation]))
            self._remember(connection, observation)

    def _remember(self, connection: sqlite3.Connection, observation: Observation) -> None:
        if observation.phase in {"start", "update"}:
            connection.execute(
                "INSERT OR REPLACE INTO open_observation (source, category, state) VALUES (?, ?, ?)",
                (observation.source, observation.category, msgspec.json.encode(observation)),
            )
        elif observation.phase == "end":
            connection.execute(
                "DELETE FROM open_observation WHERE source = ? AND category = ?",
                (observation.source, observation.category),
            )

    def _let_go(self) -> None:
        """What waits in memory has a limit too: updates go first, since each phase carries the whole state."""
        while len(self._waiting) > _MOST_WAITING:
            victim = next((one for one in self._waiting if one.phase == "update"), self._waiting[0])
            self._waiting.remove(victim)
            self.lost += 1
            _log.error("observations.lost", observation=victim.observation_id, phase=victim.phase)
