"""Fires and smoke composed onto calm streets: what the few videos at hand do not show, small and far away and black.

A flame is light, torn into tongues as it rises, and it lights up what stands around it. Smoke is a veil: grey from
black to white, densest in its middle, in clouds of every size, rising from a narrow foot and leaning with the wind.
Fog, rain and mist cover everything and have no foot; they are painted elsewhere and are called nothing.

Pictures are uint8 BGR ``(H, W, 3)``; masks are float32 ``(H, W)``, the share that is fire or smoke. All randomness comes
from the generator given.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.water import smooth_noise

Picture = NDArray[np.uint8]
Field = NDArray[np.float32]


def lit(picture: Picture, flames: Sequence[Picture], rng: np.random.Generator) -> tuple[Picture, Field]:
    """A flame somewhere in the picture, one of those given or a painted one; the picture and where it burns."""
    height, width = picture.shape[:2]
    tall = int(height * np.exp(rng.uniform(np.log(0.08), np.log(0.5))))
    wide = int(np.clip(tall * np.exp(rng.uniform(-0.8, 0.5)), 5, width - 1))
    if flames and rng.random() < 0.3:
        given = flames[int(rng.integers(len(flames)))]
        shining = np.asarray(cv2.resize(given, (wide, tall), interpolation=cv2.INTER_AREA), np.float32)
        glow = _opacity(shining)
    else:
        shining, glow = _tongues(tall, wide, rng)
    top, left = int(rng.integers(0, height - tall)), int(rng.integers(0, width - wide))
    seen = picture.astype(np.float32)
    burns = np.zeros((height, width), np.float32)
    burns[top : top + tall, left : left + wide] = glow
    # What burns lights up what stands around it.
    halo = cv2.GaussianBlur(burns, (0, 0), tall * 0.5)[:, :, None] * float(rng.uniform(0, 90))
    seen += halo * np.array([0.25, 0.6, 1.0], np.float32)
    place = seen[top : top + tall, left : left + wide]
    place += (np.maximum(shining, place * 0.4) - place) * glow[:, :, None]
    return np.clip(seen, 0, 255).astype(np.uint8), burns


def _tongues(height: int, width: int, rng: np.random.Generator) -> tuple[Field, Field]:
    """A painted flame: hot at its foot, torn into tongues above; its light ``(H, W, 3)`` and its opacity."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    up, across = 1 - rows / height, (columns / width - 0.5) * 2
    torn = smooth_noise((height, width), max(height * 0.3, 3), 0.35, rng) * 0.6
    torn += smooth_noise((height, width), max(height * 0.1, 2), 0.5, rng) * 0.4
    heat = 1.15 - up * float(rng.uniform(0.8, 1.4)) - np.abs(across) ** 1.5 * (0.5 + 0.6 * up)
    heat += torn * (0.25 + 0.35 * up)
    heat *= np.clip((1.02 - np.abs(across)) * 6, 0, 1) * np.clip(up * 12, 0, 1) * np.clip((1 - up) * 8, 0, 1)
    heat = np.clip(heat * float(rng.uniform(0.9, 1.5)), 0, 1.4)
    # From dark red over orange and yellow to the white of a sensor that has had enough.
    blue, green = np.clip(heat - 0.75, 0, 1) * 380, np.clip(heat - 0.22, 0, 1) * 300
    red = np.clip(heat * 2.4, 0, 1) * 255
    light = np.dstack([blue, green, red]).astype(np.float32) * float(rng.uniform(0.8, 1.1))
    opacity = np.clip((heat - 0.12) * 3.5, 0, 1).astype(np.float32)
    return np.minimum(light, 255), np.asarray(cv2.GaussianBlur(opacity, (0, 0), 0.6), np.float32)


def _opacity(flame: Field) -> Field:
    """By pixel how much of it is flame: bright, within an ellipse so that no edge shows."""
    glow = np.clip((flame[..., 2] - 170) / 60, 0, 1)
    height, width = glow.shape
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    inside = np.clip((1.05 - np.hypot(rows, columns)) * 4, 0, 1)
    return np.asarray(cv2.GaussianBlur((glow * inside).astype(np.float32), (0, 0), 0.7), np.float32)


def smoked(picture: Picture, rng: np.random.Generator) -> tuple[Picture, Field]:
    """A plume of smoke over the picture, from black to white; the picture and how dense the smoke is."""
    height, width = picture.shape[:2]
    foot = np.array([rng.uniform(0.05, 0.95) * width, rng.uniform(0.25, 1.0) * height])
    rise = float(rng.uniform(0.25, 1.1)) * height
    lean, spread = float(rng.normal(0, 0.5)), float(rng.uniform(0.15, 0.8))
    narrow = float(rng.uniform(0.02, 0.12)) * width
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    up = (foot[1] - rows) / rise
    swing = smooth_noise((height, width), height * 0.25, 1.0, rng) * narrow
    middle = foot[0] + lean * np.maximum(up, 0) * rise + swing
    radius = narrow + spread * np.maximum(up, 0) * rise
    across = np.abs(columns - middle) / np.maximum(radius, 1)
    body = np.clip(1.25 - across, 0, 1) * np.clip(up * 8 + 0.6, 0, 1) * np.clip((1.15 - up) * 2.5, 0, 1)
    billows = sum(
        smooth_noise((height, width), height * size, 1.0, rng) * weight
        for size, weight in ((0.2, 0.5), (0.08, 0.35), (0.03, 0.2))
    )
    assert isinstance(billows, np.ndarray)
    density = np.clip(body * (1.2 + 0.5 * billows) * float(rng.uniform(0.9, 2.2)), 0, 1)
    density = np.asarray(cv2.GaussianBlur(density.astype(np.float32), (0, 0), 1.0), np.float32)
    density *= float(rng.uniform(0.6, 0.98))
    bright = float(picture.mean())
    tone = rng.uniform(8, 60) if rng.random() < 0.5 else rng.uniform(0.8, 1.6) * min(max(bright, 40), 140)
    shade = tone * (1 + 0.25 * np.clip(billows, -2, 2))
    tint = np.array([rng.uniform(0.95, 1.08), 1.0, rng.uniform(0.93, 1.06)], np.float32)
    veil = np.asarray(shade[:, :, None] * tint, np.float32)
    seen = picture + (veil - picture) * density[:, :, None]
    return np.clip(seen, 0, 255).astype(np.uint8), density


def flames_of(picture: Picture, box: Sequence[float]) -> Picture | None:
    """What a box (left, top, right, bottom in shares) holds, where it is large enough and shows flame enough."""
    height, width = picture.shape[:2]
    left, top, right, bottom = (
        int(np.clip(side, 0, 1) * length)
        for side, length in zip(box, (width, height, width, height), strict=True)
    )
    part = picture[top:bottom, left:right]
    if part.shape[0] < 30 or part.shape[1] < 20 or part.shape[0] * part.shape[1] > 0.5 * height * width:
        return None
    return part if float(_opacity(part.astype(np.float32)).mean()) > 0.12 else None
