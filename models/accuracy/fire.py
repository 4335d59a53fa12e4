"""The fire model on videos it never saw, single frames and looks in a row, and on everything at hand that burns not."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.accuracy.figures import Figure, bootstrapped
from models.accuracy.fire_clips import EVERY_MS, NIGHTS, STREETS, Clip, burning_clip, calm_photos, clips
from models.burning import EXIT_LOOKS, START_SHARE, STOP_SHARE, Agreement, Rule
from models.data.flames import CLASSES, Scene, judged_groups, read_scenes
from models.data.riders import read_picture
from models.fire import FireLook, FireSegmenter
from models.manifest import FireManifest, FireThresholds
from models.store import open_as

NAME: Final = "fire"
DATA: Final = Path("data")
"""Below the directory of shared data."""
FRAMES: Final = Path("fire-smoke")
_LEAST_RECALL: Final = 0.7
_MOST_FALSE: Final = 1.0
"""False alarms in a camera's hour."""
_LONG: Final = 4
"""Burning frames that a video needs for looks in a row."""
_MOST_PHOTOS: Final = 0.03
"""Of single photos in which nothing burns, so many may be called burning when a threshold is chosen."""


def share(look: FireLook, label: int, threshold: float) -> float:
    """Of the picture, in a single look, what is called fire (0) or smoke (1)."""
    return float((look[label] >= threshold).mean())


def alarms(looks: Iterable[FireLook], label: int, threshold: float) -> list[int]:
    """At which looks a scene with the shipped configuration, watching all of the picture, says that it starts."""
    agreement: Agreement | None = None
    said: list[int] = []
    calm, is_open = 0, False
    for number, look in enumerate(looks):
        if agreement is None:
            agreement = Agreement(Rule(), np.ones(look[label].shape, np.bool_))
        evidence = agreement.look(look[label] >= threshold, look.brightness)
        if not is_open and evidence.agreed >= START_SHARE and evidence.alive:
            said.append(number)
            calm, is_open = 0, True
        calm = calm + 1 if evidence.seen < STOP_SHARE else 0
        is_open = is_open and calm < EXIT_LOOKS
    return said


def choose_thresholds(calm: Sequence[Clip], photos: Sequence[FireLook]) -> FireThresholds:
    """The least, in fiftieths and from .3 on, at which no clip is an alarm and few single photos would begin one."""
    found = []
    for label in range(len(CLASSES)):
        for fiftieths in range(15, 50):
            threshold = fiftieths / 50
            photo = np.mean([share(look, label, threshold) >= START_SHARE for look in photos])
            quiet = photo <= _MOST_PHOTOS
            if quiet and not any(alarms(run, label, threshold) for clip in calm for run in clip.runs):
                break
        found.append(min(threshold, 0.98))
    return FireThresholds(fire=found[0], smoke=found[1])


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
class FireFigures:
    """What was counted at the shipped thresholds.

    Attributes:
        recall: mean over held-out videos of the share of burning frames that a single look finds.
        fire, smoke: the same for frames with fire, and with smoke, each by its own threshold.
        videos: each.
        normal: of held-out frames where nothing burns, the share called burning in a single look.
        calm_frames: how many these are; calm_alarms: what a scene says of them, each video's taken as looks in a row.
        doll_house: of looks at a video whose every frame burns, the share that finds fire or smoke.
        doll_house_s: seconds until a scene reports either, for each beginning; infinite where none does.
        hours: of footage where nothing burns; alarms: on it; at_most: per hour, with 95 % confidence.
        nights: alarms on the same darkened; photos: of single photos, the share called burning in a single look.
    """

    recall: Figure
    fire: Figure
    smoke: Figure
    videos: list[Video]
    normal: float
    calm_frames: int
    calm_alarms: int
    doll_house: float
    doll_house_s: list[float]
    hours: float
    alarms: int
    at_most: float
    nights: int
    photos: float

    @property
    def reached(self) -> int:
        """In how many videos as many burning frames are found as are asked for on the mean of all."""
        return sum(video.found >= _LEAST_RECALL for video in self.videos)

    @property
    def reported(self) -> tuple[int, int]:
        """Of the videos long enough, how many the scene reports, and how many there are."""
        long = [video for video in self.videos if video.frames >= _LONG]
        return sum(video.reported is not None for video in long), len(long)


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """Everything looked at, with what the model made of it."""

    frames: list[tuple[Scene, FireLook]]
    calm: list[Clip]
    photos: list[FireLook]
    burning: Clip


def watch(data: Path, segmenter: FireSegmenter) -> Watched:
    """Look at everything."""
    scenes = read_scenes(data / FRAMES)
    judged = judged_groups(scenes)
    shown = sorted((scene for scene in scenes if scene.group in judged), key=lambda scene: scene.place)
    return Watched(
        [(scene, segmenter.look(read_picture(scene.picture))) for scene in shown],
        list(clips(data, segmenter)),
        [segmenter.look(photo) for photo in calm_photos(data)],
        burning_clip(data, segmenter),
    )


