"""One box's configuration: its file in ``firmware_configs/devices/`` and what the environment overrides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from common.runtime.config import Fault, InvalidConfigError, Settings, Wrong, load_config
from common.runtime.errors import ConfigError
from common.runtime.log import get_logger
from common.runtime.redaction import hide_address, read_secret
from common.runtime.settings import Location, closest, one_of, texts, twice
from common.runtime.watchdog_settings import WatchdogSettings
from common.wire.topics import Address
from edge.camera.build import SourceSettings
from edge.camera.rtsp import RtspSettings
from edge.camera.stills import StillsSettings
from edge.camera.usb import UsbSettings
from edge.clips import ClipSettings
from edge.sensors.modbus_config import ModbusSettings
from edge.settings import (
    Broker,
    Name,
    OutboxSettings,
    ReadingsSettings,
    SensorSettings,
    StormSettings,
    UplinkSettings,
    UploadSettings,
)
from edge.vision.pipeline import VisionSettings
from edge.vision.scenes.config import SceneId, outside

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_REPLACEMENT: Final = "bikes"
_SOURCES: Final = ("footage", "path", "rtsp", "usb", "stills")
_ONE_SOURCE: Final = "footage, path, rtsp, usb and stills"
_log = get_logger("config")


class CameraConfig(VisionSettings):
    """One camera: where its pictures come from, what looks at them, and for what.

    ``footage`` names a video of the demo: ``vtest`` or ``bikes``; ``path`` is any video file, relative to
    the configuration; ``rtsp`` is a camera on the network, ``usb`` one on this box, ``stills`` a folder of
    pictures. Exactly one of them stands.
    """

    name: Name
    footage: Literal["vtest", "bikes"] | None = None
    path: Path | None = None
    rtsp: RtspSettings | None = None
    usb: UsbSettings | None = None
    stills: StillsSettings | None = None
    loop: bool = True
    paced: bool = True
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "cocossd"

    severity: dict[SceneId, Annotated[int, Field(ge=1, le=4)]] = Field(default_factory=dict)
    """By scene, where it is to be other than the category's own."""

    @property
    def source(self) -> str:
        """Where its pictures come from, in words."""
        if self.rtsp is not None:
            return f"camera {self.rtsp.url}"
        if self.usb is not None:
            return f"camera {self.usb.device}"
        return f"pictures {self.stills.directory}" if self.stills else f"footage {self.footage or self.path}"

    @property
    def severities(self) -> dict[str, int]:
        """By source of what it says, where they are to be other than the category's own."""
        return {f"scene:{self.name}:{scene}": severity for scene, severity in self.severity.items()}

    def cross_faults(self) -> Iterator[Wrong]:
        """A camera has one source, and severities are those of its own scenes."""
        yield from super().cross_faults()
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) > 1:
            yield Wrong((given[1],), f"expected exactly one of {_ONE_SOURCE}, got {' and '.join(given)}")
        elif self.right(*_SOURCES) and not given:
            yield Wrong((), f"expected exactly one of {_ONE_SOURCE}, got none")
        scenes = sorted({name for _, name in texts(scene.id for scene in self.scenes)})
        for name in self.severity:
            if name not in scenes:
                said = one_of(name, scenes) if scenes else f"there is no scene, got {name!r}"
                yield Wrong(("severity", str(name)), said)


class DeviceConfig(Settings):
    """Everything one box is told."""

    site: Name
    device: Name
    # A status has room for 64 counters, and each camera takes one.
    cameras: Annotated[tuple[CameraConfig, ...], Field(max_length=32)] = ()
    sensors: tuple[SensorSettings, ...] = ()
    modbus: ModbusSettings = ()
    storm: StormSettings = StormSettings()
    readings: ReadingsSettings = ReadingsSettings()
    outbox: OutboxSettings = OutboxSettings()
    uplink: UplinkSettings = UplinkSettings()
    evidence: UploadSettings = UploadSettings()
    clips: ClipSettings | None = None
    watch: WatchdogSettings = WatchdogSettings()
    models_directory: Path | None = None
    inference_threads: Annotated[int, Field(ge=1, le=64)] = 2

    def cross_faults(self) -> Iterator[Wrong]:
        """Cameras and sensors share one set of names."""
        named: list[tuple[Location, object]] = [
            (("cameras", number, "name"), camera.name) for number, camera in enumerate(self.cameras)
        ]
        named += [(("sensors", number, "name"), sensor.name) for number, sensor in enumerate(self.sensors)]
        named += [
            (("modbus", number, "sensors", place, "name"), sensor.name)
            for number, line in enumerate(self.modbus)
            for place, sensor in enumerate(line.sensors)
        ]
        yield from twice((at, name) for at, name in named if isinstance(name, str))

    @property
    def names(self) -> list[str]:
        """Of its cameras and sensors."""
        names = [camera.name for camera in self.cameras] + [sensor.name for sensor in self.sensors]
        return names + [sensor.name for line in self.modbus for sensor in line.sensors]

    @property
    def address(self) -> Address:
        """Who this box is."""
        return Address(self.site, self.device)


