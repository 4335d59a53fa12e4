"""The one error of the set-up.

Kept apart from `common.runtime.errors` because the set-up runs on the system's Python before the virtual
environment exists: nothing here may import anything but the standard library.
"""

from __future__ import annotations


class SetupError(Exception):
    """Something the set-up needs is missing or failed.

    `message` is one line that says what was expected and what was found, `hint` one line that says what to do.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})"
