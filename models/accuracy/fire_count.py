"""What the fire model makes of videos it never saw, single frames and looks in a row, and of all that burns not."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.accuracy.figures import Figure, bootstrapped
from models.accuracy.fire_clips import (
    EVERY_MS,
    NIGHTS,
    STREETS,
    Clip,
    Looker,
    burning_clip,
    calm_photos,
    changed_clips,
    clips,
)
from models.burning import EXIT_LOOKS, START_SHARE, STOP_SHARE, Agreement, Rule
from models.data.flames import CLASSES, DOUBTFUL, Scene, judged_groups, read_scenes
from models.data.riders import read_picture
from models.fire import FireLook
from models.manifest import FireThresholds

FRAMES: Final = Path("fire-smoke")
LEAST_RECALL: Final = 0.7
MOST_FALSE: Final = 1.0
"""False alarms in a camera's hour."""
LONG: Final = 3
"""Burning frames that a video needs for looks in a row; fewer are photos."""
_MOST_PHOTOS: Final = 0.03
"""Of single photos in which nothing burns, so many may be called burning when a threshold is chosen."""


def share(look: FireLook, label: int, threshold: float) -> float:
    """Of the picture, in a single look, what is called fire (0) or smoke (1)."""
    return float((look[label] >= threshold).mean())


def alarms(looks: Iterable[FireLook], label: int, threshold: float) -> list[int]:
    """At which looks a scene with the shipped configuration, watching all of the picture, says that it starts."""
    looks = list(looks)
    if all(share(look, label, threshold) < START_SHARE for look in looks):
        return []
    agreement: Agreement | None = None
    said: list[int] = []
    calm, is_open = 0, False
    for number, look in enumerate(looks):
        if agreement is None:
            rule = Rule().of_flames() if label == 0 else Rule()
            agreement = Agreement(rule, np.ones(look[label].shape, np.bool_))
        evidence = agreement.look(look[label] >= threshold, look.brightness)
        if not is_open and evidence.agreed >= START_SHARE and evidence.alive:
            said.append(number)
            calm, is_open = 0, True
        calm = calm + 1 if evidence.seen < STOP_SHARE else 0
        is_open = is_open and calm < EXIT_LOOKS
    return said


def choose_thresholds(calm: Sequence[Clip], photos: Sequence[FireLook]) -> FireThresholds:
    """The least, in fiftieths and from .3 on, at which no clip is an alarm and few single photos would begin one."""
    loud = [_loud(calm, photos, label) for label in range(len(CLASSES))]
    return _least(loud, range(len(calm)))


def _loud(calm: Sequence[Clip], photos: Sequence[FireLook], label: int) -> dict[float, list[int]]:
    """By threshold at which the photos are quiet: the alarms of each clip, all its beginnings together."""
    found = {}
    for threshold in (fiftieths / 50 for fiftieths in range(15, 50)):
        photo = np.mean([share(look, label, threshold) >= START_SHARE for look in photos])
        if photo <= _MOST_PHOTOS:
            found[threshold] = [sum(len(alarms(run, label, threshold)) for run in clip.runs) for clip in calm]
    return found


def _least(loud: Sequence[dict[float, list[int]]], places: Collection[int]) -> FireThresholds:
    """The thresholds at which those clips are quiet."""
    fire, smoke = (
        next((one for one, counts in found.items() if not any(counts[at] for at in places)), 0.98)
        for found in loud
    )
    return FireThresholds(fire=fire, smoke=smoke)


def left_out_alarms(calm: Sequence[Clip], photos: Sequence[FireLook]) -> int:
    """What choosing the thresholds hides: alarms on footage as it was taken where all the other videos choose them."""
    loud = [_loud(calm, photos, label) for label in range(len(CLASSES))]
    count = 0
    for clip in calm:
        if clip.kind == STREETS:
            chosen = _least(loud, [at for at, other in enumerate(calm) if other.name != clip.name])
            count += clip.most(partial(_raised, limits=(chosen.fire, chosen.smoke)))
    return count


@dataclass(frozen=True, slots=True)
class Video:
    """One held-out video of the data set.

    Attributes:
        group: its name there.
        frames: that show fire or smoke.
        found: share of these in which a single look calls something fire or smoke.
        reported: after how many of its frames, taken as looks in a row, the scene says something; None for never, or
            when there are too few of them.
    """

    group: str
    frames: int
    found: float
    reported: int | None