@dataclass(frozen=True, slots=True)
class EvidenceDoor:
    """Where evidence goes and what to show there; any of the addresses will do, the first is tried first."""

    urls: tuple[str, ...]
    username: str
    password: str = field(repr=False)
    ca_file: Path | None = None


def load_device(path: Path) -> DeviceConfig:
    """Read a box's configuration.

    What is drawn outside a camera's picture is that camera's fault, see ``drawn_outside``: the box and its other cameras
    do without it.

    Raises:
        InvalidConfigError: with every fault at once.
    """
    try:
        return load_config(path, DeviceConfig)
    except InvalidConfigError:
        load_config(path, DeviceConfig, outside_pictures)  # whoever mends the file is told these too
        raise


def outside_pictures(config: DeviceConfig) -> Iterator[Wrong]:
    """Everything that is drawn outside a camera's picture."""
    for number, camera in enumerate(config.cameras):
        yield from (wrong.within(("cameras", number)) for wrong in outside(camera.scenes))


def drawn_outside(path: Path) -> list[Fault]:
    """What a file draws outside its cameras' pictures, with its lines; nothing where it cannot be read at all."""
    try:
        load_config(path, DeviceConfig, outside_pictures)
    except InvalidConfigError as error:
        return error.faults
    return []


class Redrawn:
    """Looks how a camera's scenes are drawn in the file by now, and how severe they are.

    Args:
        path: the box's configuration.
        camera: its name.
    """

    def __init__(self, path: Path, camera: str) -> None:
        self._path = path
        self._camera = camera
        self._seen: tuple[int, ...] | None = None

    def __call__(self) -> CameraConfig | None:
        """The camera as it stands in the file now; None when it is as it was when last asked, or cannot be used."""
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return None
        self._seen = stamp
        try:
            config = load_device(self._path)
        except InvalidConfigError as error:
            _log.warning("camera.not_redrawn", camera=self._camera, message=error.message, hint=error.hint)
            return None
        return next((camera for camera in config.cameras if camera.name == self._camera), None)


def _stamp(path: Path) -> tuple[int, ...]:
    """What tells a file from the one that was read before; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def data_directory(chosen: Path | None, config: DeviceConfig, environment: Mapping[str, str]) -> Path:
    """Where this box keeps what must survive: the option, DRUMTOWER_DATA, or below ``.drumtower``."""
    if chosen is not None:
        return chosen
    named = environment.get("DRUMTOWER_DATA")
    return Path(named) if named else Path(".drumtower") / "boxes" / config.device


def source_of(camera: CameraConfig, beside: Path, environment: Mapping[str, str]) -> SourceSettings:
    """Where a camera's pictures come from, its paths made whole; arguments as of :func:`footage_file`."""
    if camera.stills is not None:
        return camera.stills.model_copy(update={"directory": beside.parent / camera.stills.directory})
    return camera.rtsp or camera.usb or footage_file(camera, beside, environment)


def footage_file(camera: CameraConfig, beside: Path, environment: Mapping[str, str]) -> Path:
    """The video that a camera plays.

    Args:
        camera: its configuration.
        beside: the configuration file that paths are relative to.
        environment: DRUMTOWER_FOOTAGE_DIR holds what the set-up fetched; without it the video that ships
            is played instead, and a line of the log says so.
    """
    if camera.path is not None:
        return beside.parent / camera.path
    bundled = beside.parent.parent / "footage"
    fetched = environment.get("DRUMTOWER_FOOTAGE_DIR")
    directories = [Path(fetched), bundled] if fetched else [bundled]
    for directory in directories:
        for suffix in (".avi", ".mp4"):
            found = directory / f"{camera.footage}{suffix}"
            if found.is_file():
                return found
    _log.warning(
        "camera.footage_replaced",
        camera=camera.name,
        wanted=camera.footage,
        played=_REPLACEMENT,
        hint=f"{camera.footage} could not be had: zones drawn for it lie over another street now; "
        "set DRUMTOWER_FOOTAGE_DIR to where it lies",
    )
    return bundled / f"{_REPLACEMENT}.mp4"


