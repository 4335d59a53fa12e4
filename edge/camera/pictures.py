"""From decoded frames to pictures."""

from __future__ import annotations

import av.error
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from edge.camera.frame import Image

_FULL_RANGE = 2
_BT709 = 1


class Pictures:
    """Turns decoded frames into BGR."""

    def __init__(self) -> None:
        self.refused = 0
        self._reformatter = VideoReformatter()

    def of(self, frame: VideoFrame) -> Image | None:
        """The frame as ``(height, width, 3)`` BGR; None, counted in ``refused``, when it is in a form nobody converts.

        OpenCV's conversion of plain video-range 4:2:0 is several times cheaper than swscale's, which
        starts threads for each picture; all other formats, ranges and matrices go through swscale.
        """
        if (
            frame.format.name == "yuv420p"
            and frame.color_range != _FULL_RANGE
            and frame.colorspace != _BT709
            and frame.width % 2 == 0
            and frame.height % 2 == 0
        ):
            planes = frame.to_ndarray()
            return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), dtype=np.uint8)
        try:
            bgr = self._reformatter.reformat(frame, format="bgr24", threads=1)
        except av.error.FFmpegError:
            self.refused += 1
            return None
        return np.ascontiguousarray(bgr.to_ndarray(), dtype=np.uint8)
