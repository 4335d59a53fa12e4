"""Fire and smoke on cameras: ``fire-smoke``, labels as YOLO text, groups of frames of one video."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.runtime.errors import InvalidError

CLASSES: Final = ("fire", "smoke")
#: The data set's label 1 is a normal scene, drawn round the whole picture: it says that there is neither.
_LABELS: Final = {0: 0, 2: 1}


@dataclass(frozen=True, slots=True)
class Scene:
    """One labelled frame.

    Attributes:
        picture: the file.
        group: frames of one video share it; it never stands on both sides of a split.
        boxes: (class, left, top, right, bottom) as shares of the picture; none on a normal scene.
    """

    picture: Path
    group: str
    boxes: tuple[tuple[int, float, float, float, float], ...]


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
            Scene(pictures[row["file"]], row["group"], _boxes(directory / "labels" / f"{row['file']}.txt"))
            for row in csv.DictReader(file)
        ]


def _boxes(labels: Path) -> tuple[tuple[int, float, float, float, float], ...]:
    boxes = []
    for line in labels.read_text(encoding="utf-8").splitlines():
        label, *shares = line.split()
        if int(label) in _LABELS:
            x, y, across, down = (float(share) for share in shares)
            boxes.append((_LABELS[int(label)], x - across / 2, y - down / 2, x + across / 2, y + down / 2))
    return tuple(boxes)
