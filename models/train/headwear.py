"""What foreign streets put on and over heads: caps, hoods and scarves, umbrellas; helmets of every colour.

The photos at hand are of one country. What people elsewhere wear is painted onto bare heads, out of the cloth that
the same photo shows, so that light, grain and compression fit.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Box = tuple[float, float, float, float]


def other_colours(picture: Picture, rng: np.random.Generator) -> Picture:
    """All hues turned by one angle: nobody shall know a helmet by its being black or red."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + int(rng.integers(10, 170))) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.uint8)


def dressed(picture: Picture, head: Box, rng: np.random.Generator) -> Picture:
    """A bare head with a cap, a hood or a scarf on; it stays bare of a helmet.

    Args:
        picture: with some of what is below the head.
        head: left, top, right, bottom in the picture's pixels.
        rng: decides on what and how.
    """
    shape = (_cap, _hood, _scarf)[int(rng.integers(3))]
    mask = np.zeros(picture.shape[:2], np.uint8)
    shape(mask, head, rng)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), max(0.6, (head[2] - head[0]) / 50))
    soft = soft[..., None]
    cloth = _cloth(picture, head, rng)
    return np.asarray(picture * (1 - soft) + cloth * soft, np.uint8)


def _cloth(picture: Picture, head: Box, rng: np.random.Generator) -> NDArray[np.float32]:
    """What the wearer's clothes look like, over the whole picture, lit from above."""
    height, width = picture.shape[:2]
    left, top, right, bottom = head
    tall = bottom - top
    y0 = int(np.clip(bottom + 0.15 * tall, 0, height - 4))
    y1 = int(np.clip(bottom + 0.9 * tall, y0 + 3, height))
    x0 = int(np.clip(left, 0, width - 4))
    x1 = int(np.clip(right, x0 + 3, width))
    patch = picture[y0:y1, x0:x1]
    if rng.random() < 0.5:
        patch = other_colours(patch, rng)
    if rng.random() < 0.35:
        # Plain cloth, of any colour, as most caps and rain hoods are.
        plain = rng.uniform(15, 235) + rng.uniform(-70, 70, 3)
        patch = np.clip(patch * 0.15 + plain * 0.85, 0, 255).astype(np.uint8)
    cloth = cv2.resize(patch, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    light = np.linspace(rng.uniform(1.0, 1.25), rng.uniform(0.6, 0.95), height, dtype=np.float32)
    folds = cv2.resize(
        rng.normal(1, 0.1, (6, 6)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    cloth *= light[:, None, None] * folds[..., None]
    return np.clip(cloth, 0, 255)


def _cap(mask: Picture, head: Box, rng: np.random.Generator) -> None:
    x, y, across, down = _middle(head)
    rim = y - rng.uniform(0.10, 0.22) * down
    axes = (int(across * rng.uniform(0.42, 0.52)), int(down * rng.uniform(0.24, 0.36)))
    cv2.ellipse(mask, (int(x), int(rim)), axes, 0, 180, 360, 255, -1)
    to = int(rng.choice([-1, 1]))
    peak = (int(x + to * across * rng.uniform(0.0, 0.5)), int(rim))
    cv2.ellipse(mask, peak, (int(across * 0.32), max(1, int(down * 0.07))), to * 6, 0, 360, 255, -1)


def _hood(mask: Picture, head: Box, rng: np.random.Generator) -> None:
    x, y, across, down = _middle(head)
    cv2.ellipse(mask, (int(x), int(y)), (int(across * 0.6), int(down * 0.58)), 0, 0, 360, 255, -1)
    corners = [(x - across * 0.5, y), (x + across * 0.5, y), (x + across, y + down), (x - across, y + down)]
    cv2.fillPoly(mask, [np.array(corners, np.int32)], 255)
    face = (int(x + across * rng.uniform(-0.2, 0.2)), int(y + down * rng.uniform(0.0, 0.12)))
    axes = (int(across * rng.uniform(0.24, 0.36)), int(down * rng.uniform(0.26, 0.36)))
    cv2.ellipse(mask, face, axes, 0, 0, 360, 0, -1)


def _scarf(mask: Picture, head: Box, rng: np.random.Generator) -> None:
    """Over the hair as a headscarf, or over mouth and nose."""
    if rng.random() < 0.5:
        _hood(mask, head, rng)
        return
    x, y, across, down = _middle(head)
    centre = (int(x), int(y + down * rng.uniform(0.22, 0.34)))
    cv2.ellipse(mask, centre, (int(across * 0.46), int(down * 0.26)), 0, 0, 360, 255, -1)


def _middle(head: Box) -> tuple[float, float, float, float]:
    left, top, right, bottom = head
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def half_hidden(picture: Picture, rng: np.random.Generator) -> Picture:
    """Something stands before a corner of the crop (an umbrella's edge, a pole, another's shoulder)."""
    height, width = picture.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    turn = rng.uniform(0, 360)
    reach = rng.uniform(0.62, 0.95) * width
    centre = (
        int(width / 2 + reach * np.cos(np.radians(turn))),
        int(height / 2 + reach * np.sin(np.radians(turn))),
    )
    axes = (int(width * rng.uniform(0.3, 0.7)), int(height * rng.uniform(0.2, 0.45)))
    cv2.ellipse(mask, centre, axes, turn + 90, 0, 360, 255, -1)
    cover = np.roll(picture, int(rng.integers(width // 4, 3 * width // 4)), axis=1).astype(np.float32)
    plain = rng.uniform(10, 240, 3)
    share = rng.uniform(0.1, 0.95)
    cover = np.asarray(cover * (1 - share) + plain * share, np.float32)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.8)[..., None]
    return np.asarray(picture * (1 - soft) + cover * soft, np.uint8)


def accompanied(picture: Picture, other: Picture, rng: np.random.Generator) -> Picture:
    """Another head beside, below or behind the one in the middle.

    Args:
        picture: ``(size, size, 3)``.
        other: of the same shape, a head in its middle.
        rng: decides where and how large.
    """
    size = picture.shape[0]
    reach = size * rng.uniform(0.40, 0.52)
    turn = rng.uniform(-30, 60) if rng.random() < 0.5 else rng.uniform(120, 210)
    centre = (
        size / 2 + reach * np.cos(np.radians(turn)),
        size / 2 + reach * np.sin(np.radians(turn)),
    )
    scale = rng.uniform(0.65, 1.05)
    warp = np.array(
        [[scale, 0, centre[0] - scale * size / 2], [0, scale, centre[1] - scale * size / 2]], np.float32
    )
    moved = cv2.warpAffine(other, warp, (size, size), borderMode=cv2.BORDER_REPLICATE)
    mask = np.zeros((size, size), np.uint8)
    axes = (int(scale * size * 0.30), int(scale * size * 0.36))
    cv2.ellipse(mask, (int(centre[0]), int(centre[1])), axes, 0, 0, 360, 255, -1)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 1.2)[..., None]
    return np.asarray(picture * (1 - soft) + moved * soft, np.uint8)


#: Blue, green, red of hair that the photos at hand do not show: blond, straw, red, brown, grey, white.
_HAIR = ((105, 165, 205), (130, 190, 225), (45, 75, 160), (45, 70, 110), (140, 140, 145), (205, 205, 210))


def other_hair(picture: Picture, head: Box, rng: np.random.Generator) -> Picture:
    """Dark hair in another colour, its strands and shadows kept.

    Args:
        picture: with the head in it.
        head: left, top, right, bottom in the picture's pixels.
        rng: decides on the colour.
    """
    x, y, across, down = _middle(head)
    mask = np.zeros(picture.shape[:2], np.uint8)
    axes = (max(2, int(across * 0.56)), max(2, int(down * 0.58)))
    cv2.ellipse(mask, (int(x), int(y)), axes, 0, 0, 360, 255, -1)
    # Below the nose it is beards, collars and long hair: of these only now and then.
    if rng.random() < 0.7:
        mask[max(0, int(y + 0.12 * down)) :] = 0
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (0, 0), 0.8).astype(np.float32)
    inside = grey[mask > 0]
    low, high = np.quantile(inside, (0.1, 0.8)).tolist() if inside.size else (0.0, 0.0)
    dark = low + 0.38 * (high - low)
    share = np.clip((dark - grey) / max(0.25 * (high - low), 4.0) + 0.5, 0, 1) * cv2.GaussianBlur(
        mask.astype(np.float32) / 255, (0, 0), max(0.8, across / 25)
    )
    colour = np.array(_HAIR[int(rng.integers(len(_HAIR)))], np.float32) * rng.uniform(0.6, 1.1)
    light = 0.6 + 0.45 * np.clip((grey - low) / max(dark - low, 4.0), -0.5, 1.0)
    hair = np.clip(light[..., None] * colour, 0, 255)
    share = share[..., None]
    return np.asarray(picture * (1 - share) + hair * share, np.uint8)


def other_skin(picture: Picture, head: Box, rng: np.random.Generator) -> Picture:
    """The middle of the head lighter or darker, as other faces, or other lamps, are."""
    x, y, across, down = _middle(head)
    mask = np.zeros(picture.shape[:2], np.float32)
    axes = (max(2, int(across * 0.5)), max(2, int(down * 0.5)))
    cv2.ellipse(mask, (int(x), int(y)), axes, 0, 0, 360, 1.0, -1)
    share = cv2.GaussianBlur(mask, (0, 0), max(1.0, across / 8))[..., None]
    curve = (np.arange(256) / 255.0) ** rng.uniform(0.5, 1.15) * 255
    lit = cv2.LUT(picture, curve.astype(np.uint8))
    return np.asarray(picture * (1 - share) + lit * share, np.uint8)
