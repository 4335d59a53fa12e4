"""What a detector found in one picture, as a struct of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

STREET_LABELS = ("person", "bicycle", "motorcycle", "car", "bus", "truck")
"""What a street camera looks for."""

Boxes = NDArray[np.float32]
"""Boxes: ``(N, 4)``, left, top, right, bottom, in pixels of the frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N objects in one picture; shapes and types are checked here, once, and nowhere after.

    Attributes:
        xyxy: float32 ``(N, 4)``: left, top, right, bottom in pixels of the frame.
        score: float32 ``(N,)`` in 0..1.
        label: int32 ``(N,)``: places in ``labels``.
        labels: the names.
    """

    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    label: NDArray[np.int32]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check shapes, types and labels.

        Raises:
            ValueError: says what was expected and what was got; it is a bug of whoever built this.
        """
        n = len(self.score)
        for name, array, shape, kind in (
            ("xyxy", self.xyxy, (n, 4), np.float32),
            ("score", self.score, (n,), np.float32),
            ("label", self.label, (n,), np.int32),
        ):
            if array.shape != shape or array.dtype != kind:
                raise ValueError(
                    f"Detections.{name}: expected {np.dtype(kind).name} {shape}, "
                    f"got {array.dtype.name} {array.shape}"
                )
        if n and not (int(self.label.min()) >= 0 and int(self.label.max()) < len(self.labels)):
            raise ValueError(
                f"Detections.label: expected places in {len(self.labels)} labels, "
                f"got {int(self.label.min())}..{int(self.label.max())}"
            )

    @classmethod
    def empty(cls, labels: tuple[str, ...]) -> Self:
        """Nothing found."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), labels)

    def __len__(self) -> int:
        """How many objects."""
        return len(self.score)

    def where(self, mask: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """The objects that ``mask`` (booleans, or places in the order wanted) chooses."""
        return type(self)(self.xyxy[mask], self.score[mask], self.label[mask], self.labels)

    def of(self, *names: str) -> Self:
        """The objects that wear one of these names; a name this detector does not know finds nothing."""
        wanted = [place for place, name in enumerate(self.labels) if name in names]
        return self.where(np.isin(self.label, np.asarray(wanted, np.int32)))

    def name(self, n: int) -> str:
        """The name of object ``n``."""
        return self.labels[int(self.label[n])]

    def with_more(self, *others: Self) -> Self:
        """These and those; all must have been given by detectors of the same labels."""
        parts: list[Self] = [self, *others]
        if any(part.labels != self.labels for part in parts):
            raise ValueError(
                f"Detections.labels: expected {self.labels}, got {[part.labels for part in others]}"
            )
        return type(self)(
            np.concatenate([part.xyxy for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.label for part in parts]),
            self.labels,
        )

    def moved(self, left: float, top: float) -> Self:
        """The same objects seen from a picture of which this one was a crop that began at ``left, top``."""
        shift = np.array([left, top, left, top], np.float32)
        return type(self)(self.xyxy + shift, self.score, self.label, self.labels)


def overlaps(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """Intersection over union of every box with every other.

    Args:
        first: ``(N, 4)``.
        second: ``(M, 4)``.

    Returns:
        float32 ``(N, M)`` in 0..1; 0 where both boxes are empty.
    """
    width = np.minimum(first[:, None, 2], second[None, :, 2]) - np.maximum(
        first[:, None, 0], second[None, :, 0]
    )
    height = np.minimum(first[:, None, 3], second[None, :, 3]) - np.maximum(
        first[:, None, 1], second[None, :, 1]
    )
    shared = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    union = areas(first)[:, None] + areas(second)[None, :] - shared
    ratio: NDArray[np.float32] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def areas(boxes: Boxes) -> NDArray[np.float32]:
    """Pixels that each box covers."""
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float32)
