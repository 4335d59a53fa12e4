"""Photos that people send: decoded to prove that they are, and written anew so that nothing else rides along.

What a phone hides in a photo (where it was taken, by whose device, what was cut away) is lost with the re-encoding;
the picture is turned upright first, for its orientation stood in there too.
"""

from __future__ import annotations

import hashlib
import io
import struct
import threading
import zlib
from dataclasses import asdict, dataclass
from typing import Any, Final

from PIL import Image, ImageOps, UnidentifiedImageError

from cloud.errors import TooLargeError
from common.runtime.errors import InvalidError

#: What a camera makes; a small file that unfolds to more is an attack, not a photo.
_MOST_PIXELS: Final = 50_000_000
_FORMATS: Final = ("JPEG", "PNG")
_LONGEST_SIDE: Final = 2560
_QUALITY: Final = 85
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
