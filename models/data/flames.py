"""Fire and smoke on cameras: ``fire-smoke``, labels as YOLO text, groups of frames of one video."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.runtime.errors import InvalidError

CLASSES: Final = ("fire", "smoke")
DOUBTFUL: Final = frozenset({"f0121"})
"""Frames whose label is wrong to the eye: a shop being robbed, called smoke from edge to edge, its neighbours normal."""
#: The data set's label 1 is a normal scene, drawn round the whole picture: it says that there is neither.
_LABELS: Final = {0: 0, 2: 1}


@dataclass(frozen=True, slots=True)
class Scene:
    """One labelled frame.

    Attributes:
        picture: the file.
        group: frames of one video share it; it never stands on both sides of a split.
        boxes: (class, left, top, right, bottom) as shares of the picture; none on a normal scene.
        place: of the frame in its video, to sort by: the video's name, then the frame's number.
    """

    picture: Path
    group: str
    boxes: tuple[tuple[int, float, float, float, float], ...]
    place: tuple[str, int] = ("", 0)

    def shows(self, label: int) -> bool:
        """Whether something of this class is drawn in it."""
        return any(box[0] == label for box in self.boxes)


def read_scenes(directory: Path) -> list[Scene]:
    """Every frame, in the manifest's order.

    Raises:
        InvalidError: ``dataset.missing`` when the folder holds no manifest.
    """
    manifest = directory / "manifest.csv"
    if not manifest.is_file():
        raise InvalidError(
            "dataset.missing",
            f"expected frames with labels in {directory}, found no {manifest.name}",
            "name the folder that holds images/, labels/ and manifest.csv",
        )
    pictures = {path.stem: path for path in (directory / "images").iterdir()}
    with manifest.open(newline="", encoding="utf-8") as file:
        return [
            Scene(
                pictures[row["file"]],
                row["group"],
                _boxes(directory / "labels" / f"{row['file']}.txt"),
                _place(row.get("source_name", "")),
            )
            for row in csv.DictReader(file)
        ]


def judged_groups(scenes: Iterable[Scene]) -> frozenset[str]:
    """The videos that training never sees: the second of every three, from the longest to the shortest.

    So long ones and short ones are on both sides; a third of the ten that hold most of the frames is judged on.
    """
    length = Counter(scene.group for scene in scenes)
    ordered = sorted(length, key=lambda group: (-length[group], group))
    return frozenset(ordered[1::3])


def _place(source_name: str) -> tuple[str, int]:
    """``fire2_mp4-28_jpg…`` is frame 28 of ``fire2_mp4``."""
    found = re.match(r"(.*?)[-_]?(\d+)_jpg", source_name)
    return (found.group(1), int(found.group(2))) if found else (source_name, 0)


def _boxes(labels: Path) -> tuple[tuple[int, float, float, float, float], ...]:
    boxes = []
    for line in labels.read_text(encoding="utf-8").splitlines():
        label, *shares = line.split()
        if int(label) in _LABELS:
            x, y, across, down = (float(share) for share in shares)
            boxes.append((_LABELS[int(label)], x - across / 2, y - down / 2, x + across / 2, y + down / 2))
    return tuple(boxes)
