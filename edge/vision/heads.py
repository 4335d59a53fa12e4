"""How the outputs of each family of detectors are read: pure functions from arrays to candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from common.runtime.errors import InvalidError
from models.manifest import Manifest

_ROUNDING: Final = 1e-3
"""By so much a probability in half precision may leave 0..1."""


class Candidates(NamedTuple):
    """Boxes before suppression.

    ``xyxy`` float32 ``(N, 4)`` in pixels of the model's input, ``score`` float32 ``(N,)``, ``column`` intp
    ``(N,)``: which of the wanted classes.
    """

    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    column: NDArray[np.intp]


class Head(Protocol):
    """Reads the outputs of one family of detectors."""

    def expected(self) -> tuple[tuple[int | None, ...], ...]:
        """The shapes of the outputs, in order; None where any length will do."""
        ...

    def read(self, outputs: Sequence[NDArray[Any]], threshold: float) -> Candidates:
        """Candidates that score at least ``threshold`` as the best of their wanted classes."""
        ...


class SsdHead:
    """Single-shot detector (Liu et al., 2016) with scores ``[1, N, C]`` and boxes ``[1, N, 1, 4]``.

    Boxes are top, left, bottom, right in 0..1 of the input picture and already decoded; classes do not
    compete (sigmoid), so an anchor gives the best of its wanted classes.
    """

    def __init__(self, manifest: Manifest, wanted: NDArray[np.intp]) -> None:
        self._classes = len(manifest.labels)
        self._wanted = wanted
        self._size = np.array([manifest.input.width, manifest.input.height] * 2, np.float32)

    def expected(self) -> tuple[tuple[int | None, ...], ...]:
        """Scores and boxes."""
        return (1, None, self._classes), (1, None, 1, 4)

    def read(self, outputs: Sequence[NDArray[Any]], threshold: float) -> Candidates:
        """Threshold first: only the few anchors that pass are looked at further."""
        score = outputs[0][0][:, self._wanted]
        best = score.max(axis=1)
        passed = np.flatnonzero(best >= threshold)
        boxes = outputs[1][0, passed, 0][:, [1, 0, 3, 2]] * self._size
        return Candidates(boxes, best[passed], score[passed].argmax(axis=1))


class YoloxHead:
    """YOLOX (Ge et al., 2021, arXiv:2107.08430) with the undecoded grid ``[1, N, 5 + C]``.

    Each cell of the strides 8, 16, 32 gives dx, dy, log w, log h in strides, objectness and classes.
    """

    def __init__(self, manifest: Manifest, wanted: NDArray[np.intp]) -> None:
        self._classes = len(manifest.labels)
        self._wanted = wanted + 5
        corners, strides = [], []
        for stride in (8, 16, 32):
            rows, columns = manifest.input.height // stride, manifest.input.width // stride
            y, x = np.mgrid[0:rows, 0:columns]
            corners.append(np.stack((x.ravel(), y.ravel()), axis=1))
            strides.append(np.full((rows * columns, 1), stride))
        self._corners = np.concatenate(corners).astype(np.float32)
        self._strides = np.concatenate(strides).astype(np.float32)

    def expected(self) -> tuple[tuple[int | None, ...], ...]:
        """One grid."""
        return ((1, len(self._corners), 5 + self._classes),)

    def read(self, outputs: Sequence[NDArray[Any]], threshold: float) -> Candidates:
        """Objectness bounds the score from above, so it is asked first."""
        grid = outputs[0][0]
        likely = np.flatnonzero(grid[:, 4] >= threshold)
        cells = grid[likely]
        score = cells[:, 4:5] * cells[:, self._wanted]
        best = score.max(axis=1)
        passed = best >= threshold
        cells, chosen = cells[passed], likely[passed]
        centre, size = self._decoded(cells, chosen)
        boxes = np.concatenate((centre - size / 2, centre + size / 2), axis=1, dtype=np.float32)
        return Candidates(boxes, best[passed], score[passed].argmax(axis=1))

    def _decoded(
        self, cells: NDArray[np.float32], chosen: NDArray[np.intp]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Centres and sizes in pixels of the input."""
        strides = self._strides[chosen]
        return (cells[:, :2] + self._corners[chosen]) * strides, np.exp(cells[:, 2:4]) * strides


