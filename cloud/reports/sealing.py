"""Sealing what identifies a reporter, with a key that stands in a file and never in the database.

AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits; the report's id is bound in as associated data, so that a
sealed text moved to another report opens no more. The file has one key a line, the newest last:
``key-id base64-of-32-bytes``. New texts are sealed with the newest; older keys open what they sealed until it is
sealed anew.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.runtime.errors import ConfigError, DrumtowerError

_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_KEY_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed text and which key opens it."""

    key_id: str
    nonce: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of a file, the newest last."""

    keys: Sequence[tuple[str, bytes]] = field(repr=False)

    @property
    def newest(self) -> str:
        """The id of the key that seals."""
        return self.keys[-1][0]

    def seal(self, text: bytes, bound_to: bytes) -> Sealed:
        """Seal a text with the newest key, bound to what it belongs to."""
        key_id, key = self.keys[-1]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return Sealed(key_id, nonce, AESGCM(key).encrypt(nonce, text, bound_to))

    def open(self, sealed: Sealed, bound_to: bytes) -> bytes:
        """The text.

        Raises:
            DrumtowerError: its key is not in the file, or the text was changed or belongs elsewhere.
        """
        key = dict(self.keys).get(sealed.key_id)
        if key is None:
            raise DrumtowerError(
                "personal.key_missing",
                f"expected the key {sealed.key_id!r} in the file of keys, found {', '.join(dict(self.keys))}",
                "put the key back from where it is kept; without it nobody can read what it sealed",
            )
        try:
            return AESGCM(key).decrypt(sealed.nonce, sealed.sealed, bound_to)
        except InvalidTag as error:
            raise DrumtowerError(
                "personal.does_not_open",
                f"a text sealed with {sealed.key_id!r} does not open: it was changed, or the key is another one",
                "compare the file of keys with the one that is kept apart",
            ) from error


def read_keys(path: Path) -> KeyRing:
    """The keys of a file.

    Raises:
        ConfigError: it cannot be read, others may read it, or a line of it is no key.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "personal.no_key_file", f"expected a file of keys at {path}: {error}", _MAKE_ONE
        ) from error
    if mode & (0o037 if _from_systemd(path) else 0o077):
        raise ConfigError(
            "personal.key_file_open",
            f"expected {path} to be readable by its owner alone, its mode is {mode:04o}",
            f"chmod 600 {path}",
        )
    keys = [
        _read_line(path, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()
    ]
    if not keys or len(dict(keys)) < len(keys):
        found = "none" if not keys else "a name twice"
        raise ConfigError("personal.wrong_key_file", f"{path}: expected keys, found {found}", _MAKE_ONE)
    return KeyRing(keys)


def _from_systemd(path: Path) -> bool:
    """A credential that systemd copied: since 254 its mode shows the group's bit for an access list of one account,
    in a directory that nobody else can enter (systemd issue 29435).
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return bool(directory) and path.parent == Path(directory)


_MAKE_ONE: Final = "make one: drumtower cloud personal new-key"


def _read_line(path: Path, number: int, line: str) -> tuple[str, bytes]:
    key_id, _, encoded = line.strip().partition(" ")
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        key = b""
    if not _KEY_ID.fullmatch(key_id) or len(key) != _KEY_BYTES:
        raise ConfigError(
            "personal.wrong_key_file",
            f"{path}:{number}: expected a name and the base64 of {_KEY_BYTES} bytes",
            _MAKE_ONE,
        )
    return key_id, key


def add_key(path: Path, now: datetime) -> str:
    """Add a new key as the newest, and make the file where there is none; the key's id.

    Raises:
        ConfigError: the file that is there is no file of keys, or cannot be written.
    """
    before = read_keys(path).keys if path.exists() else []
    key_id = f"k{now:%Y%m%d}-{secrets.token_hex(2)}"
    _write(path, [*before, (key_id, secrets.token_bytes(_KEY_BYTES))])
    return key_id


def _write(path: Path, keys: Sequence[tuple[str, bytes]]) -> None:
    lines = [f"{key_id} {base64.b64encode(key).decode()}\n" for key_id, key in keys]
    try:
        # mkstemp makes it readable by its owner alone, from its first byte on.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".keys-")
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        raise ConfigError(
            "personal.key_file_not_written", f"cannot write {path}: {error.strerror}", "choose another place"
        ) from error


def drop_keys(path: Path, key_ids: set[str]) -> None:
    """Take keys out of the file that nothing is sealed with any more."""
    _write(path, [entry for entry in read_keys(path).keys if entry[0] not in key_ids])
