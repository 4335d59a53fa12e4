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
