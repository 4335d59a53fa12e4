"""What can be wrong with a request to the ticket centre; ``cloud/problem.py`` gives each its HTTP status."""

from __future__ import annotations

from common.runtime.errors import InvalidError


class NotFoundError(InvalidError):
    """There is no such thing (404)."""


class ForbiddenError(InvalidError):
    """This person may not do that there (403)."""


class ConflictError(InvalidError):
    """What was asked does not fit the state things are in (409)."""


class StaleVersionError(InvalidError):
    """Somebody changed it since it was read (412)."""


class PreconditionRequiredError(InvalidError):
    """Whoever replaces it has to say which state of it they read (428)."""


class TooLargeError(InvalidError):
    """It is larger than what is taken (413)."""


class TooManyRequestsError(InvalidError):
    """This address asks too often (429); ``wait_s`` is how long until the next request counts."""

    def __init__(self, code: str, message: str, hint: str, wait_s: int) -> None:
        super().__init__(code, message, hint)
        self.wait_s = wait_s
