"""Passwords: Argon2id (RFC 9106), the same time whether an account exists or not."""

from __future__ import annotations

import secrets
import threading
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from cloud.auth.domain import MAX_PASSWORD, normal_password

#: Without letters and digits that look alike: it is read aloud over the phone.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_HASHER: Final = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)


@cache
def _nobodys_hash(hasher: PasswordHasher) -> str:
    """Of a password that nobody knows; one a process is enough, and takes its time only once."""
    return hasher.hash(secrets.token_urlsafe(24))


class Passwords:
    """Hashes and checks passwords; at most two at a time, because each takes 64 MiB."""

    def __init__(self, hasher: PasswordHasher = _HASHER) -> None:
        self._hasher = hasher
        self._turn = threading.BoundedSemaphore(2)
        # Checked when there is no such account, so that the answer takes as long.
        self._nobody = _nobodys_hash(hasher)

    def hash(self, password: str) -> str:
        """The text to store."""
        with self._turn:
            return self._hasher.hash(normal_password(password))

    def check(self, stored: str | None, password: str) -> bool:
        """Whether a password belongs to a stored hash; None (no such account) costs the same and is False."""
        with self._turn:
            try:
                self._hasher.verify(stored or self._nobody, normal_password(password[: MAX_PASSWORD + 1]))
            except (VerifyMismatchError, VerificationError, InvalidHashError):
                return False
        return stored is not None

    def is_dated(self, stored: str) -> bool:
        """Whether a hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(stored)


def generate_password() -> str:
    """A password of four groups of four, about 79 bits."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4))
