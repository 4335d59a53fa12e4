"""Fetching weights that do not ship: by URL or from a mirror directory, kept only when they are the ones meant."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import httpx

from common.runtime.errors import InvalidError, TransientError
from models.manifest import ModelManifest
from models.store import verify

_PIECE: Final = 1 << 18
Told = Callable[[int], None]


def pull(manifest: ModelManifest, source: str, directory: Path, told: Told = lambda _: None) -> Path:
    """Fetch a model's file, prove its sha256, and put it beside the others.

    What was fetched before a line broke is gone on with; what is wrong is not kept.

    Args:
        manifest: names the file, its size and its sha256.
        source: ``https://…`` or ``http://…`` of the file (ends in ``.onnx``) or of the folder it lies in, or a
            directory of this machine.
        directory: where to; made if it is not there.
        told: called with the bytes there are so far.

    Returns:
        The file; one that is there already and is the right one is not fetched again.

    Raises:
        InvalidError: ``model.tampered`` when what came is something else, ``pull.refused`` when the server does
            not give it, ``pull.directory`` when it cannot be read or written.
        TransientError: ``pull.broken`` when the line broke: pull again, it goes on.
    """
    target = directory / manifest.file
    if target.is_file() and _right(manifest, target):
        told(manifest.size)
        return target
    part = target.with_name(target.name + ".part")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if source.startswith(("https://", "http://")):
            _download(_address(source, manifest), part, manifest.size, told)
        else:
            _copy(Path(source), manifest, part, told)
        _accept(manifest, part)
        part.replace(target)
    except OSError as error:
        raise InvalidError(
            "pull.directory",
            f"expected to bring {manifest.file} from {source} into {directory}, got: {error}",
            "check both places, their permissions and the room on the disk",
        ) from error
    return target


def _right(manifest: ModelManifest, path: Path) -> bool:
    try:
        verify(manifest, path)
    except InvalidError:
        return False
    return True


def _accept(manifest: ModelManifest, part: Path) -> None:
    """Keep nothing that is not the file meant: it would be gone on with for ever."""
    try:
        verify(manifest, part)
    except InvalidError:
        part.unlink(missing_ok=True)
        raise
    with part.open("rb+") as file:
        os.fsync(file.fileno())


def _address(source: str, manifest: ModelManifest) -> str:
    return source if source.endswith(".onnx") else f"{source.rstrip('/')}/{manifest.file}"


def _copy(source: Path, manifest: ModelManifest, part: Path, told: Told) -> None:
    path = source / manifest.file if source.is_dir() else source
    with path.open("rb") as given, part.open("wb") as taken:
        shutil.copyfileobj(given, taken, _PIECE)
        told(taken.tell())


def _download(address: str, part: Path, size: int, told: Told) -> None:
    """Fetch what is still missing of a file (RFC 9110, section 14)."""
    there = part.stat().st_size if part.is_file() else 0
    if there > size:
        part.unlink()
        there = 0
    if there == size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    try:
        with httpx.stream("GET", address, headers=headers, follow_redirects=True, timeout=30.0) as answer:
            goes_on = answer.status_code == 206 and _begins_at(answer.headers.get("Content-Range", ""), there)
            if not goes_on and answer.status_code != 200:
                _refused(address, answer.status_code, part)
            with part.open("ab" if goes_on else "wb") as file:
                for total in _written(answer.iter_raw(_PIECE), file.write, there if goes_on else 0):
                    told(total)
                    if total > size:
                        break
    except httpx.InvalidURL as error:
        raise InvalidError(
            "pull.refused", f"expected an address, got {address}: {error}", "correct it"
        ) from error
    except httpx.HTTPError as error:
        raise TransientError(
            "pull.broken",
            f"expected {size} bytes from {address}, got: {type(error).__name__}: {error}",
            "pull again: what came is kept, and it goes on from there",
        ) from error


def _written(pieces: Iterator[bytes], write: Callable[[bytes], int], total: int) -> Iterator[int]:
    for piece in pieces:
        write(piece)
        total += len(piece)
        yield total


def _begins_at(content_range: str, there: int) -> bool:
    return content_range.startswith(f"bytes {there}-")


def _refused(address: str, status: int, part: Path) -> None:
    """Say so; a server that takes our place in the file for impossible has another file."""
    if status == 416:
        part.unlink(missing_ok=True)
    if status >= 500 or status == 429:
        raise TransientError("pull.broken", f"expected {address}, got HTTP {status}", "pull again later")
    raise InvalidError(
        "pull.refused",
        f"expected {address} to be there, got HTTP {status}",
        "check the address; name the file itself or the folder that it lies in",
    )
