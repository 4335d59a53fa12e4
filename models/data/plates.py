"""Number plates drawn over photos: China's colours are not on the streets that are learnt from, nor plates of cars."""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


class _Kind(NamedTuple):
    """Millimetres across and down, ground at the top and at the bottom, ink (all BGR), rows of signs."""

    across: int
    down: int
    top: tuple[int, int, int]
    bottom: tuple[int, int, int]
    ink: tuple[int, int, int]
    rows: tuple[int, ...]


#: After GA 36-2018 (cars, new energy, large vehicles, motorcycles) and the local plates of electric bicycles, which
#: are white with blue, green or red.
KINDS: Final = {
    "blue": _Kind(440, 140, (160, 70, 10), (160, 70, 10), (245, 245, 245), (7,)),
    "green": _Kind(480, 140, (225, 235, 215), (120, 190, 60), (25, 25, 25), (8,)),
    "yellow": _Kind(440, 140, (20, 170, 240), (20, 170, 240), (20, 20, 20), (7,)),
    "yellow rear": _Kind(440, 220, (20, 170, 240), (20, 170, 240), (20, 20, 20), (2, 5)),
    "motorcycle": _Kind(220, 140, (20, 170, 240), (20, 170, 240), (20, 20, 20), (2, 5)),
    "bicycle": _Kind(220, 120, (240, 240, 240), (240, 240, 240), (150, 60, 20), (3, 6)),
    "bicycle green": _Kind(220, 120, (240, 245, 240), (240, 245, 240), (70, 130, 20), (3, 6)),
    "white": _Kind(440, 140, (235, 235, 235), (235, 235, 235), (20, 20, 20), (7,)),
}
_SIGNS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"


def drawn(kind: str, rng: np.random.Generator) -> Picture:
    """A plate from straight ahead, a pixel for each millimetre; its first sign is a province's, strokes at random."""
    across, down, top, bottom, ink, rows = KINDS[kind]
    blend = np.linspace(0, 1, down)[:, None, None]
    ground = np.asarray(top) * (1 - blend) + np.asarray(bottom) * blend
    plate = np.ascontiguousarray(np.broadcast_to(ground, (down, across, 3)).astype(np.uint8))
    cv2.rectangle(plate, (4, 4), (across - 5, down - 5), ink, 3)
    high = (down - 24) // len(rows)
    for row, many in enumerate(rows):
        wide = (across - 28) / many
        for place in range(many):
            left, foot = round(14 + place * wide), 12 + (row + 1) * high
            if row == place == 0:
                _strokes(plate, (left, foot - high), (round(wide), high), ink, rng)
                continue
            sign = _SIGNS[int(rng.integers(len(_SIGNS)))]
            scale = min(wide / 22, high / 30)
            cv2.putText(
                plate,
                sign,
                (left, foot - high // 6),
                cv2.FONT_HERSHEY_SIMPLEX,
                scale,
                ink,
                max(2, round(scale * 3)),
                cv2.LINE_AA,
            )
    return plate


def _strokes(
    plate: Picture,
    corner: tuple[int, int],
    size: tuple[int, int],
    ink: tuple[int, int, int],
    rng: np.random.Generator,
) -> None:
    for _ in range(7):
        one, other = (
            (
                corner[0] + int(rng.uniform(0.1, 0.85) * size[0]),
                corner[1] + int(rng.uniform(0.15, 0.85) * size[1]),
            )
            for _ in range(2)
        )
        straight = (other[0], one[1]) if rng.random() < 0.6 else (one[0], other[1])
        cv2.line(plate, one, straight, ink, max(2, size[1] // 14), cv2.LINE_AA)


def put_over(
    photo: Picture, box: tuple[float, float, float, float], kind: str, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Draw a plate into a photo, in place, where another was: tilted a little, in its light, as sharp as its size allows.

    Args:
        photo: uint8 ``(height, width, 3)``, changed.
        box: left, top, right, bottom of the old plate in pixels; the new one covers it.
        kind: a key of ``KINDS``.
        rng: of everything random.

    Returns:
        The box of the new one, cut at the photo's border.
    """
    height, width = photo.shape[:2]
    left, top, right, bottom = box
    across, down = max(right - left, 4.0), max(bottom - top, 3.0)
    # A wider kind is not squeezed into a square: it grows sideways, as far as the old plate's height asks.
    across = max(across, min(down * KINDS[kind].across / KINDS[kind].down, 1.6 * across))
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    lean, turned = rng.uniform(-0.12, 0.12), rng.uniform(-0.12, 0.12, 2)
    corners = np.array(
        [
            [-0.5, -0.5 - lean - turned[0]],
            [0.5, -0.5 + lean - turned[1]],
            [0.5, 0.5 + lean + turned[1]],
            [-0.5, 0.5 - lean + turned[0]],
        ]
    )
    corners = corners * (across, down) + middle
    low = np.floor(corners.min(axis=0)).astype(int) - 2
    high = np.ceil(corners.max(axis=0)).astype(int) + 2
    size = high - low
    # Four times too large at first: what is small is mixed from many pixels, as in a lens.
    plate = cv2.resize(
        drawn(kind, rng), (max(8, round(across * 4)), max(6, round(down * 4))), interpolation=cv2.INTER_AREA
    )
    edge = np.array(
        [[0, 0], [plate.shape[1], 0], [plate.shape[1], plate.shape[0]], [0, plate.shape[0]]], np.float32
    )
    warp = cv2.getPerspectiveTransform(edge, ((corners - low) * 4).astype(np.float32))
    large = (int(size[0]) * 4, int(size[1]) * 4)
    shown = cv2.warpPerspective(plate, warp, large)
    solid = cv2.warpPerspective(np.full(plate.shape[:2], 255, np.uint8), warp, large)
    small = (int(size[0]), int(size[1]))
    layer = cv2.resize(shown, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    share = cv2.resize(solid, small, interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    first, last = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))
    part = photo[first[1] : last[1], first[0] : last[0]]
    if part.size:
        inside = slice(first[1] - low[1], last[1] - low[1]), slice(first[0] - low[0], last[0] - low[0])
        light = float(np.clip(part.mean() / 130, 0.35, 1.1)) * rng.uniform(0.85, 1.15)
        sight = cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.3, 0.9))[inside] * light
        part[:] = np.clip(part * (1 - share[inside]) + sight * share[inside], 0, 255).astype(np.uint8)
    low_x, low_y = np.clip(corners.min(axis=0), 0, (width, height)).tolist()
    high_x, high_y = np.clip(corners.max(axis=0), 0, (width, height)).tolist()
    return low_x, low_y, high_x, high_y
