"""Standing water composed onto dry roads, and dry roads that only look wet: what the water model learns from.

There is no licensed set of flooded streets. What can be had are roads, and water has laws: it is flat, it mirrors
what stands behind it, the more so the flatter one looks at it (Fresnel), ripples smear the mirror image up and
down, and mud hides what lies beneath. Wet asphalt, night glare and shadow obey other laws and are painted as
well, without being called water.

Pictures are uint8 BGR ``(H, W, 3)``, light is float32 of the same shape (see ``water_weather``); masks are bool
``(H, W)``. All randomness comes from the generator given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.water_weather import Light, nightfall, patched, raining, snowed

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Field = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to a dry road by day."""

    night: bool = False
    wet: bool = False
    rain: bool = False
    shade: bool = False
    glare: bool = False
    patches: bool = False
    snow: bool = False
    flood: bool = False

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Weather:
        """Rather nights than days, rather wet than dry, and water in six of ten."""
        flood, night, wet = rng.random() < 0.6, rng.random() < 0.5, rng.random() < 0.65
        chances = (0.5 if wet else 0.05, 0.1 if night else 0.4, 0.25, 0.35, 0.0 if flood else 0.12)
        rain, shade, glare, patches, snow = (bool(rng.random() < chance) for chance in chances)
        return cls(night, wet, rain, shade, glare, patches, snow, flood)


def composed(
    picture: Picture, road: Mask, rng: np.random.Generator, weather: Weather | None = None
) -> tuple[Picture, Mask]:
    """One training picture and where it is water, in the weather given or drawn."""
    weather = weather or Weather.drawn(rng)
    light = picture.astype(np.float32)
    # What stands on the ground stays as it is: its outline is what tells water from painted water.
    if weather.patches:
        light = patched(light, road, rng)
    if weather.snow:
        light = snowed(light, road, smooth_noise(road.shape, road.shape[0] * 0.12, 2.5, rng), rng)
    if weather.shade:
        light = shaded(light, road, rng)
    if weather.night:
        light = nightfall(light, road, rng)
    where = water_area(road, rng) if weather.flood else np.zeros_like(road)
    before = light
    if weather.wet:
        light = wet(light, road, rng)
    if weather.glare:
        light = glaring(light, road, rng)
    if where.any():
        light = flooded(light, before, road, where, rng)
    if weather.rain:
        light = raining(light, rng)
    return np.clip(light, 0, 255).astype(np.uint8), where


def after_dark(picture: Picture, rng: np.random.Generator) -> Picture:
    """Any dry place after dark, its road unknown: lamps, headlights, signs, and what wet ground mirrors of them."""
    ground = np.zeros(picture.shape[:2], np.bool_)
    ground[int(picture.shape[0] * rng.uniform(0.35, 0.7)) :] = True
    wet, rain, glare = (bool(rng.random() < chance) for chance in (0.5, 0.4, 0.3))
    return composed(picture, ground, rng, Weather(night=True, wet=wet, rain=rain, glare=glare))[0]


def smooth_noise(shape: tuple[int, int], coarse: float, stretch: float, rng: np.random.Generator) -> Field:
    """Noise of mean 0 and deviation 1 that changes within ``coarse`` pixels down and ``stretch`` times that across."""
    height, width = shape
    rows, columns = max(2, math.ceil(height / coarse)), max(2, math.ceil(width / (coarse * stretch)))
    field = rng.normal(size=(rows + 3, columns + 3)).astype(np.float32)
    large = np.asarray(cv2.resize(field, (width + 8, height + 8), interpolation=cv2.INTER_CUBIC), np.float32)
    large = large[4 : 4 + height, 4 : 4 + width]
    return np.asarray((large - large.mean()) / max(float(large.std()), 1e-6), np.float32)


