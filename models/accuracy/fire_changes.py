"""Footage in which nothing burns, changed as hours, weather, traffic and bad cameras change it: what makes false alarms.

Each change is made for one video: it is given the picture as it mostly is (its median) and chance of its own, and then
changes picture after picture as time goes by, for what burns is told from what does not by how it changes.
Training paints nights with other code onto other pictures (``models.data.water_weather``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Light = NDArray[np.float32]
Change = Callable[[Picture, float], Picture]
"""Takes a picture and its second, gives the changed one."""
Maker = Callable[[Picture, int], Change]
"""Takes the picture as it mostly is and a seed."""

_SODIUM, _WHITE, _RED, _AMBER = (
    (60.0, 160.0, 255.0),
    (255.0, 245.0, 230.0),
    (30.0, 25.0, 255.0),
    (0.0, 120.0, 255.0),
)


def sunset(still: Picture, seed: int) -> Change:
    """Light grows redder from look to look, the sky above most."""
    down = np.linspace(1.0, 0.5, still.shape[0], dtype=np.float32)[:, None, None]
    tint = np.array(np.random.default_rng(seed).uniform((0.3, 0.6, 1.1), (0.6, 0.8, 1.4)), np.float32)

    def change(picture: Picture, second: float) -> Picture:
        strength = down * min(0.5 + second / 60, 1.0)
        return _cut(picture * (1 + (tint - 1) * strength))

    return change


def low_sun(still: Picture, seed: int) -> Change:
    """A sun in the picture, all else against the light, and its glitter on the ground, another at each look."""
    rng = np.random.default_rng(seed)
    height, width = still.shape[:2]
    at = (int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.15, 0.35) * height))
    sun = np.zeros(still.shape, np.float32)
    cv2.circle(sun, at, round(0.03 * height), (200, 240, 255), -1)
    halo = cv2.GaussianBlur(sun, (0, 0), 0.15 * width) * 12 + cv2.GaussianBlur(sun, (0, 0), 0.03 * width) * 2
    ground = np.zeros(still.shape[:2], np.float32)
    corners = np.array(
        [(at[0], height * 0.5), (at[0] - width * 0.08, height), (at[0] + width * 0.08, height)]
    )
    cv2.fillConvexPoly(ground, corners.astype(np.int32), 1.0)

    def change(picture: Picture, second: float) -> Picture:
        sparkle = (_chance(seed, second).random(ground.shape) > 0.93).astype(np.float32) * ground
        glitter = (
            cv2.GaussianBlur(sparkle, (0, 0), 0.8)[:, :, None] * np.array((150, 220, 255), np.float32) * 2.5
        )
        return _cut(picture * 0.55 + sun + halo + glitter)

    return change


def traffic_at_night(still: Picture, seed: int) -> Change:
    """Dark, with headlights that come and tail lights that go and brake now and then, mirrored on wet ground."""
    rng = np.random.default_rng(seed)
    height, width = still.shape[:2]
    lanes = rng.uniform((-0.1, 0.0, 0.2), (1.1, 1.0, 0.8), (6, 3))

    def change(picture: Picture, second: float) -> Picture:
        lamps, wet = np.zeros(still.shape, np.float32), np.zeros(still.shape, np.float32)
        for number, (near, phase, quick) in enumerate(lanes):
            way = (phase + second * 0.12 * quick) % 1.0
            comes = number % 2 == 0
            close = way if comes else 1 - way
            x = (0.5 + (near - 0.5) * (0.15 + 0.85 * close)) * width
            y = (0.35 + 0.55 * close) * height
            brakes = 3.0 if math.sin(second * 0.9 + number * 2) > 0.3 else 1.0
            colour = np.array(_WHITE if comes else _RED, np.float32) * (1.0 if comes else 0.5 * brakes)
            gap, size = 0.08 * width * close, max(1, round(0.025 * height * close))
            for side in (x - gap / 2, x + gap / 2):
                _disc(lamps, side, y, size, colour)
                cv2.line(
                    wet,
                    (int(side), int(y)),
                    (int(side), int(y + 0.2 * height * close)),
                    [float(part) for part in colour * 0.6],
                    size,
                )
        glow = cv2.GaussianBlur(lamps, (0, 0), 5) * 1.2 + cv2.GaussianBlur(wet, (0, 0), 2.5)
        return _cut(_dark(picture, seed, second) + lamps + glow)

    return change


def rain(still: Picture, seed: int) -> Change:
    """Streaks, others at each look, mist before what is far, and drops that stay on the glass."""
    rng = np.random.default_rng(seed)
    height, width = still.shape[:2]
    drops = np.zeros(still.shape[:2], np.float32)
    for _ in range(12):
        cv2.circle(
            drops, (int(rng.uniform(0, width)), int(rng.uniform(0, height))), int(rng.uniform(3, 9)), 1.0, -1
        )
    drops = np.asarray(cv2.GaussianBlur(drops, (0, 0), 1.5), np.float32)[:, :, None]
    mist = np.linspace(0.35, 0.05, height, dtype=np.float32)[:, None, None]
    streak = np.zeros((13, 13), np.float32)
    cv2.line(streak, (8, 0), (4, 12), 1.0, 1)

    def change(picture: Picture, second: float) -> Picture:
        fallen = (_chance(seed, second).random(drops.shape[:2]) > 0.996).astype(np.float32)
        streaks = np.minimum(cv2.filter2D(fallen, -1, streak), 1.0)[:, :, None]
        misty = picture * (1 - mist) + 170 * mist + streaks * 45
        return _cut(misty * (1 - drops) + cv2.GaussianBlur(misty, (0, 0), 5) * drops)

    return change


def red_things(still: Picture, seed: int) -> Change:
    """Whatever moves, and whatever has colour where all moves, is red, orange or yellow: vehicles, coats, vests."""
    colour = np.array([_RED, (20.0, 110.0, 255.0), (60.0, 220.0, 255.0)][seed % 3], np.float32) / 150

    def change(picture: Picture, second: float) -> Picture:
        del second
        moving = np.abs(picture.astype(np.float32) - still).max(axis=2) > 30
        if moving.mean() > 0.3:
            moving = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)[..., 1] > 90
        closed = cv2.morphologyEx(moving.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        soft = cv2.GaussianBlur(closed.astype(np.float32), (0, 0), 0.8)[:, :, None]
        grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.float32)[:, :, None] * 0.6 + 60
        return _cut(picture * (1 - soft) + grey * colour * soft)

    return change


def compressed(still: Picture, seed: int) -> Change:
    """A narrow link: half the pixels, and a quality that changes from look to look, so that blocks come and go."""
    del still

    def change(picture: Picture, second: float) -> Picture:
        half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        quality = int(_chance(seed, second).integers(6, 25))
        _, data = cv2.imencode(".jpg", half, [cv2.IMWRITE_JPEG_QUALITY, quality])
        back = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
        return np.asarray(cv2.resize(back, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)

    return change


def shaken(still: Picture, seed: int) -> Change:
    """A mast in the wind: moved by up to 2 % of the picture and turned by up to a degree, blurred when it is quick."""
    height, width = still.shape[:2]

    def change(picture: Picture, second: float) -> Picture:
        rng = _chance(seed, second)
        middle = (width / 2, height / 2)
        turn = np.asarray(cv2.getRotationMatrix2D(middle, float(rng.uniform(-1, 1)), 1.0), np.float64)
        turn[:, 2] += rng.uniform(-0.02, 0.02, 2) * (width, height)
        moved = cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(cv2.blur(moved, (5, 1)) if rng.random() < 0.3 else moved, np.uint8)

    return change


def gain_steps(still: Picture, seed: int) -> Change:
    """A camera that sets its exposure anew every five seconds, by up to a factor of three, and its white balance."""
    del still

    def change(picture: Picture, second: float) -> Picture:
        rng = _chance(seed, second // 5)
        return _cut(picture * (rng.uniform(0.5, 1.6) * rng.uniform(0.9, 1.12, 3)))

    return change


def flickering_lamps(still: Picture, seed: int) -> Change:
    """Dusk, with street lamps, a red sign, a beacon and shop windows that flicker, each by itself."""
    rng = np.random.default_rng(seed)
    height, width = still.shape[:2]
    colours = (_SODIUM, _SODIUM, _WHITE, _RED, _AMBER, _SODIUM)
    lamps = []
    for number, colour in enumerate(colours):
        layer = np.zeros(still.shape, np.float32)
        x, y = rng.uniform(0.05, 0.9) * width, rng.uniform(0.05, 0.6) * height
        if number < 4:
            _disc(layer, x, y, int(rng.integers(1, 5)), np.array(colour, np.float32))
        else:
            corner = (int(x + 0.07 * width), int(y + 0.04 * height))
            cv2.rectangle(layer, (int(x), int(y)), corner, colour, -1)
        lamps.append(layer + cv2.GaussianBlur(layer, (0, 0), 6))

    def change(picture: Picture, second: float) -> Picture:
        levels = _chance(seed, second).uniform(0.1, 1.2, len(lamps))
        return _cut(picture * 0.45 + sum(lamp * level for lamp, level in zip(lamps, levels, strict=True)))

    return change


def drifting_fog(still: Picture, seed: int) -> Change:
    """Fog over the whole picture, thicker here and thinner there, that drifts and thickens."""
    height, width = still.shape[:2]
    cells = np.random.default_rng(seed).random((5, 40)).astype(np.float32)
    wide = np.asarray(cv2.resize(cells, (width * 8, height), interpolation=cv2.INTER_CUBIC), np.float32)

    def change(picture: Picture, second: float) -> Picture:
        left = int(second * 6) % (width * 7)
        depth = 0.3 + 0.1 * math.sin(second / 20) + 0.3 * wide[:, left : left + width, None]
        density = np.clip(depth, 0, 0.85)
        return _cut(picture * (1 - density) + 185 * density)

    return change


CHANGES: Final[dict[str, Maker]] = {
    "at sunset": sunset,
    "against a low sun that glitters on the ground": low_sun,
    "at night, with headlights and brake lights": traffic_at_night,
    "in rain": rain,
    "what moves is red, orange or yellow": red_things,
    "through a narrow link": compressed,
    "shaken": shaken,
    "with steps of gain": gain_steps,
    "at dusk, with lamps that flicker": flickering_lamps,
    "in drifting fog": drifting_fog,
}


def _dark(picture: Picture, seed: int, second: float) -> Light:
    """After dark, with the noise of a sensor that amplifies."""
    noise = _chance(seed, second).normal(0, 5, picture.shape)
    return np.asarray(picture * np.array((0.3, 0.25, 0.22), np.float32) + noise, np.float32)


def _disc(light: Light, x: float, y: float, radius: int, colour: Light) -> None:
    cv2.circle(light, (int(x), int(y)), radius, [float(part) for part in colour], -1, cv2.LINE_AA)


def _chance(seed: int, second: float) -> np.random.Generator:
    """The same at the same second of the same video."""
    return np.random.default_rng((seed, round(second * 1000)))


def _cut(light: Light | NDArray[np.float64]) -> Picture:
    return np.clip(light, 0, 255).astype(np.uint8)
