"""Sealing clips so that the box that made them cannot open them; needs the package ``cryptography``.

An X25519 key of the moment (RFC 7748) and the district's public key give, by HKDF-SHA256 (RFC 5869), the key of
ChaCha20-Poly1305 (RFC 8439). The private key stays where clips are looked at; who carries a box away has noise.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.runtime.errors import InvalidError

_MAGIC: Final = b"DTCLIP1\n"
_KEY: Final = 32
_NONCE: Final = 12


def new_key() -> tuple[str, str]:
    """A private key and its public one, each 64 hexadecimal digits."""
    private = X25519PrivateKey.generate()
    return private.private_bytes_raw().hex(), private.public_key().public_bytes_raw().hex()


def seal(content: bytes, public: str) -> bytes:
    """Close a clip for the holder of the private key alone; raises InvalidError ``clip.key``."""
    recipient = X25519PublicKey.from_public_bytes(_bytes(public))
    moment = X25519PrivateKey.generate()
    head = _MAGIC + moment.public_key().public_bytes_raw()
    nonce = os.urandom(_NONCE)
    key = _derive(moment.exchange(recipient), head, recipient)
    return head + nonce + ChaCha20Poly1305(key).encrypt(nonce, content, head)


def unseal(sealed: bytes, private: str) -> bytes:
    """Open a clip; raises InvalidError ``clip.key`` or ``clip.sealed``."""
    holder = X25519PrivateKey.from_private_bytes(_bytes(private))
    head, rest = sealed[: len(_MAGIC) + _KEY], sealed[len(_MAGIC) + _KEY :]
    if not sealed.startswith(_MAGIC) or len(rest) < _NONCE:
        raise InvalidError("clip.sealed", "expected a sealed clip, found something else", "name another file")
    shared = holder.exchange(X25519PublicKey.from_public_bytes(head[len(_MAGIC) :]))
    try:
        opener = ChaCha20Poly1305(_derive(shared, head, holder.public_key()))
        return opener.decrypt(rest[:_NONCE], rest[_NONCE:], head)
    except InvalidTag as error:
        raise InvalidError(
            "clip.sealed",
            "expected a clip that this key opens, but it is sealed for another or was changed",
            "use the private key whose public one the box had then",
        ) from error


def _derive(shared: bytes, head: bytes, recipient: X25519PublicKey) -> bytes:
    info = b"drumtower clip 1" + head + recipient.public_bytes_raw()
    return HKDF(SHA256(), 32, salt=None, info=info).derive(shared)


def _bytes(key: str) -> bytes:
    try:
        content = bytes.fromhex(key.strip())
    except ValueError:
        content = b""
    if len(content) != _KEY:
        raise InvalidError(
            "clip.key",
            f"expected a key of {2 * _KEY} hexadecimal digits, found {len(key.strip())} characters",
            "make one with `drumtower edge clips key`",
        )
    return content