@dataclass(frozen=True, slots=True)
class Quiet:
    """Footage in which nothing burns: one video as it is, or all of them changed in one way.

    Attributes:
        name: of the file, or of the change.
        hours: that it lasts.
        alarms: that a scene raises, from the beginning that raises most.
    """

    name: str
    hours: float
    alarms: int


@dataclass(frozen=True, slots=True)
class FireFigures:
    """What was counted at the shipped thresholds.

    Attributes:
        recall: mean over held-out videos of the share of burning frames that a single look finds.
        long: the same over those that are videos at all, ``LONG`` burning frames or more, and how many these are.
        sure: the same without the frames whose label is wrong to the eye, and of how many videos.
        fire, smoke: the same for frames with fire, and with smoke, each by its own threshold.
        videos: each.
        normal: of held-out frames where nothing burns, the share called burning in a single look.
        calm_frames: how many these are; calm_alarms: what a scene says of them, each video's taken as looks in a row.
        doll_house: of looks at a video whose every frame burns, the share that finds fire or smoke.
        doll_house_s: seconds until a scene reports either, for each beginning; infinite where none does.
        streets: each video where nothing burns, as it is; changed: all of them, for each change.
        left_out: alarms on them as they are, each video at thresholds chosen without it.
        photos: of single photos, the share called burning in a single look.
    """

    recall: Figure
    long: tuple[Figure, int]
    sure: tuple[Figure, int]
    fire: Figure
    smoke: Figure
    videos: list[Video]
    normal: float
    calm_frames: int
    calm_alarms: int
    doll_house: float
    doll_house_s: list[float]
    streets: list[Quiet]
    changed: list[Quiet]
    left_out: int
    photos: float

    @property
    def hours(self) -> float:
        """Of footage as it is."""
        return sum(one.hours for one in self.streets)

    @property
    def alarms(self) -> int:
        """On footage as it is."""
        return sum(one.alarms for one in self.streets)

    @property
    def at_most(self) -> float:
        """Alarms per camera-hour that so much footage does not exclude, with 95 % confidence."""
        return upper_limit(self.alarms) / self.hours

    @property
    def reached(self) -> int:
        """In how many videos as many burning frames are found as are asked for on the mean of all."""
        return sum(video.found >= LEAST_RECALL for video in self.videos)

    @property
    def reported(self) -> tuple[int, int]:
        """Of the videos long enough, how many the scene reports, and how many there are."""
        long = [video for video in self.videos if video.frames >= LONG]
        return sum(video.reported is not None for video in long), len(long)


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """Everything looked at, with what the model made of it."""

    frames: list[tuple[Scene, FireLook]]
    calm: list[Clip]
    photos: list[FireLook]
    burning: Clip
    changed: list[Clip]


def watch(data: Path, segmenter: Looker, *, as_taken: bool = False) -> Watched:
    """Look at everything; ``as_taken`` leaves out what was darkened or changed by machine."""
    scenes = read_scenes(data / FRAMES)
    judged = judged_groups(scenes)
    shown = sorted((scene for scene in scenes if scene.group in judged), key=lambda scene: scene.place)
    return Watched(
        [(scene, segmenter.look(read_picture(scene.picture))) for scene in shown],
        list(clips(data, segmenter, (STREETS,) if as_taken else (STREETS, NIGHTS))),
        [segmenter.look(photo) for photo in calm_photos(data)],
        burning_clip(data, segmenter),
        [] if as_taken else list(changed_clips(data, segmenter)),
    )


