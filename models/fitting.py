"""A picture as a detector's manifest wants it: on the box, and where what was trained is compared with its file."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.manifest import InputSpec


class PictureFitter:
    """Turns a picture into the tensor the manifest asks for; keeps nothing, so several threads may at once."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._plain = spec.scale == 1.0 and not any(spec.mean)
        mean = np.asarray(spec.mean, np.float32)
        self._mean = mean.reshape(3, 1, 1) if spec.layout == "nchw" else mean

    def prepare(self, image: NDArray[np.uint8]) -> tuple[NDArray[Any], float, float]:
        """The tensor, and by how much x and y were scaled to make it (its origin is the picture's own)."""
        spec = self._spec
        height, width = image.shape[:2]
        scale_x, scale_y = spec.width / width, spec.height / height
        if spec.fit == "letterbox":
            scale_x = scale_y = min(scale_x, scale_y)
        # A picture may be so long and narrow that nothing would be left of it.
        size = (max(round(width * scale_x), 1), max(round(height * scale_y), 1))
        picture: NDArray[Any] = cv2.resize(image, size) if size != (width, height) else image
        if spec.channels == "rgb":
            picture = cv2.cvtColor(np.asarray(picture), cv2.COLOR_BGR2RGB)
        tensor = np.empty(tensor_shape(spec), spec.dtype)
        # As the picture lies: rows, columns, channels, whatever the model's own order.
        canvas = tensor[0].transpose(1, 2, 0) if spec.layout == "nchw" else tensor[0]
        canvas[size[1] :] = spec.pad
        canvas[: size[1], size[0] :] = spec.pad
        np.copyto(canvas[: size[1], : size[0]], picture)
        if not self._plain:
            tensor -= self._mean
            tensor *= np.float32(spec.scale)
        return tensor, scale_x, scale_y


def tensor_shape(spec: InputSpec) -> tuple[int, int, int, int]:
    """Of one picture, in the layout that the manifest asks for."""
    if spec.layout == "nhwc":
        return 1, spec.height, spec.width, 3
    return 1, 3, spec.height, spec.width
