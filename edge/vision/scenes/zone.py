"""A zone that is occupied or crowded: a condition with hysteresis in time."""

from __future__ import annotations

from collections.abc import Sequence

from edge.vision.scenes.config import ZoneConfig
from edge.vision.scenes.scene import Outline, SceneEvent, ScenePhase, Sighting
from edge.vision.tracker import Track

_LONGEST_STEP_MS = 2000
"""Longer silence between two looks proves nothing, so no more than this counts towards a start or an end."""

_UNSEEN_MS = 1000
"""An object hidden for no longer still stands where it was."""


class ZoneScene:
    """Counts the objects that stand in a zone.

    A bucket fills with the time during which enough objects (or, once open, too few) were inside and runs
    empty with the time during which not; the state changes when it is full. So a flicker of the detector
    costs its own length and no more.
    """

    def __init__(self, config: ZoneConfig) -> None:
        self.config = config
        self.outline = Outline(config.zone)
        self._size = (1, 1)
        self._at_ms: int | None = None
        self._bucket_ms = 0
        self._turning_at: int | None = None
        self._started_at: int | None = None
        self._said_at: int | None = None
        self._peak = 0

    @property
    def id(self) -> str:
        """Its name in the camera's configuration."""
        return self.config.id

    @property
    def is_open(self) -> bool:
        """Whether the condition lasts."""
        return self._started_at is not None

    def resize(self, width: int, height: int) -> None:
        """Say how large the pictures are."""
        self._size = (width, height)

    def pause(self) -> None:
        """Begin anew with a start or an end that was not said yet; an open condition stays open."""
        self._bucket_ms, self._turning_at = 0, None

    def restore(self, started_at: int) -> None:
        """Go on with a condition that was open when the box stopped; the next step says how it stands."""
        self._started_at = started_at
        self._said_at = None
        self._bucket_ms, self._turning_at = 0, None
        self._peak = self.config.limit

    def step(self, tracks: Sequence[Track], at_ms: int) -> list[SceneEvent]:
        """Start, update or end, at most one."""
        elapsed = 0 if self._at_ms is None else min(max(at_ms - self._at_ms, 0), _LONGEST_STEP_MS)
        self._at_ms = at_ms
        here = [track for track in tracks if self._stands_here(track, at_ms)]
        enough = len(here) >= self.config.limit
        self._fill(enough != self.is_open, elapsed, at_ms)
        if self.is_open or self._turning_at is not None:
            self._peak = max(self._peak, len(here))
        else:
            self._peak = 0
        return self._turn(here, at_ms)

    def _fill(self, turning: bool, elapsed: int, at_ms: int) -> None:
        """Fill the bucket while the zone looks other than the state says, else let it run empty."""
        if not turning:
            self._bucket_ms -= elapsed
            if self._bucket_ms <= 0:
                self._bucket_ms, self._turning_at = 0, None
        elif self._turning_at is None:
            # The time before this look belongs to what was seen before.
            self._turning_at = at_ms
        else:
            self._bucket_ms += elapsed

    def _turn(self, here: list[Track], at_ms: int) -> list[SceneEvent]:
        config = self.config
        if self._started_at is None:
            if self._turning_at is None or self._bucket_ms < config.enter_s * 1000:
                return []
            started_at, self._said_at = self._turning_at, at_ms
            self._started_at, self._bucket_ms, self._turning_at = started_at, 0, None
            return [self._event("start", here, at_ms, started_at)]
        started_at = self._started_at
        if self._bucket_ms >= config.exit_s * 1000:
            event = self._event("end", here, at_ms, started_at)
            self._started_at, self._bucket_ms, self._turning_at, self._peak = None, 0, None, 0
            return [event]
        if self._said_at is None or at_ms - self._said_at >= config.update_s * 1000:
            self._said_at = at_ms
            return [self._event("update", here, at_ms, started_at)]
        return []

    def _stands_here(self, track: Track, at_ms: int) -> bool:
        left, _, right, bottom = track.xyxy
        width, height = self._size
        return (
            track.confirmed
            and track.label in self.config.labels
            and at_ms - track.last_seen_ms <= _UNSEEN_MS
            and self.outline.holds((left + right) / 2 / width, bottom / height)
        )

    def _event(self, phase: ScenePhase, here: list[Track], at_ms: int, started_at: int) -> SceneEvent:
        return SceneEvent(
            phase=phase,
            scene=self.id,
            category=self.config.category,
            started_at=started_at,
            at=at_ms,
            count=len(here),
            peak=float(self._peak),
            tracks=tuple(map(Sighting.of, here)),
            detail={"limit": self.config.limit, "lasted_s": round((at_ms - started_at) / 1000, 1)},
        )
