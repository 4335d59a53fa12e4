"""A photo under a key of its own, and that key under the newest of the ring.

AES-256-GCM (NIST SP 800-38D) both times. Changing the ring's key rewrites forty-eight bytes of the database for each photo
and no file; deleting those bytes makes the file noise, in every copy of it that was ever made.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloud.reports.sealing import KeyRing, Sealed
from common.runtime.errors import DrumtowerError

_KEY_BITS: Final = 256
_NONCE_BYTES: Final = 12


#: A reporter's photo belongs to the report; one that proves a ticket to the ticket.
Whose = Literal["report", "ticket"]
_PARTS: Final[dict[Whose, str]] = {"report": "photo", "ticket": "proof"}


@dataclass(frozen=True, slots=True)
class PhotoOf:
    """Which photo of which report, or of which ticket."""

    owner_id: UUID
    sha256: str
    whose: Whose = "report"

    @property
    def bound_to(self) -> bytes:
        """What the photo and its key belong to."""
        return self.owner_id.bytes + f"|{_PARTS[self.whose]}|{self.sha256}".encode()


@dataclass(frozen=True, slots=True)
class SealedPhoto:
    """A file's content, the SHA-256 of it, and the key that opens it, sealed."""

    content: bytes
    file: str
    key: Sealed


def seal_photo(keys: KeyRing, of: PhotoOf, jpeg: bytes) -> SealedPhoto:
    """Seal a photo under a new key, and that under the newest of the ring."""
    key, nonce = AESGCM.generate_key(_KEY_BITS), secrets.token_bytes(_NONCE_BYTES)
    content = nonce + AESGCM(key).encrypt(nonce, jpeg, of.bound_to)
    return SealedPhoto(content, hashlib.sha256(content).hexdigest(), keys.seal(key, of.bound_to))


def open_photo(keys: KeyRing, of: PhotoOf, key: Sealed, content: bytes) -> bytes:
    """The photo.

    Raises:
        DrumtowerError: a key is missing, or what is sealed was changed or belongs elsewhere.
    """
    opens = AESGCM(keys.open(key, of.bound_to))
    try:
        return opens.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], of.bound_to)
    except (InvalidTag, ValueError) as error:
        raise DrumtowerError(
            "personal.photo_does_not_open",
            f"the sealed file of the photo {of.sha256[:12]}… does not open: it was changed",
            "bring it back from a backup of the evidence",
        ) from error


def reseal_key(keys: KeyRing, of: PhotoOf, key: Sealed) -> Sealed:
    """The same photo's key under the newest of the ring; raises DrumtowerError as ``open_photo``."""
    return keys.seal(keys.open(key, of.bound_to), of.bound_to)
