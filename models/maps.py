"""What every model that gives maps of probabilities over the whole picture has in common."""

from __future__ import annotations

from typing import Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from common.runtime.errors import InvalidError
from models.manifest import ModelManifest
from models.runtime import UNFIT, open_session
from models.store import Model

M = TypeVar("M", bound=ModelManifest)


class MapModel(Generic[M]):
    """Gives one map for each label of the manifest.

    Args:
        model: manifest and verified file; the file takes ``(1, 3, H, W)`` float32 and gives ``(1, labels, h, w)``.
        threads: of a run, the caller's own included.
        lean: see ``open_session``.

    Raises:
        InvalidError: ``model.shape`` when the file takes or gives something else.
    """

    def __init__(self, model: Model[M], threads: int = 1, *, lean: bool = False) -> None:
        self.manifest = model.manifest
        self._session = open_session(model.path, threads, lean=lean)
        self._check()

    def maps(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """How likely each cell of the whole picture is what each label says.

        Args:
            picture: uint8 BGR of any size.

        Returns:
            Float32 ``(labels, rows, columns)``; the cells divide the picture evenly.
        """
        spec = self.manifest.input
        size = (spec.width, spec.height)
        small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        tensor = np.ascontiguousarray(small[..., ::-1].transpose(2, 0, 1)[None], np.float32)
        return np.asarray(self._run(tensor)[0], np.float32)

    def _run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._session.run(None, {self.manifest.input.name: tensor})[0], np.float32)

    def _check(self) -> None:
        manifest, spec = self.manifest, self.manifest.input
        inputs = self._session.get_inputs()
        found = "; ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in inputs)
        plain = (spec.layout, spec.channels, spec.dtype, spec.fit) == ("nchw", "rgb", "float32", "stretch")
        one = len(inputs) == 1 and inputs[0].name == spec.name and inputs[0].type == "tensor(float)"
        if not plain or not one or inputs[0].shape[1:] != [3, spec.height, spec.width]:
            raise InvalidError(
                "model.shape",
                f"{manifest.name}: expected one input {spec.name} tensor(float) [1, 3, {spec.height}, {spec.width}], "
                f"nchw, rgb, stretched, found {found} and a manifest of {spec.layout}, {spec.channels}, {spec.fit}",
                "correct `input` in the manifest or export the model again",
            )
        try:
            shape = self._run(np.full((1, 3, spec.height, spec.width), 114, np.float32)).shape
        except UNFIT as error:
            raise InvalidError(
                "model.shape",
                f"{manifest.name}: expected to run on a grey picture, got: {error}",
                "export the model again",
            ) from error
        if len(shape) != 4 or shape[:2] != (1, len(manifest.labels)):
            labels = ", ".join(manifest.names)
            raise InvalidError(
                "model.shape",
                f"{manifest.name}: expected output [1, {len(manifest.labels)}, rows, columns], found {list(shape)}",
                f"export the model again with a map for each of: {labels}",
            )
