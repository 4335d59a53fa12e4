"""A network camera, spoken to by RTSP (RFC 2326) through FFmpeg."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import AfterValidator, Field

from common.runtime.clock import Clock
from common.runtime.config import Settings
from edge.camera.live import LiveSource, Trouble
from edge.camera.source import CameraError, CameraLostError, CameraRefusedError

_CREDENTIAL: Final = "DRUMTOWER_CAMERA_CREDENTIAL_"


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError("expected no user and password in the address: they belong into credential_file")
    if parts.scheme not in {"rtsp", "rtsps"} or not parts.hostname:
        raise ValueError("expected rtsp://host/path or rtsps://host/path")
    return url


class RtspSettings(Settings):
    """A camera on the network.

    ``credential_file`` holds one line, ``user:password``, and is relative to the configuration; the environment's
    DRUMTOWER_CAMERA_CREDENTIAL_<NAME> goes before it. ``stalled_s`` is how long nothing may come.
    """

    url: Annotated[str, AfterValidator(_address)]
    transport: Literal["tcp", "udp"] = "tcp"
    credential_file: Path | None = None
    stalled_s: Annotated[float, Field(ge=1, le=120)] = 5.0


def credential_variable(camera: str) -> str:
    """The environment variable that may hold a camera's ``user:password``."""
    return _CREDENTIAL + camera.upper().replace("-", "_")


def read_credential(camera: str, settings: RtspSettings, beside: Path, environment: Mapping[str, str]) -> str:
    """A camera's ``user:password``; empty when it has none.

    Args:
        camera: its name.
        settings: name the file.
        beside: the configuration file that paths are relative to.
        environment: goes before the file.

    Raises:
        CameraLostError: ``camera.credential``; it may be written yet.
    """
    held = environment.get(credential_variable(camera), "").strip()
    place = credential_variable(camera)
    if not held and settings.credential_file is not None:
        file = beside.parent / settings.credential_file
        place = str(file)
        try:
            held = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise CameraLostError(
                "camera.credential", f"expected user:password in {file}, got: {said}", "write that file"
            ) from error
    elif not held:
        return ""
    user, colon, password = held.partition(":")
    if not (user and colon and password) or "\n" in held:
        raise CameraLostError(
            "camera.credential",
            f"expected one line, user:password, in {place}, found {'several' if chr(10) in held else 'something else'}",
            "write it as the camera's own page takes it",
        )
    return held


class RtspSource(LiveSource):
    """One RTSP session, video alone.

    Args:
        settings: where and how.
        credential: ``user:password``, or empty; shown to the camera and to nobody else.
        clock: when frames arrive.
    """

    def __init__(self, settings: RtspSettings, *, credential: str = "", clock: Clock | None = None) -> None:
        super().__init__(settings.url, stalled_s=settings.stalled_s, clock=clock)
        self._settings = settings
        self._credential = credential

    def _address(self) -> str:
        if not self._credential:
            return self._settings.url
        user, _, password = self._credential.partition(":")
        parts = urlsplit(self._settings.url)
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@"
        return urlunsplit(parts._replace(netloc=login + parts.netloc))

    def _options(self) -> Mapping[str, str]:
        return {
            "rtsp_transport": self._settings.transport,
            "allowed_media_types": "video",
            # Half a second is enough to learn size and pace; FFmpeg's own five keep the first picture waiting.
            "analyzeduration": "500000",
            "fpsprobesize": "4",
        }

    def _not_opened(self, trouble: Trouble) -> CameraError | CameraLostError:
        if trouble.kind == "refused":
            given = "those given" if self._credential else "none were given"
            return CameraRefusedError(
                "camera.refused",
                f"expected {self.where} to take our user and password ({given}), got: {trouble.said}",
                "set credential_file; it is asked again in a quarter of an hour, for many cameras lock out who "
                "asks often",
            )
        if trouble.kind == "missing":
            return CameraLostError(
                "camera.no_stream",
                f"expected a stream at {self.where}, got: {trouble.said}",
                "check the path of the address in the camera's own pages",
            )
        return CameraLostError(
            "camera.unreachable",
            f"expected a camera at {self.where}, got: {trouble.said}",
            "check the camera's power, line and address; it is tried again",
        )
