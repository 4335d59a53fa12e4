"""Photos that people send: decoded to prove that they are, and written anew so that nothing else rides along.

What a phone hides in a photo (where it was taken, by whose device, what was cut away) is lost with the re-encoding;
the picture is turned upright first, for its orientation stood in there too.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tempfile
import threading
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageOps, UnidentifiedImageError

from cloud.errors import TooLargeError
from common.runtime.errors import InvalidError, TransientError

#: What a camera makes; a small file that unfolds to more is an attack, not a photo.
_MOST_PIXELS: Final = 50_000_000
_FORMATS: Final = ("JPEG", "PNG")
_LONGEST_SIDE: Final = 2560
_QUALITY: Final = 85
_MODE: Final = 0o440
#: What decoders raise on bytes that are not what their beginning says.
_UNREADABLE: Final = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError),
    *(struct.error, zlib.error),
)
#: A photo of fifty million pixels takes 150 MB while it is open; everybody may send one.
_AT_ONCE: Final = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo as it is kept."""

    sha256: str
    width: int
    height: int
    jpeg: bytes

    def named(self) -> dict[str, Any]:
        """What the report says of it."""
        return {name: value for name, value in asdict(self).items() if name != "jpeg"}


def take_photo(sent: bytes, limit_mb: float) -> Photo:
    """A photo made anew from what was sent.

    Raises:
        TooLargeError: it is larger than photos may be.
        InvalidError: it is no JPEG and no PNG, is broken, or unfolds to too many pixels.
    """
    if len(sent) > limit_mb * 1_000_000:
        raise TooLargeError(
            "report.photo_too_large",
            f"expected a photo of at most {limit_mb:g} MB, got one of {len(sent) / 1_000_000:.1f} MB",
            "send a smaller one; a phone offers sizes when it shares a picture",
        )
    with _AT_ONCE:
        jpeg, width, height = _made_anew(sent)
    return Photo(hashlib.sha256(jpeg).hexdigest(), width, height, jpeg)


def _made_anew(sent: bytes) -> tuple[bytes, int, int]:
    try:
        # What Pillow only warns of (a broken EXIF, many pixels) does not matter here: the first is thrown away, of the
        # second our own limit is lower.
        with Image.open(io.BytesIO(sent), formats=_FORMATS) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise _no_photo(f"{opened.width} x {opened.height} pixels")
            upright = ImageOps.exif_transpose(opened)
            upright.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
            # Into a new image: palettes, profiles, comments and EXIF stay behind with the old one.
            colours = upright.convert("RGBA")
            bare = Image.new("RGB", upright.size, "white")
            bare.paste(colours, mask=colours.getchannel("A"))
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise _no_photo(str(error)) from error
    except _UNREADABLE as error:
        raise _no_photo(str(error)) from error
    written = io.BytesIO()
    bare.save(written, "JPEG", quality=_QUALITY)
    return written.getvalue(), bare.width, bare.height


def _no_photo(found: str) -> InvalidError:
    return InvalidError(
        "report.no_photo",
        f"expected a JPEG or PNG that can be opened, of at most {_MOST_PIXELS // 1_000_000} million pixels,"
        f" got: {found[:120]}",
        "send the photo as the camera made it, or as PNG",
    )


def keep_photo(directory: Path | None, photo: Photo) -> None:
    """Put a photo among the evidence, whole or not at all; one that is there already is left.

    Raises:
        InvalidError: this ticket centre has no place for pictures.
        TransientError: the disk does not take it.
    """
    if directory is None:
        raise InvalidError(
            "report.no_place_for_photos",
            "expected a place for pictures, this ticket centre has none",
            "send the report without photos, or have the operator set DRUMTOWER_EVIDENCE_DIR",
        )
    folder = directory / photo.sha256[:2]
    target = folder / f"{photo.sha256}.jpg"
    if target.is_file():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, target, photo.jpeg)
    except OSError as error:
        raise TransientError(
            "report.photo_not_kept",
            f"the disk for evidence does not take a photo: {error.strerror}",
            "the ticket centre must be able to write where DRUMTOWER_EVIDENCE_DIR is, and find room there",
        ) from error


def _write(folder: Path, target: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=folder, prefix=".report-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), _MODE)
        Path(name).replace(target)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    # The name must outlast a power cut as well as the content.
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