def water_area(road: Mask, rng: np.random.Generator) -> Mask:
    """Where it stands: puddles of smooth outline in the road's low parts, or the whole road from one line on."""
    height = road.shape[0]
    level = smooth_noise(road.shape, height * rng.uniform(0.06, 0.25), rng.uniform(1.5, 4), rng)
    if rng.random() < 0.5:
        rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        level = level * 0.5 + rows * float(rng.choice([-1, 1])) * rng.uniform(0.5, 3)
    share = float(rng.uniform(0.12, 1.0))
    inside = level[road]
    where = road & (level >= np.quantile(inside, 1 - share)) if inside.size else np.zeros_like(road)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 3))
    opened = cv2.morphologyEx(where.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    return np.asarray(opened, np.uint8) > 0


def flooded(light: Light, before: Light, road: Mask, where: Mask, rng: np.random.Generator) -> Light:
    """Paint water over an area of the ground.

    Args:
        light: the ground as it is, wet perhaps.
        before: what is mirrored: the same before it became wet.
        road: where nothing stands.
        where: the water.
        rng: of everything random.
    """
    height, width = where.shape
    # A mirror shows what stands beyond the ground; shallow puddles before a kerb show the kerb.
    reach = _below_what_stands(road if rng.random() < 0.7 else where)
    rough = float(rng.choice([rng.uniform(0.2, 1), rng.uniform(1, 6)]))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    near = rows / height
    bands = smooth_noise(where.shape, 3 + 5 * float(rng.random()), rng.uniform(3, 8), rng) * near
    swell = smooth_noise(where.shape, 14, rng.uniform(2, 5), rng) * near
    mirror_rows = rows - reach * float(rng.uniform(1.7, 2.4)) + rough * (bands * 2.5 + swell * 2)
    mirror_columns = columns + rough * (swell * 1.2 + bands * 0.6)
    mirror = cv2.remap(
        before, mirror_columns, np.abs(mirror_rows), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    smear = 1 + 2 * round(rough * rng.uniform(0.5, 2.5))
    mirror = np.asarray(cv2.blur(mirror, (1 + 2 * int(smear > 5), smear)), np.float32)
    sky = np.minimum(before[: max(2, height // 6)], 255).reshape(-1, 3).mean(axis=0)
    mirror += (sky - mirror) * float(rng.uniform(0, 0.35))
    bed = np.asarray(cv2.GaussianBlur(np.minimum(before, 255), (0, 0), 1.2 + rough * 0.4), np.float32)
    mud = _mud(before, where, rng)
    clear = float(rng.uniform(0, 0.55))
    beneath = bed * clear * 0.8 + mud * (1 - clear)
    # Flat far away, steep close by: Schlick's approximation over the picture's rows, from a pole or from the kerb.
    flat = np.clip(1.15 - near * rng.uniform(0.5, 1.0), 0, 1) ** rng.uniform(1, 2.5)
    share = (0.15 + 0.8 * flat)[:, :, None] * float(rng.uniform(0.55, 1.0))
    water = beneath * (1 - share) + mirror * share
    level = min(1.0, float(np.minimum(before, 255).mean()) / 90)
    glints = np.maximum(bands - rng.uniform(1.5, 2.5), 0) * rng.uniform(0, 60) * min(rough, 2)
    water += glints[:, :, None] * level
    if rng.random() < 0.35:
        water += _rings(where.shape, rng)[:, :, None] * level
    edge = cv2.GaussianBlur(where.astype(np.float32), (0, 0), float(rng.uniform(0.6, 1.6)))[:, :, None]
    shore = cv2.GaussianBlur(where.astype(np.float32), (0, 0), 5.0)[:, :, None]
    ground = light * (1 - shore * (1 - edge) * float(rng.uniform(0, 0.6)))
    return np.asarray(ground * (1 - edge) + water * edge, np.float32)


def wet(light: Light, road: Mask, rng: np.random.Generator) -> Light:
    """Rained on: darker, and what stands or shines behind shows as a long smear through the grain of the road."""
    height, width = road.shape
    reach = _below_what_stands(road)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    mirror = cv2.remap(
        light, columns, np.abs(rows - 2 * reach), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    smear = 2 * int(height * rng.uniform(0.05, 0.18)) + 1
    mirror = np.asarray(cv2.blur(mirror, (int(rng.choice([3, 5, 9])), smear)), np.float32)
    patches = np.clip(smooth_noise(road.shape, height * 0.15, 2.5, rng) * 0.5 + 0.6, 0, 1)
    grain = 1 + smooth_noise(road.shape, 1.5, 1.5, rng) * float(rng.uniform(0.05, 0.3))
    share = (patches * float(rng.uniform(0.1, 0.45)))[:, :, None]
    ground = light * float(rng.uniform(0.45, 0.85))
    inside = cv2.GaussianBlur(road.astype(np.float32), (0, 0), 1.5)[:, :, None]
    shining = mirror * np.maximum(grain, 0)[:, :, None]
    rained_on = light * (1 - inside) + (ground * (1 - share) + shining * share) * inside
    return np.asarray(rained_on, np.float32)


def shaded(light: Light, road: Mask, rng: np.random.Generator) -> Light:
    """A shadow with a clean outline falls over the ground."""
    height, width = road.shape
    corners = rng.uniform(-0.2, 1.2, (int(rng.integers(3, 7)), 2)) * (width, height)
    shadow = np.zeros(road.shape, np.float32)
    cv2.fillPoly(shadow, [cv2.convexHull(corners.astype(np.int32))], 1.0)
    shadow = np.asarray(cv2.GaussianBlur(shadow, (0, 0), float(rng.uniform(0.7, 4))), np.float32)
    shadow *= cv2.GaussianBlur(road.astype(np.float32), (0, 0), 2.0)
    return np.asarray(light * (1 - shadow[:, :, None] * float(rng.uniform(0.3, 0.65))), np.float32)


def glaring(light: Light, road: Mask, rng: np.random.Generator) -> Light:
    """Lamps and headlights throw bright, soft streaks on the ground."""
    height, width = road.shape
    streaks = np.zeros(road.shape, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0.3, 1.0) * height))
        axes = (max(2, int(width * rng.uniform(0.01, 0.06))), max(3, int(height * rng.uniform(0.05, 0.3))))
        cv2.ellipse(streaks, centre, axes, 0, 0, 360, float(rng.uniform(0.3, 1.0)), -1)
    streaks = np.asarray(cv2.GaussianBlur(streaks, (0, 0), width * 0.015), np.float32)
    streaks *= cv2.GaussianBlur(road.astype(np.float32), (0, 0), 2.0) * 0.8 + 0.2
    colour = np.array([rng.uniform(120, 255), rng.uniform(190, 255), 255.0], np.float32)
    return np.asarray(light + streaks[:, :, None] * colour * float(rng.uniform(0.4, 1.0)), np.float32)


def _below_what_stands(ground: Mask) -> Field:
    """By pixel, how many rows below the foot of what stands on the ground it lies, smoothed across columns."""
    height = ground.shape[0]
    rows = np.arange(height, dtype=np.float32)[:, None]
    foot = np.maximum.accumulate(np.where(ground, 0, rows + 1), axis=0).astype(np.float32)
    foot = np.where(foot > 0, foot, height * 0.3).astype(np.float32)
    return np.maximum(rows - np.asarray(cv2.GaussianBlur(foot, (0, 0), 4.0, sigmaY=0.8), np.float32), 0)


def _mud(light: Light, where: Mask, rng: np.random.Generator) -> NDArray[np.float32]:
    """The colour of the water itself: what it stands on, turned to brown, grey or green, as bright as the scene."""
    mean = np.minimum(light[where], 255).mean(axis=0)
    hue = np.array(
        [[70, 100, 120], [110, 115, 115], [85, 110, 100], [60, 90, 130]][int(rng.integers(4))], np.float32
    )
    hue *= float(mean.mean()) / float(hue.mean()) * float(rng.uniform(0.7, 1.3))
    return np.asarray(mean * 0.4 + hue * 0.6, np.float32)


def _rings(shape: tuple[int, int], rng: np.random.Generator) -> Field:
    """Rain falling on water: flat rings, larger close by."""
    height, width = shape
    rings = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(10, 60))):
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0.3, 1) * height)
        across = int(1 + 7 * (y / height) * rng.random())
        cv2.ellipse(
            rings, (x, y), (across + 1, max(1, across // 3)), 0, 0, 360, float(rng.uniform(-25, 40)), 1
        )
    return rings
