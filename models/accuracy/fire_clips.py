"""What the fire model is looked at with besides its own data set: footage without fire, and one burning doll's house."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from common.runtime.errors import InvalidError
from models.accuracy.fire_changes import CHANGES
from models.data.riders import read_picture
from models.data.water import after_dark
from models.data.water_split import names_of
from models.fire import FireLook

EVERY_MS: Final = 2000
"""Between two looks, as the scene's configuration ships."""
STREETS: Final = "as it was taken"
NIGHTS: Final = "darkened, with lamps, rain and glare"
_VIDEOS: Final = (
    "video/vtest.avi",
    "video/bikes.mp4",
    "video/intel/car-detection.mp4",
    "video/intel/one-by-one-person-detection.mp4",
    "video/intel/person-bicycle-car-detection.gif",
)
_BURNING: Final = "video/furg-fire/house6.mp4"
#: The same footage is looked at so many times, each time begun a little later.
_BEGINNINGS: Final = 4
_CHANGED_BEGINNINGS: Final = 2
_STILL_FROM: Final = 25
"""Pictures whose median is what a place mostly looks like."""
_SHORTEST_SIDE: Final = 240


class Looker(Protocol):
    """Whatever says where something burns: the model that ships, or one that it is held against."""

    def look(self, picture: NDArray[np.uint8]) -> FireLook:
        """What is seen in a uint8 BGR picture of any size."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One video as the model sees it.

    Attributes:
        name: of its file.
        kind: ``STREETS``, ``NIGHTS`` or the name of a change.
        seconds: that it lasts.
        runs: looks ``EVERY_MS`` apart, for each beginning.
    """

    name: str
    kind: str
    seconds: float
    runs: list[list[FireLook]]

    def most(self, count: Callable[[list[FireLook]], int]) -> int:
        """Of whatever is counted, the most in any run."""
        return max((count(run) for run in self.runs), default=0)


def clips(data: Path, segmenter: Looker, kinds: Collection[str] = (STREETS, NIGHTS)) -> Iterator[Clip]:
    """All footage at hand in which nothing burns, and the same after dark."""
    for name in _VIDEOS:
        for kind in kinds:
            yield _clip(data, name, segmenter, kind)


def changed_clips(data: Path, segmenter: Looker) -> Iterator[Clip]:
    """The same footage, changed in each of the ways of ``fire_changes``."""
    for name in _VIDEOS:
        taken = [
            (second, _small(frame))
            for second, frame in frames(data / name, EVERY_MS / 1000 / _CHANGED_BEGINNINGS)
        ]
        some = np.stack([picture for _, picture in taken[:: max(1, len(taken) // _STILL_FROM)]])
        still = np.median(some, axis=0).astype(np.uint8)
        for number, (kind, made) in enumerate(CHANGES.items()):
            change = made(still, sum(name.encode()) + number)
            runs: list[list[FireLook]] = [[] for _ in range(_CHANGED_BEGINNINGS)]
            for place, (second, picture) in enumerate(taken):
                runs[place % _CHANGED_BEGINNINGS].append(segmenter.look(change(picture, second)))
            yield Clip(name, kind, taken[-1][0], runs)


def burning_clip(data: Path, segmenter: Looker) -> Clip:
    """A video in which every frame burns."""
    return _clip(data, _BURNING, segmenter, STREETS)


def calm_photos(data: Path) -> Iterator[NDArray[np.uint8]]:
    """Streets that no training of this model sees, and photos of anything."""
    riders = data / "helmet-riders"
    held_out = {name for name, _ in names_of(riders, judged=True)}
    for path in sorted((riders / "images").iterdir()):
        if path.stem in held_out:
            yield read_picture(path)
    for path in sorted((data / "photos" / "coco100").glob("*.jpg")):
        yield read_picture(path)


def _clip(data: Path, name: str, segmenter: Looker, kind: str) -> Clip:
    runs: list[list[FireLook]] = [[] for _ in range(_BEGINNINGS)]
    seconds = 0.0
    # The same lamps in every frame, and other ones in every video.
    seed = sum(name.encode())
    for seconds, frame in frames(data / name, EVERY_MS / 1000 / _BEGINNINGS):
        shown = after_dark(_small(frame), np.random.default_rng(seed)) if kind == NIGHTS else frame
        number = round(seconds * 1000 * _BEGINNINGS / EVERY_MS)
        runs[number % _BEGINNINGS].append(segmenter.look(shown))
    return Clip(name, kind, seconds, runs)


def frames(path: Path, every_s: float) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Frames of a video about ``every_s`` apart, each with its time in seconds.

    Raises:
        InvalidError: ``dataset.missing`` when the file holds no picture.
    """
    video = cv2.VideoCapture(str(path))
    rate = video.get(cv2.CAP_PROP_FPS) or 10.0
    number, due = 0, 0.0
    while True:
        read, frame = video.read()
        if not read:
            break
        if number / rate >= due - 1e-6:
            yield due, np.asarray(frame, np.uint8)
            due += every_s
        number += 1
    video.release()
    if not number:
        raise InvalidError(
            "dataset.missing", f"expected a video at {path}, found none", "copy the data again"
        )


def _small(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As large as lamps are painted for."""
    scale = _SHORTEST_SIDE / min(frame.shape[:2])
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
