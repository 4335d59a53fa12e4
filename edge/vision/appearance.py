"""What detections look like: the colours of their upper and lower halves; pure: a picture and boxes in, numbers out.

Two looks are compared by the Bhattacharyya coefficient of their colour histograms, as in D. Comaniciu, V. Ramesh, P. Meer,
"Kernel-Based Object Tracking" (2003); a track's look is an exponential mean, as in Y. Wang et al., "Towards Real-Time
Multi-Object Tracking" (2020). No network: at street distance a person is thirty pixels wide, and a box has no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.frame import Image
from edge.vision.detections import Boxes, Detections, overlaps

Looks = NDArray[np.float32]
"""``(N, D)``, each of length one, so that a product of two says how alike they are; all zero where nobody knows."""

_INNER: Final = (0.2, 0.1, 0.8, 0.9)
"""Left, top, right, bottom of the part of a box that is looked at: the rest is mostly street."""
_ACROSS: Final = 8
_DOWN: Final = 24
_HALVES: Final = 2
_BINS: Final = 16
_RANGES: Final = ((0.0, 256.0), (80.0, 176.0), (80.0, 176.0))
"""Of L, a and b: what people wear is seldom more colourful."""


def _shares() -> NDArray[np.float32]:
    """``(3, 256, bins)``: how a value of a channel is shared among the two nearest bins, so that a bin's edge is none."""
    value = np.arange(256.0)
    shares = []
    for low, high in _RANGES:
        place = np.clip((value - low) / (high - low) * _BINS - 0.5, 0, _BINS - 1)
        shares.append(np.maximum(1 - np.abs(place[:, None] - np.arange(_BINS)), 0))
    return np.array(shares, np.float32)


_SHARES: Final = _shares()


def looks_of(image: Image, boxes: Boxes, wanted: NDArray[np.bool_] | None = None) -> Looks:
    """How what is in each box looks.

    Args:
        image: BGR, ``(H, W, 3)`` uint8: the picture that the boxes were found in.
        boxes: in its pixels; they may reach out of it.
        wanted: those that are to be looked at; all.

    Returns:
        For each half of each box and each channel of Lab, the roots of a histogram; zeros for those that are not wanted or
        lie outside the picture.
    """
    height, width = image.shape[:2]
    size = boxes[:, 2:] - boxes[:, :2]
    inner = np.concatenate((boxes[:, :2] + size * _INNER[:2], boxes[:, :2] + size * _INNER[2:]), axis=1)
    spans = np.minimum(np.maximum(inner, 0.0), (width, height, width, height)).astype(np.intp)
    known = (spans[:, 2:] > spans[:, :2]).all(axis=1)
    known = known if wanted is None else known & wanted
    patches = np.empty((np.count_nonzero(known), _DOWN, _ACROSS, 3), np.uint8)
    for patch, (left, top, right, bottom) in zip(patches, spans[known].tolist(), strict=True):
        cv2.resize(image[top:bottom, left:right], (_ACROSS, _DOWN), dst=patch)
    looks = np.zeros((len(boxes), _HALVES * 3 * _BINS), np.float32)
    looks[known] = np.sqrt(_histograms(patches))
    return looks


def _histograms(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """By patch, one after another: half, channel and bin; of each patch they add up to one."""
    n = len(patches)
    if not n:
        return np.zeros((0, _HALVES * 3 * _BINS), np.float32)
    lab = cv2.cvtColor(patches.reshape(n * _DOWN, _ACROSS, 3), cv2.COLOR_BGR2LAB)
    values = lab.reshape(n * _HALVES, -1, 3) + np.arange(3) * 256
    values += (np.arange(n * _HALVES) * 768)[:, None, None]
    counts = np.bincount(values.ravel(), minlength=n * _HALVES * 768).astype(np.float32)
    # (channel, patch and half, value) times (channel, value, bin)
    binned = counts.reshape(n * _HALVES, 3, 256).transpose(1, 0, 2) @ _SHARES
    total = np.float32(_DOWN * _ACROSS * 3)
    return np.asarray(binned.transpose(1, 0, 2).reshape(n, -1) / total, np.float32)


def clear(looks: Looks, found: Detections, sure: float, most: float) -> Looks:
    """The looks of strong detections that no other such overlaps by more than ``most``; zeros for the rest.

    Who stands before somebody is half of what that box looks like, and a weak detection may be of anything.
    """
    strong = np.flatnonzero(found.score >= sure)
    covered = overlaps(found.xyxy[strong], found.xyxy[strong])
    np.fill_diagonal(covered, 0.0)
    told = np.zeros_like(looks)
    alone = strong[covered.max(axis=1, initial=0.0) <= most]
    told[alone] = looks[alone]
    return told


class Appearances:
    """What tracks look like: a mean of their looks each, of which the surest and clearest say most.

    Args:
        taken: how much of a sure look goes into the mean.
        unlike, alike: products of looks that say *somebody else* and *the same*; between them it is a matter of degree.
    """

    def __init__(self, taken: float, unlike: float, alike: float) -> None:
        self._taken, self._unlike, self._alike = taken, unlike, alike
        self._mean: Looks = np.zeros((0, 0), np.float32)

    def fit(self, length: int) -> None:
        """Looks have this many numbers from now on; those of another kind are forgotten."""
        if self._mean.shape[1] != length:
            self._mean = np.zeros((len(self._mean), length), np.float32)

    def begin(self, n: int, looks: Looks | None) -> None:
        """Add tracks that look so."""
        new = np.zeros((n, self._mean.shape[1]), np.float32) if looks is None else looks
        self._mean = np.concatenate((self._mean, new))

    def correct(self, which: NDArray[np.intp], looks: Looks, score: NDArray[np.float32]) -> None:
        """Take looks in, by how sure the detections are; whose look was unknown looks so from now on."""
        known = np.flatnonzero(looks.any(axis=1))
        if not known.size:
            return
        which, looks = which[known], looks[known]
        mean = self._mean[which]
        share = np.where(mean.any(axis=1), self._taken * score[known], 1.0)[:, None]
        mixed = mean + share * (looks - mean)
        self._mean[which] = mixed / np.sqrt((mixed**2).sum(axis=1, keepdims=True))

    def keep(self, which: Sequence[int]) -> None:
        """Drop all others."""
        self._mean = self._mean[which]

    def agreement(self, looks: Looks) -> NDArray[np.float64]:
        """Of every track with every look, ``(N, M)``: 0 somebody else, 1 the same, .5 where nobody knows."""
        product = (self._mean @ looks.T).astype(np.float64)
        graded = np.minimum(np.maximum((product - self._unlike) / (self._alike - self._unlike), 0.0), 1.0)
        known = self._mean.any(axis=1, keepdims=True) & looks.any(axis=1, keepdims=True).T
        return np.where(known, graded, 0.5)
