"""Nights, rain and snow over a dry day's picture: what water has to be told from, and what it lies under.

Pictures here are *light*: float32 BGR ``(H, W, 3)`` where 255 is white to the camera and lamps are many times as
bright, so that what mirrors them is bright as well. Only the last step cuts them to what a camera can show.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Light = NDArray[np.float32]
Mask = NDArray[np.bool_]

_LAMP_COLOURS = ((110, 190, 255), (150, 215, 255), (225, 240, 255), (255, 250, 245))
_SIGN_COLOURS = ((60, 60, 255), (80, 255, 90), (255, 140, 60), (60, 180, 255), (220, 80, 255))


def nightfall(light: Light, road: Mask, rng: np.random.Generator) -> Light:
    """The same place after dark: little ambient light, pools below lamps, headlights, tail lights and signs."""
    height, width = road.shape
    ambient = float(rng.uniform(0.04, 0.3))
    tint = np.array([rng.uniform(0.7, 1.3), rng.uniform(0.8, 1.05), rng.uniform(0.8, 1.2)], np.float32)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    lit = np.broadcast_to(ambient * tint * (0.3 + 0.7 * np.clip(down * 3, 0, 1)), light.shape).copy()
    sources = np.zeros_like(light)
    for _ in range(int(rng.integers(0, 7))):
        colour = _colour(_LAMP_COLOURS, rng)
        x = float(rng.uniform(-0.1, 1.1)) * width
        y = float(rng.uniform(0.02, 0.5)) * height
        _disc(sources, x, y, float(rng.uniform(0.6, 3.0)), colour * float(rng.uniform(2, 12)))
        foot = y + float(rng.uniform(0.15, 0.6)) * height
        spread = float(rng.uniform(0.08, 0.35)) * width
        lit += _pool(road.shape, x, foot, spread, spread * float(rng.uniform(0.25, 0.6))) * (
            colour / 255 * float(rng.uniform(0.1, 0.9))
        )
    _vehicles(sources, lit, road, rng)
    for _ in range(int(rng.integers(0, 6))):
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0.02, 0.5) * height)
        across, deep = int(rng.uniform(2, 0.12 * width)), int(rng.uniform(1, 0.06 * height))
        colour = _colour(_SIGN_COLOURS, rng) * float(rng.uniform(0.6, 3))
        cv2.rectangle(sources, (x, y), (x + across, y + deep), [float(part) for part in colour], -1)
    halo = cv2.GaussianBlur(sources, (0, 0), float(rng.uniform(3, 9))) * float(rng.uniform(0.3, 1.2))
    contrast = float(rng.uniform(1.0, 1.5))
    dark: Light = 255 * (np.minimum(light, 255) / 255) ** contrast * lit + sources + halo
    # The camera opens up until it sees something.
    mean = float(np.minimum(dark, 255).mean())
    exposure = float(np.clip(rng.uniform(25, 80) / max(mean, 1.0), 1.0, 5.0))
    return np.asarray(dark * exposure, np.float32)


def _vehicles(sources: Light, lit: Light, road: Mask, rng: np.random.Generator) -> None:
    """Pairs of lights on whatever stands just above the road."""
    kernel = np.ones((max(3, road.shape[0] // 8), 1), np.uint8)
    fronts = (np.asarray(cv2.dilate(road.astype(np.uint8), kernel)) > 0) & ~road
    rows, columns = np.nonzero(fronts[road.shape[0] // 4 :])
    if not rows.size:
        return
    for _ in range(int(rng.integers(0, 6))):
        place = int(rng.integers(0, rows.size))
        y, x = float(rows[place] + road.shape[0] // 4), float(columns[place])
        near = y / road.shape[0]
        gap, size = near * float(rng.uniform(8, 34)), 0.5 + near * float(rng.uniform(0.5, 3))
        oncoming = rng.random() < 0.6
        colour = _colour(_LAMP_COLOURS[2:], rng) if oncoming else np.array([40, 40, 255], np.float32)
        strength = float(rng.uniform(4, 20)) if oncoming else float(rng.uniform(1, 5))
        for side in (x, x + gap) if rng.random() < 0.7 else (x,):
            _disc(sources, side, y, size, colour * strength)
        if oncoming:
            reach = near * float(rng.uniform(20, 70))
            pool = _pool(road.shape, x + gap / 2, y + reach * 0.6, reach * 0.8, reach * 0.5)
            lit += pool * (colour / 255 * float(rng.uniform(0.2, 1.2)))


def raining(light: Light, rng: np.random.Generator) -> Light:
    """Rain on its way down, mist before what is far, and now and then drops on the glass."""
    height, width = light.shape[:2]
    streaks = np.zeros((height, width), np.float32)
    slant = float(rng.uniform(-0.3, 0.3))
    for _ in range(int(rng.integers(20, 220))):
        x, y, long = rng.uniform(0, width), rng.uniform(-5, height), rng.uniform(3, 14)
        end = (int(x + slant * long), int(y + long))
        cv2.line(streaks, (int(x), int(y)), end, float(rng.uniform(0.2, 1.0)), 1, cv2.LINE_AA)
    level = float(np.minimum(light, 255).mean())
    bright = streaks[:, :, None] * (0.25 * level + 12) * float(rng.uniform(0.3, 1.5))
    mist = float(rng.uniform(0, 0.3)) * np.linspace(1, 0.2, height, dtype=np.float32)[:, None, None]
    fallen = light * (1 - mist) + level * mist + bright
    if rng.random() < 0.3:
        blurred = cv2.GaussianBlur(fallen, (0, 0), 4)
        drops = np.zeros((height, width), np.float32)
        for _ in range(int(rng.integers(2, 14))):
            centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
            cv2.circle(drops, centre, int(rng.uniform(2, 9)), 1.0, -1)
        drops = np.asarray(cv2.GaussianBlur(drops, (0, 0), 1.2), np.float32)
        fallen = fallen * (1 - drops[:, :, None]) + blurred * (
            drops[:, :, None] * float(rng.uniform(0.8, 1.2))
        )
    return np.asarray(fallen, np.float32)


def snowed(light: Light, road: Mask, noise: Light, rng: np.random.Generator) -> Light:
    """Snow lies on the ground, trodden and driven bare in places; ``noise`` is ``(H, W)`` of deviation 1."""
    cover = np.clip(noise * 0.6 + float(rng.uniform(-0.3, 1.0)), 0, 1)[:, :, None]
    inside = cv2.GaussianBlur(road.astype(np.float32), (0, 0), 1.5)[:, :, None]
    level = float(np.quantile(light, 0.9))
    white = np.array([1.05, 1.0, 0.97], np.float32) * level
    return np.asarray(light + (white - light) * cover * inside * float(rng.uniform(0.4, 0.95)), np.float32)


def patched(light: Light, road: Mask, rng: np.random.Generator) -> Light:
    """Repairs, oil and covers: dark marks on the ground with an outline as clean as a puddle's."""
    height, width = road.shape
    marks = np.zeros(road.shape, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0.3, 1.0) * height)
        across = int(rng.uniform(0.03, 0.3) * width * (0.3 + y / height))
        deep = max(2, int(across * rng.uniform(0.15, 0.6)))
        depth = float(rng.uniform(0.3, 1.0))
        if rng.random() < 0.5:
            cv2.ellipse(marks, (x, y), (across, deep), 0, 0, 360, depth, -1)
        else:
            corners = np.array([(x - across, y - deep), (x + across, y - deep), (x + across, y + deep)])
            corners = np.vstack([corners, (x - across, y + deep)]) + rng.integers(-6, 7, (4, 2))
            cv2.fillConvexPoly(marks, corners.astype(np.int32), depth)
    marks *= cv2.GaussianBlur(road.astype(np.float32), (0, 0), 1.0)
    marks = np.asarray(cv2.GaussianBlur(marks, (0, 0), float(rng.uniform(0.5, 2))), np.float32)
    return np.asarray(light * (1 - marks[:, :, None] * float(rng.uniform(0.2, 0.6))), np.float32)


def _disc(light: Light, x: float, y: float, radius: float, colour: NDArray[np.float32]) -> None:
    """A shining disc; smaller ones than a pixel shine less."""
    weaker = min(radius, 1.0)
    centre = (int(x), int(y))
    cv2.circle(
        light, centre, max(1, round(radius)), [float(part * weaker) for part in colour], -1, cv2.LINE_AA
    )


def _pool(shape: tuple[int, int], x: float, y: float, across: float, deep: float) -> Light:
    """A soft ellipse of light, 1 in its middle: ``(H, W, 1)``."""
    height, width = shape
    columns = ((np.arange(width, dtype=np.float32) - x) / max(across, 1)) ** 2
    rows = ((np.arange(height, dtype=np.float32) - y) / max(deep, 1)) ** 2
    return np.asarray((np.exp(-rows)[:, None] * np.exp(-columns)[None, :])[:, :, None], np.float32)


def _colour(colours: tuple[tuple[int, int, int], ...], rng: np.random.Generator) -> NDArray[np.float32]:
    return np.array(colours[int(rng.integers(len(colours)))], np.float32)
