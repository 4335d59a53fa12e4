"""Whether heads in a picture wear helmets, as a model that its manifest describes judges it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.runtime.errors import InvalidError
from models.crops import crop
from models.manifest import HelmetManifest
from models.runtime import UNFIT, open_session
from models.store import Model

Verdict = Literal["helmetless", "helmet", "unknown"]
_BATCH: Final = 32


class HelmetJudge:
    """Gives each head a probability that it is bare, and a verdict that may be *unknown*.

    Args:
        model: manifest and verified weights.
        threads: the session's threads, the caller's own included.

    Raises:
        InvalidError: ``model.broken`` when the file is no ONNX model, ``model.shape`` when inputs or outputs
            are not what the manifest says.
    """

    def __init__(self, model: Model[HelmetManifest], threads: int = 1) -> None:
        self.manifest = model.manifest
        self._session = open_session(model.path, threads)
        self._check()

    def probabilities(self, image: NDArray[np.uint8], heads: ArrayLike) -> NDArray[np.float32]:
        """How likely each head is bare.

        Args:
            image: uint8 ``(height, width, 3)``, BGR.
            heads: ``(N, 4)`` boxes round whole heads, helmet and hair included: left, top, right, bottom in
                pixels.

        Returns:
            ``(N,)`` in 0..1.
        """
        boxes = np.asarray(heads, np.float64).reshape(-1, 4)
        return self.of_crops(self.crops(image, boxes))

    def crops(self, image: NDArray[np.uint8], heads: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
        """What the model gets to see of each head; small enough to be kept for later."""
        spec = self.manifest.input
        return [
            crop(image, ((left + right) / 2, (top + bottom) / 2), side, spec.width)
            for left, top, right, bottom in heads.tolist()
            for side in (max(self.manifest.context * max(right - left, bottom - top), 1.0),)
        ]

    def of_crops(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """How likely the head in the middle of each crop is bare."""
        parts = [np.zeros(0, np.float32)]
        for start in range(0, len(crops), _BATCH):
            stacked = np.stack(crops[start : start + _BATCH])[..., ::-1].transpose(0, 3, 1, 2)
            parts.append(self._run(np.ascontiguousarray(stacked, np.float32))[:, 0])
        return np.concatenate(parts)

    def verdict(self, probability: float, size: float) -> Verdict:
        """What to say of one head.

        Args:
            probability: that it is bare.
            size: the shorter side of its box in pixels; on fewer pixels than the model was measured on it is
                *unknown*.
        """
        thresholds = self.manifest.thresholds
        if size < self.manifest.smallest:
            return "unknown"
        if probability >= thresholds.helmetless:
            return "helmetless"
        return "helmet" if probability <= thresholds.helmet else "unknown"

    def judge(self, image: NDArray[np.uint8], heads: ArrayLike) -> list[Verdict]:
        """A verdict for each head; see ``probabilities`` for the arguments."""
        boxes = np.asarray(heads, np.float64).reshape(-1, 4)
        sizes = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        return [
            self.verdict(probability, size)
            for probability, size in zip(
                self.probabilities(image, boxes).tolist(), sizes.tolist(), strict=True
            )
        ]

    def _run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._session.run(None, {self.manifest.input.name: tensor})[0], np.float32)

    def _check(self) -> None:
        """Inputs by what the file says of itself, outputs by one run on two grey crops."""
        manifest, spec = self.manifest, self.manifest.input
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        wanted = f"{spec.name} tensor(float) [any, 3, {spec.height}, {spec.width}]"
        fits = (
            len(inputs) == 1
            and len(outputs) == 1
            and inputs[0].name == spec.name
            and inputs[0].type == "tensor(float)"
            and inputs[0].shape[1:] == [3, spec.height, spec.width]
            and not isinstance(inputs[0].shape[0], int)
        )
        plain = (spec.layout, spec.channels, spec.dtype) == ("nchw", "rgb", "float32")
        if not fits or not plain or spec.width != spec.height:
            found = "; ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in inputs)
            raise InvalidError(
                "model.shape",
                f"{manifest.name}: expected one input {wanted}, square, nchw, rgb, and one output, "
                f"found {found} and {len(outputs)} outputs, a manifest of {spec.layout}, {spec.channels}",
                "correct `input` in the manifest or export the model again",
            )
        grey = np.full((2, 3, spec.height, spec.width), 114, np.float32)
        try:
            shape = self._run(grey).shape
        except UNFIT as error:
            raise InvalidError(
                "model.shape",
                f"{manifest.name}: expected to run on {grey.shape}, got: {error}",
                "export the model again",
            ) from error
        if shape != (2, len(manifest.labels)):
            raise InvalidError(
                "model.shape",
                f"{manifest.name}: expected output [2, {len(manifest.labels)}] for two heads "
                f"({', '.join(_spelt(manifest.labels))}), found {list(shape)}",
                "correct `labels` in the manifest or export the model again",
            )


def _spelt(labels: Iterable[object]) -> Iterable[str]:
    return (str(label) for label in labels)
