"""Credentials of boxes: random, kept by the registry only as an Argon2 hash.

A credential has 192 random bits, so what guards it is not the cost of a hash; Argon2id runs with the least
parameters OWASP names (19 MiB, two passes), and a verified one is remembered for a while by a keyed digest.
Source: RFC 9106 (Argon2); OWASP Password Storage Cheat Sheet.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from common.runtime.clock import Clock, SystemClock

_BYTES: Final = 24
_REMEMBERED: Final = 20_000
_hasher: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def new_credential() -> str:
    """A fresh one."""
    return secrets.token_urlsafe(_BYTES)


def hash_credential(credential: str) -> str:
    """What the registry keeps of it."""
    return _hasher.hash(credential)


def matches(kept_hash: str, credential: str) -> bool:
    """Whether a credential is the one whose hash was kept; some tens of milliseconds."""
    try:
        return _hasher.verify(kept_hash, credential)
    except (VerifyMismatchError, InvalidHashError):
        return False


class CredentialChecker:
    """Checks credentials, remembering by a keyed digest those that were right; safe from several threads."""

    def __init__(self, remember_s: float = 300.0, clock: Clock | None = None) -> None:
        self._key = secrets.token_bytes(32)
        self._remember_s = remember_s
        self._clock = clock or SystemClock()
        self._right_until: dict[bytes, float] = {}
        # A flood of wrong credentials may cost two cores' worth of hashing, not all memory.
        self._hashing = threading.Semaphore(2)

    def check(self, kept_hash: str, credential: str) -> bool:
        """Whether a credential matches; a changed hash is never answered from memory."""
        digest = hashlib.blake2b(f"{kept_hash}\0{credential}".encode(), key=self._key).digest()
        now = self._clock.monotonic()
        if self._right_until.get(digest, 0.0) > now:
            return True
        with self._hashing:
            right = matches(kept_hash, credential)
        if right:
            if len(self._right_until) >= _REMEMBERED:
                self._right_until.clear()
            self._right_until[digest] = now + self._remember_s
        return right