def figures(watched: Watched, thresholds: FireThresholds, rounds: int = 1000) -> FireFigures:
    """Count what was said."""
    limits = (thresholds.fire, thresholds.smoke)
    streets = [clip for clip in watched.calm if clip.kind == STREETS]
    hours = sum(clip.seconds for clip in streets) / 3600
    raised = sum(clip.most(lambda run: _raised(run, limits)) for clip in streets)
    normal = [look for scene, look in watched.frames if not scene.boxes]
    house = [look for run in watched.burning.runs for look in run]
    return FireFigures(
        _recall(watched, limits, (0, 1), rounds),
        _recall(watched, limits, (0,), rounds),
        _recall(watched, limits, (1,), rounds),
        list(_videos(watched, limits)),
        _share_called(normal, limits),
        len(normal),
        sum(_raised(run, limits) for run in _calm_runs(watched)),
        _share_called(house, limits),
        [_first(run, limits) for run in watched.burning.runs],
        hours,
        raised,
        _upper(raised) / hours,
        sum(clip.most(lambda run: _raised(run, limits)) for clip in watched.calm if clip.kind == NIGHTS),
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


def _recall(watched: Watched, limits: tuple[float, float], labels: tuple[int, ...], rounds: int) -> Figure:
    """By video first, so that a long one counts as much as a short one, then the mean."""
    by_group: dict[str, list[bool]] = defaultdict(list)
    for scene, look in watched.frames:
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
        late = min(said) + 1 if said and len(looks) >= _LONG else None
        yield Video(group, len(looks), found, late)


def _upper(count: int) -> float:
    """With 95 % confidence the mean of a Poisson count is at most this.

    Source: Garwood, 1936 (exact limits); found by bisection on the distribution function.
    """
    low, high = 0.0, 3.0 + 3.0 * (count + 1)
    for _ in range(60):
        mean = (low + high) / 2
        below = sum(math.exp(-mean) * mean**number / math.factorial(number) for number in range(count + 1))
        low, high = (mean, high) if below > 0.05 else (low, mean)
    return high


@dataclass(frozen=True, slots=True)
class FireReport:
    """What was measured."""

    manifest: FireManifest
    counted: FireFigures

    def figures(self) -> dict[str, object]:
        """What `--json` prints."""
        return asdict(self.counted)

    def shortfalls(self) -> list[str]:
        """Of the limits that a release has to keep."""
        counted = self.counted
        said = []
        if not counted.recall.value >= _LEAST_RECALL:
            said.append(f"recall by video {counted.recall.value:.3f} < {_LEAST_RECALL}")
        said += [
            f"recall of {video.group} {video.found:.3f} < {_LEAST_RECALL}"
            for video in counted.videos
            if video.frames >= _LONG and video.found < _LEAST_RECALL
        ]
        if counted.calm_alarms:
            said.append(f"{counted.calm_alarms} alarms on held-out frames where nothing burns")
        if not counted.alarms / counted.hours <= _MOST_FALSE:
            said.append(
                f"{counted.alarms / counted.hours:.1f} false alarms per camera-hour > {_MOST_FALSE:g}"
            )
        return said

    def table(self) -> str:
        """As Markdown."""
        counted, limits = self.counted, self.manifest.thresholds
        said, long = counted.reported
        burning = sorted(counted.videos, key=lambda video: (-video.frames, video.group))
        late = ", ".join("never" if math.isinf(one) else f"{one:.0f} s" for one in counted.doll_house_s)
        lines = [
            f"Fire from {limits.fire} on, smoke from {limits.smoke} on: the least thresholds at which nothing on the "
            "footage without fire",
            "is an alarm (three looks two seconds apart that agree on 0.3 % of the picture, and that flicker, drift or "
            f"grow). Weights: sha256 {self.manifest.sha256[:16]}….",
            "",
            f"| held-out videos | {len(counted.videos)} |",
            "|---|---|",
            f"| burning frames found in a single look, mean over videos (limit: at least .7) | {counted.recall} |",
            f"| videos in which at least .7 of them are found (limit: every one of {_LONG} frames or more) "
            f"| {counted.reached} of {len(counted.videos)} |",
            f"| frames with fire, found as fire | {counted.fire} |",
            f"| frames with smoke, found as smoke | {counted.smoke} |",
            f"| frames where nothing burns, called burning in a single look | {counted.normal:.1%} |",
            f"| videos of {_LONG} burning frames or more that the scene reports | {said} of {long} |",
            f"| a burning doll's house (30 s): looks that find fire or smoke | {counted.doll_house:.1%} |",
            f"| the same: a scene reports it after, for four beginnings | {late} |",
            "",
            "| held-out video | burning frames | found in a single look | reported after frames |",
            "|---|---|---|---|",
            *(
                f"| {video.group} | {video.frames} | {video.found:.0%} | "
                f"{(video.reported or 'never') if video.frames >= _LONG else 'too few'} |"
                for video in burning
            ),
            "",
            "| where nothing burns | |",
            "|---|---|",
            f"| street and indoor footage | {counted.hours * 60:.1f} minutes |",
            f"| alarms on it (limit: at most 1 an hour) | {counted.alarms} |",
            f"| per camera-hour, with 95 % confidence at most | {counted.at_most:.0f} |",
            f"| alarms on the same, darkened, with lamps, rain and glare | {counted.nights} |",
            f"| alarms on the {counted.calm_frames} held-out frames where nothing burns, by video taken as looks in a row "
            f"(limit: none) | {counted.calm_alarms} |",
            f"| street photos called burning in a single look | {counted.photos:.1%} |",
        ]
        return "\n".join(lines)


def measure(
    data: Path, directory: Path | None = None, *, everything: bool = False, rounds: int = 1000
) -> FireReport:
    """Open the model, look at the held-out videos and at all that does not burn, and count.

    Args:
        data: the folder that holds ``fire-smoke``, ``video``, ``helmet-riders`` and ``photos``.
        directory: where another ``fire`` lies than the one that ships.
        everything: without meaning here: a figure on what was learnt is none.
        rounds: of the bootstrap.

    Raises:
        InvalidError: ``dataset.missing`` or what ``open_as`` raises.
    """
    del everything
    model = open_as(FireManifest, NAME, directory)
    watched = watch(data, FireSegmenter(model, threads=2))
    return FireReport(model.manifest, figures(watched, model.manifest.thresholds, rounds))
