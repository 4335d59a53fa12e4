"""Dry roads: pictures and where the road is in them, as a road segmenter sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.riders import read_picture
from models.runtime import open_session

_ROAD, _MARK = 1, 3
_LEAST_ROAD = 0.12


@dataclass(frozen=True, slots=True, eq=False)
class Road:
    """One dry road.

    Attributes:
        picture: uint8 BGR.
        road: bool, where one may drive or walk; parked cars and people are no part of it.
        name: of the file it comes from.
    """

    picture: NDArray[np.uint8]
    road: NDArray[np.bool_]
    name: str


def read_roads(pictures: Iterable[Path], segmenter: Path, width: int, height: int) -> Iterator[Road]:
    """Those of the pictures that show enough road, at the size asked for.

    Args:
        pictures: photos, or videos of which one frame in fifty is taken.
        segmenter: ``road-segmentation-adas-0001`` (Open Model Zoo, Apache-2.0) as ONNX, BGR 512x896 to
            background, road, kerb, mark.
        width: of the answers.
        height: of the answers.
    """
    session = open_session(segmenter, threads=2)
    name = session.get_inputs()[0].name
    for path in pictures:
        for frame in frames_of(path):
            small = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            wide = cv2.resize(frame, (896, 512)).astype(np.float32)[None]
            label = session.run(None, {name: wide})[0][0].argmax(axis=-1)
            found = ((label == _ROAD) | (label == _MARK)).astype(np.uint8)
            whole = cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST)
            whole = cv2.morphologyEx(whole, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
            if whole.mean() >= _LEAST_ROAD:
                yield Road(small, np.asarray(whole, np.uint8) > 0, path.name)


def frames_of(path: Path, every: int = 50) -> Iterator[NDArray[np.uint8]]:
    """The photo itself, or one in so many frames of a video."""
    if path.suffix.lower() in {".jpg", ".jpeg", ".png"}:
        yield read_picture(path)
        return
    video = cv2.VideoCapture(str(path))
    number = 0
    while True:
        read, frame = video.read()
        if not read:
            break
        if number % every == 0:
            yield np.asarray(frame, np.uint8)
        number += 1
    video.release()
