"""From a camera's configuration to its source."""

from __future__ import annotations

from pathlib import Path

from common.runtime.clock import Clock
from edge.camera.file import FileSource
from edge.camera.rtsp import RtspSettings, RtspSource
from edge.camera.source import FrameSource
from edge.camera.stills import StillsSettings, StillsSource
from edge.camera.usb import UsbSettings, UsbSource

SourceSettings = RtspSettings | UsbSettings | StillsSettings | Path
"""Where pictures come from; a path is a video file."""


def build_source(
    settings: SourceSettings, *, credential: str = "", paced: bool = True, loop: bool = False, clock: Clock
) -> FrameSource:
    """A fresh source, not yet open.

    Args:
        settings: what it is.
        credential: of a network camera.
        paced: whether recordings keep their own pace.
        loop: whether recordings begin again at their end.
        clock: time.
    """
    match settings:
        case RtspSettings():
            return RtspSource(settings, credential=credential, clock=clock)
        case UsbSettings():
            return UsbSource(settings, clock=clock)
        case StillsSettings():
            return StillsSource(settings, loop=loop, paced=paced, clock=clock)
        case Path():
            return FileSource(settings, clock=clock, paced=paced, loop=loop)
