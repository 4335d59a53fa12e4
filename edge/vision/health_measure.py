"""What can be measured of a picture to tell whether a camera sees; pure.

All of it is relative to a *view*: how this camera's picture usually looks, learnt from itself. Light changes a
street's brightness by a thousand times from noon to night, but edges of kerbs and houses stay where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.frame import Image

Plane = NDArray[np.float32]

_WIDTH: Final = 320
_COARSE: Final = (64, 48)
_CELLS: Final = (8, 6)
_FEWEST_CELLS: Final = 6
"""With something to see: fewer tell nothing of the lens."""

_TEXTURED: Final = 2.0
"""Mean gradient, in grey levels a pixel, from which a cell of the view counts as having something to see."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One picture, measured.

    Attributes:
        bright: grey level (0..255) that a twentieth of the picture exceeds.
        spread: between the darkest and the brightest twentieth.
        detail: mean fine gradient by cell, ``(6, 8)``.
        shape: the coarse picture with its light evened out, ``(48, 64)``, mean 0.
        print: of the picture's pixels: two pictures that share it are the same picture.
        focus: how much steeper its edges are than after smoothing, upper quartile of the cells that have any: about 2.5
            for what is sharp, nearing 0 the more it is blurred; nan where there are too few.
    """

    bright: float
    spread: float
    detail: Plane
    shape: Plane
    print: int
    focus: float


def look_at(image: Image) -> Look:
    """Measure a picture, uint8 ``(height, width, 3)`` of any size; about two milliseconds."""
    step = max(1, image.shape[1] // (2 * _WIDTH))
    green = np.ascontiguousarray(image[::step, ::step, 1])
    height = max(round(_WIDTH * image.shape[0] / image.shape[1]), _CELLS[1])
    grey = np.asarray(cv2.resize(green, (_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
    dark, bright = np.percentile(grey, (5, 95))
    fine = grey.astype(np.float32)
    across = cv2.absdiff(fine[:, 1:], fine[:, :-1])[1:]
    down = cv2.absdiff(fine[1:], fine[:-1])[:, 1:]
    detail = np.asarray(cv2.resize(across + down, _CELLS, interpolation=cv2.INTER_AREA), np.float32)
    coarse = np.asarray(cv2.resize(fine, _COARSE, interpolation=cv2.INTER_AREA), np.float32)
    return Look(
        float(bright), float(bright - dark), detail, _even(coarse), hash(grey.tobytes()), _focus(fine)
    )


def _focus(fine: Plane) -> float:
    """How sharp the edges are, whatever their contrast and their number.

    Smoothing flattens a sharp edge several times over and one that is out of focus hardly. A little of it first takes the
    grain away, and energies let the strong edges speak. The smooth pool of a lamp has hardly any after it, so it is not asked.
    """
    sharp, smooth = (_energy(np.asarray(cv2.GaussianBlur(fine, (0, 0), by), np.float32)) for by in (0.8, 3.0))
    seen = smooth >= 1.0
    if seen.sum() < _FEWEST_CELLS:
        return float("nan")
    return float(np.percentile(np.sqrt(sharp[seen] / smooth[seen]) - 1.0, 75))


def _energy(grey: Plane) -> Plane:
    """Mean square of the gradient by cell."""
    across, down = cv2.absdiff(grey[1:, 1:], grey[1:, :-1]), cv2.absdiff(grey[1:, 1:], grey[:-1, 1:])
    return np.asarray(
        cv2.resize(across * across + down * down, _CELLS, interpolation=cv2.INTER_AREA), np.float32
    )


def _even(coarse: Plane) -> Plane:
    """Take the slow part of the light away, and weigh what is left by how much of it there is around."""
    rest = coarse - cv2.blur(coarse, (17, 17))
    strength = np.sqrt(cv2.blur(rest * rest, (17, 17)))
    return np.asarray(rest / (strength + 4.0), np.float32)


def likeness(first: Plane, second: Plane) -> float:
    """How alike two shapes are: their correlation, -1..1; 0 when one is empty."""
    a, b = first - first.mean(), second - second.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / size) if size > 1e-6 else 0.0


def likeness_moved(view: Plane, shape: Plane, most: int = 14) -> tuple[float, tuple[int, int]]:
    """The greatest likeness when the picture is shifted, and the shift: cells of the coarse picture, x and y.

    Args:
        view: how it usually looks.
        shape: how it looks now, of the same size.
        most: no larger shift is tried, either way.
    """
    height, width = view.shape
    inner = shape[most : height - most, most : width - most]
    found = cv2.matchTemplate(view, inner, cv2.TM_CCOEFF_NORMED)
    _, best, _, (x, y) = cv2.minMaxLoc(found)
    return float(best), (most - x, most - y)


def detail_kept(view: Plane, view_spread: float, look: Look) -> tuple[float, float]:
    """Of the cells in which there usually is something to see: the median share of detail left, and how many of
    them (0..1) have lost nearly all. ``(1, 0)`` when there never is anything to see.

    Dim light takes contrast from the whole picture alike, which is no loss of detail.
    """
    seen = view >= _TEXTURED
    if seen.sum() < _FEWEST_CELLS:
        return 1.0, 0.0
    dimmed = min(max(look.spread / max(view_spread, 1.0), 0.05), 1.0)
    share = look.detail[seen] / (view[seen] * dimmed)
    return float(np.median(share)), float((share < 0.3).mean())
