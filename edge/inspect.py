"""What `drumtower edge check` finds out before a box is started: models and footage, each on its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.runtime.errors import DrumtowerError
from edge.camera.file import FileSource
from edge.config import CameraConfig, DeviceConfig, footage_file
from edge.vision.scenes.config import HelmetConfig
from models.manifest import HelmetManifest, Manifest, ModelManifest
from models.store import open_as


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; ``error`` is None when it is sound."""

    what: str
    found: str
    error: DrumtowerError | None = None


def inspect(config: DeviceConfig, config_file: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Look at every camera's model and footage."""
    for camera in config.cameras:
        yield _model(camera.name, Manifest, camera.model, config.models_directory)
        for scene in camera.scenes:
            if isinstance(scene, HelmetConfig):
                yield _model(camera.name, HelmetManifest, scene.model, config.models_directory)
        yield _footage(camera, footage_file(camera, config_file, environment))


def _model(camera: str, kind: type[ModelManifest], name: str, directory: Path | None) -> Finding:
    what = f"{camera}: model {name}"
    try:
        model = open_as(kind, name, directory)
    except DrumtowerError as error:
        return Finding(what, "", error)
    return Finding(what, f"{model.path.name}, sha256 {model.manifest.sha256[:12]}…")


def _footage(camera: CameraConfig, path: Path) -> Finding:
    what = f"{camera.name}: footage {camera.footage or camera.path}"
    try:
        with FileSource(path, paced=False) as source:
            if next(source.frames(), None) is None:
                return Finding(what, "", DrumtowerError("camera.corrupt", f"expected frames in {path}", ""))
            found = f"{path}, {source.width}×{source.height} at {source.nominal_fps:g} frames/s"
    except DrumtowerError as error:
        return Finding(what, "", error)
    if camera.footage is not None and path.stem != camera.footage:
        found += f" (in place of {camera.footage}: set DRUMTOWER_FOOTAGE_DIR where it lies)"
    return Finding(what, found)