def uplinks_of(config: DeviceConfig, environment: Mapping[str, str]) -> tuple[Broker, EvidenceDoor | None]:
    """The broker, and where evidence goes or None when nobody said where: the environment before the file.

    DRUMTOWER_EVIDENCE_URL may hold several addresses of the district, separated by commas.

    Raises:
        ConfigError: with every fault at once.
    """
    faults: list[str] = []
    ca_file, password = _trust(config, environment, faults)
    host, port, tls = _broker_address(config, environment, faults)
    urls = _evidence_urls(config, environment, faults)
    if faults:
        raise ConfigError(
            "edge.environment",
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the environment:\n  "
            + "\n  ".join(faults),
            "set these and start again; `drumtower edge run --help` lists them",
        )
    door = EvidenceDoor(urls, str(config.address), password, ca_file) if urls else None
    return Broker(host, port, tls, password, ca_file), door


def _broker_address(
    config: DeviceConfig, environment: Mapping[str, str], faults: list[str]
) -> tuple[str, int, bool]:
    """Host, port and whether to speak TLS."""
    url = environment.get("DRUMTOWER_BROKER_URL") or config.uplink.broker_url or ""
    hide_address(url)  # a box takes its password from a file, but somebody may have written it here
    parts = _split(url)
    port = _PORTS.get(parts.scheme, 0)
    if not url:
        faults.append("DRUMTOWER_BROKER_URL: missing; give it, or uplink.broker_url in the file")
    elif parts.scheme not in _PORTS or not parts.hostname:
        near = closest(parts.scheme, _PORTS)
        meant = f" (did you mean {near}://?)" if near and near != parts.scheme else ""
        faults.append(
            f"DRUMTOWER_BROKER_URL: expected mqtts://host:port or mqtt://host:port, got {url!r}{meant}"
        )
    else:
        try:
            port = parts.port or port
        except ValueError:
            faults.append(f"DRUMTOWER_BROKER_URL: expected a port from 1 to 65535 in {url!r}")
    return parts.hostname or "", port, parts.scheme == "mqtts"


def _split(url: str) -> SplitResult:
    """The parts of an address; none when it is not one."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _evidence_urls(
    config: DeviceConfig, environment: Mapping[str, str], faults: list[str]
) -> tuple[str, ...]:
    named = environment.get("DRUMTOWER_EVIDENCE_URL") or config.evidence.url or ""
    hide_address(named)
    urls = tuple(url.strip().rstrip("/") for url in named.split(",") if url.strip())
    for url in urls:
        parts = _split(url)
        if parts.scheme not in {"https", "http"} or not parts.hostname:
            faults.append(f"DRUMTOWER_EVIDENCE_URL: expected https://host:port, got {url!r}")
    return urls


def _trust(
    config: DeviceConfig, environment: Mapping[str, str], faults: list[str]
) -> tuple[Path | None, str]:
    """The CA to trust (None: the system's) and the box's own password."""
    named = environment.get("DRUMTOWER_CA_FILE")
    ca_file = Path(named) if named else config.uplink.ca_file
    if ca_file is not None and not ca_file.is_file():
        faults.append(f"DRUMTOWER_CA_FILE: expected a PEM file at {ca_file}, found nothing")
    named = environment.get("DRUMTOWER_CREDENTIAL_FILE")
    credential_file = Path(named) if named else config.uplink.credential_file
    password = ""
    if credential_file is None:
        faults.append("DRUMTOWER_CREDENTIAL_FILE: missing; give it, or uplink.credential_file in the file")
    else:
        try:
            password = read_secret(credential_file)
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"DRUMTOWER_CREDENTIAL_FILE: cannot read {credential_file}: {error}")
        else:
            if not password or "\n" in password:
                faults.append(
                    f"DRUMTOWER_CREDENTIAL_FILE: expected one line, the password, in {credential_file}"
                )
    return ca_file, password
