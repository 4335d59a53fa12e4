"""Finding a model by name and opening it only when it is byte for byte the one its manifest names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from typing_extensions import TypeVar

from common.runtime.errors import InvalidError
from common.runtime.settings import closest
from models.manifest import Manifest, ModelManifest, read_manifest

MANIFESTS = Path(__file__).parent / "manifests"
WEIGHTS = Path(__file__).parent / "weights"


M = TypeVar("M", bound=ModelManifest, default=Manifest)


@dataclass(frozen=True, slots=True)
class Model(Generic[M]):
    """A manifest (a detector's, unless said otherwise) and the verified file it speaks of."""

    manifest: M
    path: Path


def load_manifest(name: str, directory: Path | None = None) -> ModelManifest:
    """The manifest of that name: ``directory``'s own first, then the ones that ship.

    Raises:
        InvalidError: ``model.unknown`` when there is none of that name.
        ConfigError: ``config.invalid`` when it is faulty.
    """
    places = [MANIFESTS] if directory is None else [directory, MANIFESTS]
    for place in places:
        path = place / f"{name}.yaml"
        if path.is_file():
            manifest = read_manifest(path)
            if manifest.name != name:
                raise InvalidError(
                    "model.manifest",
                    f"expected {path} to name the model {name}, got {manifest.name}",
                    "a manifest is called like its model",
                )
            return manifest
    known = sorted({path.stem for place in places for path in place.glob("*.yaml")})
    near = closest(name, known)
    raise InvalidError(
        "model.unknown",
        f"expected one of the models {', '.join(known)}, got {name!r}",
        f"did you mean {near}?" if near else "`drumtower models list` shows them",
    )


def list_manifests(directory: Path | None = None) -> Iterator[ModelManifest]:
    """Every manifest there is, by name; ``directory``'s own hide shipped ones of the same name."""
    places = [MANIFESTS] if directory is None else [directory, MANIFESTS]
    for name in sorted({path.stem for place in places for path in place.glob("*.yaml")}):
        yield load_manifest(name, directory)


def open_model(name: str, directory: Path | None = None) -> Model:
    """Find a detector's weights and prove that they are the ones meant; raises as ``open_as`` does."""
    return open_as(Manifest, name, directory)


def open_as(kind: type[M], name: str, directory: Path | None = None) -> Model[M]:
    """Find the weights of a model and prove that they are the ones meant.

    Args:
        kind: what its manifest has to be: the model's use.
        name: as in the manifest.
        directory: where weights (and manifests) that do not ship lie; looked into first.

    Raises:
        InvalidError: ``model.unknown``, ``model.kind`` when it is for another use, ``model.missing`` when the
            file is not there, ``model.tampered`` when its sha256 is another.
        ConfigError: ``config.invalid`` when the manifest is faulty.
    """
    manifest = load_manifest(name, directory)
    if not isinstance(manifest, kind):
        fitting = sorted(one.name for one in list_manifests(directory) if isinstance(one, kind))
        raise InvalidError(
            "model.kind",
            f"expected one of the models {', '.join(fitting) or '(none)'} here, "
            f"got {name}, whose head is {manifest.head}",
            "`drumtower models list` shows what each is for",
        )
    return Model(manifest, weights_of(manifest, directory))


def weights_of(manifest: ModelManifest, directory: Path | None = None) -> Path:
    """The verified file of a manifest; raises as ``open_model`` does."""
    places = [WEIGHTS] if directory is None else [directory, WEIGHTS]
    for place in places:
        path = place / manifest.file
        if path.is_file():
            verify(manifest, path)
            return path
    looked = " and ".join(str(place / manifest.file) for place in places)
    hint = (
        "it ships with drumtower: install again"
        if manifest.ships
        else f"it does not ship: put {manifest.file} there ({manifest.origin})"
    )
    raise InvalidError(
        "model.missing", f"expected the weights of {manifest.name} at {looked}, found nothing", hint
    )


def verify(manifest: ModelManifest, path: Path) -> None:
    """Compare a file with the fingerprint of its manifest.

    Raises:
        InvalidError: ``model.tampered`` when they differ, ``model.missing`` when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise InvalidError(
            "model.missing", f"expected to read {path}, got: {error}", "check the file's permissions"
        ) from error
    if found != manifest.sha256:
        raise InvalidError(
            "model.tampered",
            f"expected {path} to have sha256 {manifest.sha256} ({manifest.size} bytes), "
            f"got {found} ({size} bytes)",
            "the file was changed or cut short: put the right one there, or give it a manifest of its own",
        )
