"""What can go wrong at the door."""

from __future__ import annotations

from cloud.errors import ForbiddenError
from common.runtime.errors import InvalidError


class NotSignedInError(InvalidError):
    """Nobody is signed in, or the session is over (401; a page leads to sign-in)."""


class WrongPasswordError(InvalidError):
    """Name and password do not belong together; which of them is wrong is not said (401)."""


class TooManyAttemptsError(InvalidError):
    """Too many wrong passwords (429); ``wait_s`` is how long until the next try counts."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(
            "auth.too_many_attempts",
            f"too many wrong passwords; the next try counts in {wait_s} s",
            "wait, then try again; an administrator can set a new password",
        )
        self.wait_s = wait_s


class ForgedRequestError(ForbiddenError):
    """A request that changes something came without this session's token: another site may have sent it (403)."""


class TokenError(InvalidError):
    """A service token that cannot be made as asked (422)."""


class AccountError(InvalidError):
    """An account that cannot be made or changed as asked (422)."""