class DecodedYoloxHead(YoloxHead):
    """YOLOX exported with its decoding in the graph: the same shape, centre and size in pixels of the input."""

    @override
    def _decoded(
        self, cells: NDArray[np.float32], chosen: NDArray[np.intp]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return cells[:, :2], cells[:, 2:4]


class YoloHead:
    """YOLOv8 to YOLO12 as ultralytics exports them (G. Jocher et al., 2023): ``[1, 4 + C, N]``, to be suppressed.

    A column gives centre x, centre y, width, height in pixels of the input, and a probability for each class.
    """

    def __init__(self, manifest: Manifest, wanted: NDArray[np.intp]) -> None:
        self._classes = len(manifest.labels)
        self._wanted = wanted + 4

    def expected(self) -> tuple[tuple[int | None, ...], ...]:
        """One grid, boxes and classes down, places across."""
        return ((1, 4 + self._classes, None),)

    def read(self, outputs: Sequence[NDArray[Any]], threshold: float) -> Candidates:
        """Threshold first, as for the others."""
        grid = outputs[0][0]
        score = grid[self._wanted]
        best = score.max(axis=0)
        passed = np.flatnonzero(best >= threshold)
        centre, half = grid[:2, passed].T, grid[2:4, passed].T / 2
        boxes = np.concatenate((centre - half, centre + half), axis=1).astype(np.float32)
        return Candidates(boxes, best[passed].astype(np.float32), score[:, passed].argmax(axis=0))


class EndToEndHead:
    """Detectors that suppress by themselves (YOLOv10, YOLO26 end to end): ``[1, N, 6]``, surest first.

    A row gives left, top, right, bottom in pixels of the input, score, and the class as a number; rows that found
    nothing score nothing.
    """

    def __init__(self, manifest: Manifest, wanted: NDArray[np.intp]) -> None:
        self._name = manifest.name
        self._column = np.full(len(manifest.labels), -1, np.intp)
        self._column[wanted] = np.arange(len(wanted))

    def expected(self) -> tuple[tuple[int | None, ...], ...]:
        """One list of finds."""
        return ((1, None, 6),)

    def read(self, outputs: Sequence[NDArray[Any]], threshold: float) -> Candidates:
        """The finds of wanted classes.

        Raises:
            InvalidError: ``model.labels`` when a find is of a class that the manifest has no label for.
        """
        rows = outputs[0][0]
        rows = rows[rows[:, 4] >= threshold]
        column = self._column[self._known(rows[:, 5])]
        kept = column >= 0
        return Candidates(rows[kept, :4].astype(np.float32), rows[kept, 4].astype(np.float32), column[kept])

    def classes(self, outputs: Sequence[NDArray[Any]]) -> set[int]:
        """The classes of all rows, however little they score: the shape does not tell how many there are.

        Raises:
            InvalidError: ``model.shape`` when a row is not box, score and class in this order, ``model.labels`` when
                one is of a class that the manifest has no label for.
        """
        rows = outputs[0][0]
        score = rows[:, 4]
        if not ((score >= -_ROUNDING) & (score <= 1 + _ROUNDING)).all():
            raise self._out_of_order("scores from 0 to 1 in the fifth place", score)
        # Rows that fill the list up score nothing, and their class is anything.
        told = rows[score > 0, 5]
        if not (told == np.round(told)).all():
            raise self._out_of_order("whole numbers in the last place", told)
        return set(self._known(told).tolist())

    def _known(self, told: NDArray[Any]) -> NDArray[np.intp]:
        label = told.astype(np.intp)
        if label.size and not (label.min() >= 0 and label.max() < len(self._column)):
            raise InvalidError(
                "model.labels",
                f"{self._name}: expected classes 0..{len(self._column) - 1}, as many as the manifest has labels, "
                f"found a find of class {int(label.max() if label.min() >= 0 else label.min())}",
                "correct `labels` in the manifest: one for each class, in the model's order",
            )
        return label

    def _out_of_order(self, expected: str, found: NDArray[Any]) -> InvalidError:
        return InvalidError(
            "model.shape",
            f"{self._name}: expected finds of left, top, right, bottom, score, class, with {expected}, "
            f"found {found.min():g}..{found.max():g} there",
            "export it so that its finds are in that order, or correct `head` in the manifest",
        )


HEADS: dict[str, type[SsdHead] | type[YoloxHead] | type[YoloHead] | type[EndToEndHead]] = {
    "ssd": SsdHead,
    "yolox": YoloxHead,
    "yolox_decoded": DecodedYoloxHead,
    "yolo": YoloHead,
    "end_to_end": EndToEndHead,
}
"""By the manifest's ``head``."""
