"""What `drumtower edge check` finds out before a box is started: models and cameras, each on its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.runtime.clock import SystemClock
from common.runtime.config import Fault
from common.runtime.errors import DrumtowerError, InvalidError
from edge.camera.build import build_source
from edge.camera.rtsp import read_credential
from edge.camera.stills import StillsSettings
from edge.config import CameraConfig, DeviceConfig, drawn_outside, source_of
from edge.vision.detector import OnnxDetector
from edge.vision.scenes.build import check_labels
from edge.vision.scenes.config import FireConfig, HelmetConfig, WaterConfig
from edge.vision.waters import dry_picture
from models.manifest import FireManifest, HelmetManifest, Manifest, ModelManifest, WaterManifest
from models.store import open_as, open_model


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; ``error`` is None when it is sound."""

    what: str
    found: str
    error: DrumtowerError | None = None


def inspect(config: DeviceConfig, config_file: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look at every camera's model and at its first picture; one on the network is really spoken to."""
    labels: dict[str, tuple[str, ...]] = {}
    drawn = drawn_outside(config_file)
    for number, camera in enumerate(config.cameras):
        yield from (
            _outside(camera.name, fault) for fault in drawn if fault.key.startswith(f"cameras.{number}.")
        )
        yield _detector(camera, config.models_directory, labels)
        for scene in camera.scenes:
            if isinstance(scene, HelmetConfig):
                yield _model(camera.name, HelmetManifest, scene.model, config.models_directory)
            elif isinstance(scene, FireConfig):
                yield _model(camera.name, FireManifest, scene.model, config.models_directory)
            elif isinstance(scene, WaterConfig):
                yield _model(camera.name, WaterManifest, scene.model, config.models_directory)
                yield from (_dry_picture(camera.name, path) for path in scene.dry_pictures)
        yield _picture(camera, config_file, environment)


def _outside(camera: str, fault: Fault) -> Finding:
    hint = "draw it anew; until then this camera does not look, and no restart is needed"
    return Finding(f"{camera}: scenes", "", InvalidError("scene.outside", str(fault), hint))


def _model(camera: str, kind: type[ModelManifest], name: str, directory: Path | None) -> Finding:
    what = f"{camera}: model {name}"
    try:
        model = open_as(kind, name, directory)
    except DrumtowerError as error:
        return Finding(what, "", error)
    return Finding(what, f"{model.path.name}, sha256 {model.manifest.sha256[:12]}…")


def _detector(camera: CameraConfig, directory: Path | None, labels: dict[str, tuple[str, ...]]) -> Finding:
    """Opened as the box will, once for all its cameras: shapes and labels, and whether the scenes can live with these."""
    found = _model(camera.name, Manifest, camera.model, directory)
    if found.error is not None:
        return found
    try:
        if camera.model not in labels:
            labels[camera.model] = OnnxDetector(open_model(camera.model, directory), threads=1).labels
        check_labels(camera.scenes, labels[camera.model], camera.model)
    except DrumtowerError as error:
        return Finding(found.what, "", error)
    return found


def _dry_picture(camera: str, path: Path) -> Finding:
    what = f"{camera}: dry road {path}"
    try:
        height, width = dry_picture(path).shape[:2]
    except DrumtowerError as error:
        return Finding(what, "", error)
    return Finding(what, f"{width}×{height}")


def _picture(camera: CameraConfig, config_file: Path, environment: Mapping[str, str]) -> Finding:
    settings = source_of(camera, config_file, environment)
    what = f"{camera.name}: {camera.source}"
    try:
        credential = (
            read_credential(camera.name, camera.rtsp, config_file, environment) if camera.rtsp else ""
        )
        with build_source(settings, credential=credential, paced=False, clock=SystemClock()) as source:
            followed = isinstance(settings, StillsSettings) and settings.follow
            if not followed and next(source.frames(), None) is None:
                return Finding(what, "", DrumtowerError("camera.corrupt", f"expected frames of {what}", ""))
            found = f"{source.width}×{source.height} at {source.nominal_fps:g} frames/s"
    except DrumtowerError as error:
        return Finding(what, "", error)
    if isinstance(settings, Path):
        found = f"{settings}, {found}"
        if camera.footage is not None and settings.stem != camera.footage:
            found += f" (in place of {camera.footage}: set DRUMTOWER_FOOTAGE_DIR where it lies)"
    return Finding(what, found)
