"""What streets do to pictures: blur, night, compression, distance, another camera's colours. Arrays in, arrays out.

All take and give uint8 BGR pictures and draw from the generator they are handed, so that a seed fixes a training.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def other_camera(picture: Picture, rng: np.random.Generator) -> Picture:
    """The same scene by another camera, another hour and another network: everything below, each now and then."""
    if rng.random() < 0.5:
        picture = recoloured(picture, rng)
    if rng.random() < 0.3:
        picture = at_night(picture, rng)
    if rng.random() < 0.5:
        picture = from_afar(picture, rng)
    if rng.random() < 0.25:
        picture = moving(picture, rng)
    if rng.random() < 0.3:
        picture = noisy(picture, rng)
    if rng.random() < 0.5:
        picture = compressed(picture, rng)
    return picture


def recoloured(picture: Picture, rng: np.random.Generator) -> Picture:
    """Another white balance, contrast, saturation and gamma; one in eight without colour at all."""
    gain = rng.uniform(0.8, 1.25) * rng.uniform(0.88, 1.14, 3)
    offset = rng.uniform(-25, 25)
    gamma = math.exp(rng.uniform(-0.45, 0.45))
    ramp = np.arange(256, dtype=np.float32)[:, None] * gain + offset
    curve = np.clip(ramp / 255, 0, 1) ** gamma * 255
    changed = cv2.LUT(picture, curve.astype(np.uint8).reshape(1, 256, 3))
    grey = cv2.cvtColor(cv2.cvtColor(changed, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    share = 1.0 if rng.random() < 0.125 else rng.uniform(-0.3, 0.5)
    return np.clip(changed * (1 - share) + grey * share, 0, 255).astype(np.uint8)


def at_night(picture: Picture, rng: np.random.Generator) -> Picture:
    """Dark, warm light from lamps, and the noise of a sensor that amplifies what little there is."""
    level = rng.uniform(0.15, 0.5)
    tint = np.array([rng.uniform(0.5, 1.0), rng.uniform(0.75, 1.0), 1.0])
    dark = picture * (level * tint)
    dark += rng.normal(0, rng.uniform(2, 8), picture.shape)
    gain = rng.uniform(1.0, 0.9 / level)
    return np.clip(dark * gain, 0, 255).astype(np.uint8)


def from_afar(picture: Picture, rng: np.random.Generator) -> Picture:
    """As few pixels as a distant object has, enlarged again."""
    height, width = picture.shape[:2]
    shrink = math.exp(rng.uniform(math.log(0.15), 0))
    small = cv2.resize(
        picture,
        (max(6, round(width * shrink)), max(6, round(height * shrink))),
        interpolation=int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR])),
    )
    back = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    return np.asarray(cv2.resize(small, (width, height), interpolation=back), np.uint8)


def moving(picture: Picture, rng: np.random.Generator) -> Picture:
    """Blurred along a line, as whatever is quicker than the shutter."""
    length = int(rng.integers(3, 10))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), rng.uniform(0, 180), 1)
    kernel = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
    return np.asarray(cv2.filter2D(picture, -1, kernel / max(kernel.sum(), 1e-3)), np.uint8)


def noisy(picture: Picture, rng: np.random.Generator) -> Picture:
    """Gaussian noise of up to 14 grey levels."""
    return np.clip(picture + rng.normal(0, rng.uniform(2, 14), picture.shape), 0, 255).astype(np.uint8)


def compressed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Through JPEG, down to a quality at which blocks show."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