def figures(watched: Watched, thresholds: FireThresholds, rounds: int = 1000) -> FireFigures:
    """Count what was said."""
    limits = (thresholds.fire, thresholds.smoke)
    by_kind: dict[str, list[Quiet]] = defaultdict(list)
    for clip in [*watched.calm, *watched.changed]:
        raised = clip.most(lambda run: _raised(run, limits))
        by_kind[clip.kind].append(Quiet(clip.name, clip.seconds / 3600, raised))
    streets = by_kind.pop(STREETS, [])
    normal = [look for scene, look in watched.frames if not scene.boxes]
    sure = [one for one in watched.frames if one[0].picture.stem not in DOUBTFUL]
    length = Counter(scene.group for scene, _ in watched.frames if scene.boxes)
    long = [one for one in watched.frames if length[one[0].group] >= LONG]
    house = [look for run in watched.burning.runs for look in run]
    return FireFigures(
        _recall(watched.frames, limits, (0, 1), rounds),
        (_recall(long, limits, (0, 1), rounds), sum(count >= LONG for count in length.values())),
        (_recall(sure, limits, (0, 1), rounds), len({scene.group for scene, _ in sure if scene.boxes})),
        _recall(watched.frames, limits, (0,), rounds),
        _recall(watched.frames, limits, (1,), rounds),
        list(_videos(watched, limits)),
        _share_called(normal, limits),
        len(normal),
        sum(_raised(run, limits) for run in _calm_runs(watched)),
        _share_called(house, limits),
        [_first(run, limits) for run in watched.burning.runs],
        streets,
        [
            Quiet(kind, sum(one.hours for one in videos), sum(one.alarms for one in videos))
            for kind, videos in by_kind.items()
        ],
        left_out_alarms(watched.calm, watched.photos),
        _share_called(watched.photos, limits),
    )


def _calm_runs(watched: Watched) -> Iterator[list[FireLook]]:
    """Held-out frames where nothing burns, by video."""
    by_group: dict[str, list[FireLook]] = defaultdict(list)
    for scene, look in watched.frames:
        if not scene.boxes:
            by_group[scene.group].append(look)
    yield from by_group.values()


def _first(run: Sequence[FireLook], limits: tuple[float, float]) -> float:
    """Seconds until either is reported."""
    said = [number for label, limit in enumerate(limits) for number in alarms(run, label, limit)[:1]]
    return min(said) * EVERY_MS / 1000 if said else math.inf


def _raised(run: Sequence[FireLook], limits: tuple[float, float]) -> int:
    return sum(len(alarms(run, label, limit)) for label, limit in enumerate(limits))


def _found(look: FireLook, labels: Iterable[int], limits: tuple[float, float]) -> bool:
    return any(share(look, label, limits[label]) >= START_SHARE for label in labels)


def _share_called(looks: Sequence[FireLook], limits: tuple[float, float]) -> float:
    return float(np.mean([_found(look, (0, 1), limits) for look in looks])) if looks else float("nan")


def _recall(
    frames: Iterable[tuple[Scene, FireLook]],
    limits: tuple[float, float],
    labels: tuple[int, ...],
    rounds: int,
) -> Figure:
    """By video first, so that a long one counts as much as a short one, then the mean."""
    by_group: dict[str, list[bool]] = defaultdict(list)
    for scene, look in frames:
        if any(scene.shows(label) for label in labels):
            by_group[scene.group].append(_found(look, labels, limits))
    if not by_group:
        return Figure(math.nan, math.nan, math.nan)
    means = np.array([float(np.mean(found)) for found in by_group.values()])

    def measure(at: NDArray[np.intp]) -> float:
        return float(means[at].mean())

    return bootstrapped(list(by_group), measure, rounds)


def _videos(watched: Watched, limits: tuple[float, float]) -> Iterator[Video]:
    by_group: dict[str, list[FireLook]] = defaultdict(list)
    for scene, look in watched.frames:
        if scene.boxes:
            by_group[scene.group].append(look)
    for group, looks in by_group.items():
        found = float(np.mean([_found(look, (0, 1), limits) for look in looks]))
        said = [one for label, limit in enumerate(limits) for one in alarms(looks, label, limit)[:1]]
        late = min(said) + 1 if said and len(looks) >= LONG else None
        yield Video(group, len(looks), found, late)


def upper_limit(count: int) -> float:
    """With 95 % confidence the mean of a Poisson count is at most this.

    Source: Garwood, 1936 (exact limits); found by bisection on the distribution function.
    """
    low, high = 0.0, 3.0 + 3.0 * (count + 1)
    for _ in range(60):
        mean = (low + high) / 2
        below = sum(math.exp(-mean) * mean**number / math.factorial(number) for number in range(count + 1))
        low, high = (mean, high) if below > 0.05 else (low, mean)
    return high
