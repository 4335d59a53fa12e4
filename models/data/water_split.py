"""Which roads the water model learns from and which it is judged on: no background is on both sides.

The roads are those of ``helmet-riders``. Its groups hold near-duplicates; but a third of its pictures with much road
come from one city's fixed cameras, and two pictures of one camera are no near-duplicates when other cars pass. So
three of these cameras, told by what stands still in their pictures, are judged on with all they show (one at night
as well), and the pictures of the others are learnt from.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from common.runtime.errors import InvalidError
from models.data.riders import held_out_groups, read_picture
from models.data.roads import Road, read_roads

#: How the file names of that city's cameras begin in the source.
_CITY: Final = "036_"
_CAMERAS: Final = {
    "camera-island": "a0244 a0277 a0291 a0292 a0324 a0325 a0342 a0355 a0357 a0359 a0362 a0844 a0861",
    "camera-columns": "a0245 a0251 a0263 a0271 a0275",
    "camera-pillar": "a0272 a0286 a0299 a0845",
}
_CAMERA_OF: Final = {name: camera for camera, names in _CAMERAS.items() for name in names.split()}
_SHARE, _SEED = 0.25, 7
#: Of the picture: less road than this is none to flood, and smaller pieces of it are no part of it.
_LEAST_ROAD, _LEAST_PART = 0.1, 0.03
WIDTH, HEIGHT = 400, 240
"""Pixels at which roads are kept: more than the network's input, so that parts of them can be taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """A road, and what it shares with others of the same place."""

    road: Road
    group: str


def roads_of(data: Path, segmenter: Path, *, judged: bool, only: str | None = None) -> list[Background]:
    """The roads of one side of the split, with the group that nothing on the other side is of.

    Args:
        data: the folder ``helmet-riders``.
        segmenter: see ``read_roads``.
        judged: the held-out side; the other is learnt from.
        only: one group of it.

    Raises:
        InvalidError: ``dataset.missing`` when the folder is not as ``models.data.riders`` says or the segmenter
            is not there.
    """
    if not segmenter.is_file():
        raise InvalidError(
            "dataset.missing",
            f"expected the road segmenter at {segmenter}, found nothing",
            "it is road-segmentation-adas-0001 of the Open Model Zoo as ONNX; lay it there",
        )
    sides = names_of(data, judged=judged)
    group_of = {name: group for name, group in sides if only in (None, group)}
    pictures = sorted(path for path in (data / "images").iterdir() if path.stem in group_of)
    roads = read_roads(pictures, segmenter, WIDTH, HEIGHT)
    tidy = (replace(road, road=drivable(road.road)) for road in roads)
    return [
        Background(road, group_of[Path(road.name).stem]) for road in tidy if road.road.mean() >= _LEAST_ROAD
    ]


def drivable(road: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What a person would draw as the drivable area: the large parts, without gaps between legs and wheels."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 9))
    wide = np.asarray(cv2.morphologyEx(road.astype(np.uint8), cv2.MORPH_OPEN, kernel), np.uint8)
    _, part, sizes, _ = cv2.connectedComponentsWithStats(wide, connectivity=4)
    large = sizes[:, cv2.CC_STAT_AREA] >= _LEAST_PART * road.size
    large[0] = False
    return np.asarray(large[part], np.bool_)


def names_of(data: Path, *, judged: bool) -> Iterator[tuple[str, str]]:
    """Names of one side's pictures with their groups; raises InvalidError ``dataset.missing``."""
    manifest = data / "manifest.csv"
    if not manifest.is_file():
        raise InvalidError(
            "dataset.missing",
            f"expected street pictures in {data}, found no {manifest.name}",
            "name the folder that holds images/ and manifest.csv",
        )
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    elsewhere = {row["group"] for row in rows if not row.get("source_name", "").startswith(_CITY)}
    held_out = held_out_groups(elsewhere, _SHARE, _SEED)
    # A near-duplicate of a held-out camera's picture is that camera's.
    cameras = {row["group"]: _CAMERA_OF[row["file"]] for row in rows if row["file"] in _CAMERA_OF}
    for row in rows:
        group = row["group"]
        if (group in cameras or group in held_out) == judged:
            yield row["file"], cameras.get(group, group)


def small_pictures(paths: list[Path]) -> list[NDArray[np.uint8]]:
    """Pictures at the size that roads are kept at."""
    size = (WIDTH, HEIGHT)
    return [
        np.asarray(cv2.resize(read_picture(path), size, interpolation=cv2.INTER_AREA), np.uint8)
        for path in paths
    ]
