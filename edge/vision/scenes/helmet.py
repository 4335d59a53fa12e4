"""Riders without a helmet: a passing act, said once for each rider, when the rider is gone."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from edge.vision.scenes.ballot import Ballot, Bounds, Look, Verdict, mean_probability, verdict
from edge.vision.scenes.config import HelmetConfig
from edge.vision.scenes.riders import riders
from edge.vision.scenes.scene import Outline, SceneEvent, Sighting
from edge.vision.tracker import Track

_HOUR_MS: Final = 3_600_000


@dataclass(slots=True)
class _Ride:
    """What is known of one person who was seen on a two-wheeler in the zone.

    Attributes:
        inside: how often he was seen riding in the zone.
        seen, mounted: how often he was seen anywhere since then, and of that riding.
    """

    ballot: Ballot
    first: Sighting
    latest: Sighting
    first_at: int
    latest_at: int
    inside: int = 0
    seen: int = 0
    mounted: int = 0
    best: float = 0.0
    shown: Sighting | None = field(default=None)


class HelmetScene:
    """Collects looks at riders' heads, which somebody else takes, and votes when a rider has passed.

    In each step: ``riders`` says whose heads are to be looked at, ``wants`` whether a look of some quality
    would count, ``look`` takes its outcome; then ``step`` says who has passed without a helmet.
    """

    def __init__(self, config: HelmetConfig) -> None:
        self.config = config
        self.outline = Outline(config.zone)
        self.bounds = Bounds(0.7, 0.3)
        self._size = (1, 1)
        self._rides: dict[int, _Ride] = {}
        self._passed: deque[tuple[int, Verdict]] = deque()
        self._untold: list[Verdict] = []

    @property
    def id(self) -> str:
        """Its name in the camera's configuration."""
        return self.config.id

    @property
    def followed(self) -> Set[int]:
        """The tracks of whoever rode through the zone and has not passed yet."""
        return self._rides.keys()

    def resize(self, width: int, height: int) -> None:
        """Say how large the pictures are; whoever was on the way in the old ones is forgotten."""
        self._size = (width, height)
        self._rides.clear()

    def restore(self, started_at: int) -> None:
        """An act has nothing to go on with."""

    def pause(self) -> None:
        """Looks at a rider are his as long as his track lives."""

    def riders(self, tracks: Sequence[Track], at_ms: int) -> list[Track]:
        """Who rides through the zone now."""
        mounted = riders(tracks, self.config.vehicles, at_ms)
        width, height = self._size
        inside = [
            track
            for track in mounted
            if self.outline.holds((track.xyxy[0] + track.xyxy[2]) / 2 / width, track.xyxy[3] / height)
        ]
        for track in inside:
            self._ride(track, at_ms).inside += 1
        # Both counts go on beyond the zone: who leaves it riding and stays in view has not got off.
        for track in mounted:
            if track.id in self._rides:
                self._rides[track.id].mounted += 1
        for track in tracks:
            if track.id in self._rides and track.last_seen_ms == at_ms:
                ride = self._rides[track.id]
                ride.seen, ride.latest, ride.latest_at = ride.seen + 1, Sighting.of(track), at_ms
        return inside

    def wants(self, rider: int, quality: float, at_ms: int) -> bool:
        """Whether a look of this quality at this rider's head would count."""
        return rider in self._rides and self._rides[rider].ballot.wants(quality, at_ms)

    def look(self, rider: int, look: Look) -> bool:
        """Take a look that was wanted; whether it is the best so far of somebody who may be helmetless."""
        ride = self._rides[rider]
        ride.ballot.add(look)
        if look.quality <= ride.best or mean_probability(ride.ballot.looks) < self.bounds.helmetless:
            return False
        ride.best, ride.shown = look.quality, ride.latest
        return True

    def step(self, tracks: Sequence[Track], at_ms: int) -> list[SceneEvent]:
        """An act for each who has gone and wore no helmet."""
        alive = {track.id for track in tracks}
        gone = [rider for rider in self._rides if rider not in alive]
        while self._passed and self._passed[0][0] <= at_ms - _HOUR_MS:
            self._passed.popleft()
        return [event for rider in gone if (event := self._end(rider, self._rides.pop(rider), at_ms))]

    def finish(self, at_ms: int) -> list[SceneEvent]:
        """No more pictures come: whoever is still on the way is judged by what was seen of him."""
        return self.step((), at_ms)

    def passed(self) -> list[Verdict]:
        """What was said of each who rode past since this was asked last, helmeted or not: a rate wants all of them."""
        untold, self._untold = self._untold, []
        return untold

    def _ride(self, track: Track, at_ms: int) -> _Ride:
        if track.id not in self._rides:
            here = Sighting.of(track)
            ballot = Ballot(self.config.most_looks, round(self.config.apart_s * 1000))
            self._rides[track.id] = _Ride(ballot, here, here, at_ms, at_ms)
        return self._rides[track.id]

    def _end(self, rider: int, ride: _Ride, at_ms: int) -> SceneEvent | None:
        if not self._rode(ride):
            return None
        looks = ride.ballot.looks
        said = verdict(looks, self.bounds, self.config.least_looks)
        self._passed.append((at_ms, said))
        self._untold.append(said)
        if said != "helmetless":
            return None
        hour = Counter(one for _, one in self._passed)
        return SceneEvent(
            phase="act",
            scene=self.id,
            category=self.config.category,
            started_at=ride.first_at,
            at=ride.latest_at,
            count=1,
            peak=round(mean_probability(looks), 3),
            tracks=(ride.shown or ride.latest,),
            detail={
                "track": rider,
                "probability": round(mean_probability(looks), 3),
                "looks": len(looks),
                "hour_riders": len(self._passed),
                "hour_helmetless": hour["helmetless"],
                "hour_unknown": hour["unknown"],
                "hour_rate": round(hour["helmetless"] / len(self._passed), 3),
            },
        )

    def _rode(self, ride: _Ride) -> bool:
        """Whether it was a ride and not somebody who stood or walked beside a parked two-wheeler."""
        left, top, right, bottom = ride.latest.xyxy
        was = ride.first.xyxy
        moved = math.hypot((left + right - was[0] - was[2]) / 2, bottom - was[3])
        grown = abs((bottom - top) - (was[3] - was[1]))
        return (
            ride.inside >= self.config.least_looks
            and ride.mounted >= 0.5 * ride.seen
            and max(moved, grown) >= self.config.least_heights * max(bottom - top, was[3] - was[1], 1.0)
        )
