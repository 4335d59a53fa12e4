"""When a stretch of road is a recurring place, and whether it has got better. Pure.

A rate is acts in an hour *looked*: cameras keep books of it (``edge/coverage.py``). Where there are no books, the hours on
the clock stand in for them. No camera looked for longer than that, so the rate is then a lower bound: enough to open a
ticket or to say that nothing has got better, and never enough to say that something has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta
from itertools import pairwise
from typing import Any, Final

from cloud.assessment.domain import tail
from cloud.calendar.domain import DISTRICT_ZONE
from cloud.geometry import METRES_A_DEGREE, distance_m
from cloud.incidents.domain import Device
from cloud.verify.domain import Verdict

_ERROR: Final = 0.05  # how often a fall that is none may be taken for one


@dataclass(frozen=True, slots=True)
class Band:
    """Hours of the day that are compared with each other, such as the morning's rush.

    Attributes:
        days: ISO weekdays.
        hours: seconds after the district's midnight, in order and apart.
    """

    name: str
    name_zh: str
    name_en: str
    days: tuple[int, ...]
    hours: tuple[tuple[int, int], ...]

    def seconds(self, since: datetime, until: datetime) -> float:
        """How much of it lies between two instants."""
        first, last = (at.astimezone(DISTRICT_ZONE) for at in (since, until))
        day, total = first.date(), 0.0
        while day <= last.date():
            midnight = datetime.combine(day, time(), DISTRICT_ZONE)
            if day.isoweekday() in self.days:
                for begin, end in self.hours:
                    begins = max(midnight + timedelta(seconds=begin), first)
                    ends = min(midnight + timedelta(seconds=end), last)
                    total += max((ends - begins).total_seconds(), 0.0)
            day += timedelta(days=1)
        return total

    def snapshot(self) -> dict[str, Any]:
        """As it is frozen with a ticket."""
        return asdict(self)

    @classmethod
    def from_snapshot(cls, row: Mapping[str, Any]) -> Band:
        """Back from a ticket or the database."""
        hours = tuple((int(begin), int(end)) for begin, end in row["hours"])
        return cls(row["name"], row["name_zh"], row["name_en"], tuple(row["days"]), hours)


#: Where a rule names no bands.
WHOLE_DAY: Final = Band("day", "全天", "All day", (1, 2, 3, 4, 5, 6, 7), ((0, 86_400),))


@dataclass(frozen=True, slots=True)
class RecurringRule:
    """From which rate on a stretch is a recurring place.

    Attributes:
        category: of the acts.
        bands: the names of the hour bands, each counted for itself; none: the whole day.
        per_h: acts in an hour looked, of one camera.
        over_s: counted over so long.
        least_acts, least_looked_s: with fewer nothing is said.
        verify_looked_s: after a claim, so much must be looked before it is believed.
        verify_within_s: and within so long; then a person must.
    """

    category: str
    bands: tuple[str, ...]
    per_h: float
    over_s: int
    least_acts: int
    least_looked_s: int
    verify_looked_s: int
    verify_within_s: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a road: a line in WGS-84 degrees with what stands near it, and cameras (``site/device``) by name."""

    code: str
    name_zh: str
    name_en: str
    points: tuple[tuple[float, float], ...] = ()
    within_m: float = 60.0
    cameras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something was done between two instants, within a band.

    Attributes:
        looked_s: camera-seconds in which it was looked, by the cameras' books.
        clock_s: camera-seconds on the clock: nobody can have looked for longer.
    """

    since: datetime
    until: datetime
    acts: int
    looked_s: float
    clock_s: float

    @property
    def per_h(self) -> float | None:
        """Acts in an hour looked; None where nothing looked."""
        return self.acts / self.looked_s * 3600 if self.looked_s > 0 else None

    @property
    def at_least_per_h(self) -> float:
        """What the rate cannot be below, however little was looked."""
        longest = max(self.clock_s, self.looked_s)
        return self.acts / longest * 3600 if longest > 0 else 0.0

    def snapshot(self) -> dict[str, Any]:
        """As it is kept and told."""
        times = {"since": self.since.isoformat(), "until": self.until.isoformat()}
        return times | {"acts": self.acts, "looked_s": self.looked_s, "clock_s": self.clock_s}

    @classmethod
    def from_snapshot(cls, row: Mapping[str, Any]) -> Rate:
        """Back from the database."""
        since, until = (datetime.fromisoformat(row[name]) for name in ("since", "until"))
        return cls(since, until, int(row["acts"]), float(row["looked_s"]), float(row["clock_s"]))


def exceeds(rule: RecurringRule, rate: Rate) -> bool:
    """Whether a stretch is a recurring place."""
    if rate.acts < rule.least_acts:
        return False
    if rate.per_h is not None and rate.looked_s >= rule.least_looked_s:
        return rate.per_h >= rule.per_h
    return rate.at_least_per_h >= rule.per_h


def judge(rule: RecurringRule, before: Rate, after: Rate, now: datetime) -> Verdict:
    """Whether the rate has come down since a claim, made where ``after`` begins.

    Clean: looked for long enough, below the limit, and lower than before by more than chance explains. Dirty: at the
    limit still, or no lower when the time is over. Blind: when it is over and too little was looked. Silence of a camera
    is no fall.
    """
    enough = after.looked_s >= rule.verify_looked_s
    if enough and after.per_h is not None:
        if after.per_h >= rule.per_h:
            return Verdict.DIRTY
        if fell(before, after):
            return Verdict.CLEAN
    elif after.clock_s >= rule.verify_looked_s and after.at_least_per_h >= rule.per_h:
        return Verdict.DIRTY
    if now < after.since + timedelta(seconds=rule.verify_within_s):
        return Verdict.WAIT
    return Verdict.DIRTY if enough else Verdict.BLIND


def fell(before: Rate, after: Rate) -> bool:
    """Whether the rate was higher before, by the exact test of two Poisson rates (Przyborowski and Wilenski 1940).

    Where nobody kept books before, the clock's hours stand in: what was before is then put too low, which makes a
    fall harder to show, never easier.
    """
    looked_before = before.looked_s or before.clock_s
    total = before.acts + after.acts
    if not total or looked_before <= 0 or after.looked_s <= 0:
        return False
    return tail(before.acts, total, looked_before / (looked_before + after.looked_s)) <= _ERROR


def stretch_of(device: Device, names: tuple[str, str], stretches: Sequence[Stretch]) -> Stretch:
    """The stretch that a camera watches: the one that names it, else the nearest within its reach, else its own.

    ``names`` are the camera's, in Chinese and English, for a stretch of its own.
    """
    called = f"{device.site}/{device.name}"
    for stretch in stretches:
        if called in stretch.cameras:
            return stretch
    near = [
        (away, number)
        for number, stretch in enumerate(stretches)
        if (away := distance_to_line_m(device.lon, device.lat, stretch.points)) <= stretch.within_m
    ]
    if near:
        return stretches[min(near)[1]]
    return Stretch(called, names[0] or called, names[1] or called, cameras=(called,))


def distance_to_line_m(lon: float, lat: float, points: Sequence[tuple[float, float]]) -> float:
    """Metres from a point to a line of WGS-84 points, flat around the point; endless where there is no line."""
    wide = math.cos(math.radians(lat)) * METRES_A_DEGREE
    flat = [((x - lon) * wide, (y - lat) * METRES_A_DEGREE) for x, y in points]
    if len(flat) == 1:
        return distance_m(lon, lat, *points[0])
    return min((_to_segment(*pair) for pair in pairwise(flat)), default=math.inf)


def _to_segment(one: tuple[float, float], other: tuple[float, float]) -> float:
    (ax, ay), (bx, by) = one, other
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    along = 0.0 if length == 0 else min(max(-(ax * dx + ay * dy) / length, 0.0), 1.0)
    return math.hypot(ax + along * dx, ay + along * dy)


def bands_of(rule: RecurringRule, bands: Iterable[Band]) -> tuple[Band, ...]:
    """The bands that a rule counts, or the whole day."""
    found = tuple(band for band in bands if band.name in rule.bands)
    return found if rule.bands else (WHOLE_DAY,)


def scope_of(stretch: Stretch, band: Band) -> str:
    """What a recurring place's matter is tied to."""
    return f"recurring/{stretch.code}/{band.name}"
