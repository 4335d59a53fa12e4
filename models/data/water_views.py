"""Roads and compositions as the water model is shown them: parts of pictures, other cameras, cells. No torch here."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.train.augment import compressed, noisy, recoloured

WIDTH: Final = 256
HEIGHT: Final = 144
"""Pixels of the network's input: pictures are stretched to it."""
STRIDE: Final = 4
"""Pixels of the input for each cell of the answer."""


def seen_elsewhere(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A part of the picture, now and then mirrored; both at the network's size."""
    height, width = mask.shape
    across, down = (int(side * rng.uniform(0.6, 1.0)) for side in (width, height))
    left, top = int(rng.integers(0, width - across + 1)), int(rng.integers(0, height - down + 1))
    part = picture[top : top + down, left : left + across]
    inside = mask[top : top + down, left : left + across].astype(np.uint8)
    part = np.asarray(cv2.resize(part, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)
    inside = np.asarray(cv2.resize(inside, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST), np.uint8)
    if rng.random() < 0.5:
        part, inside = np.ascontiguousarray(part[:, ::-1]), np.ascontiguousarray(inside[:, ::-1])
    return part, inside > 0


def by_another_camera(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The same by another sensor and over another network; the hour and the weather are composed before."""
    if rng.random() < 0.5:
        picture = recoloured(picture, rng)
    if rng.random() < 0.3:
        small = cv2.resize(picture, None, fx=rng.uniform(0.4, 0.9), fy=rng.uniform(0.4, 0.9))
        picture = np.asarray(cv2.resize(small, (picture.shape[1], picture.shape[0])), np.uint8)
    if rng.random() < 0.4:
        picture = noisy(picture, rng)
    if rng.random() < 0.5:
        picture = compressed(picture, rng)
    return picture


def cells(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The share of each cell that a mask of the input's size covers."""
    size = (WIDTH // STRIDE, HEIGHT // STRIDE)
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)
