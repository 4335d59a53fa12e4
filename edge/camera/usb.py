"""A camera on a USB port, or any other device of Video4Linux."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from common.runtime.clock import Clock
from common.runtime.config import Settings
from edge.camera.live import LiveSource, Trouble
from edge.camera.source import CameraError, CameraLostError


class UsbSettings(Settings):
    """A camera of Video4Linux; ``/dev/v4l/by-id/…`` outlives a change of the port."""

    device: Path
    width: Annotated[int, Field(ge=64, le=7680)] = 1280
    height: Annotated[int, Field(ge=48, le=4320)] = 720
    fps: Annotated[float, Field(gt=0, le=120)] = 10.0
    encoding: Annotated[
        Literal["any", "mjpeg", "yuyv422", "h264"], Field(description="what the camera is asked for")
    ] = "any"
    stalled_s: Annotated[float, Field(ge=1, le=120)] = 5.0


class DeviceSource(LiveSource):
    """An input device of FFmpeg.

    Args:
        driver: FFmpeg's name of it.
        address: the device, as that driver calls it.
        options: of the driver.
        stalled_s: how long nothing may come.
        clock: when frames arrive.
    """

    def __init__(
        self,
        driver: str,
        address: str,
        options: Mapping[str, str],
        *,
        stalled_s: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(address, stalled_s=stalled_s, clock=clock)
        self._format = driver
        self._given = dict(options)

    def _address(self) -> str:
        return self.where

    def _options(self) -> Mapping[str, str]:
        return self._given

    def _not_opened(self, trouble: Trouble) -> CameraError | CameraLostError:
        return CameraLostError(
            "camera.unreachable",
            f"expected a camera at {self.where}, got: {trouble.said}",
            "check that it is plugged in, that nothing else uses it, and that this account is in the group video",
        )


class UsbSource(DeviceSource):
    """A USB camera through Video4Linux (V4L2)."""

    def __init__(self, settings: UsbSettings, *, clock: Clock | None = None) -> None:
        options = {
            "video_size": f"{settings.width}x{settings.height}",
            "framerate": f"{settings.fps:g}",
        }
        if settings.encoding != "any":
            options["input_format"] = settings.encoding
        super().__init__("v4l2", str(settings.device), options, stalled_s=settings.stalled_s, clock=clock)
