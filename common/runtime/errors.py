"""One root of errors with a code, a sentence and a hint; two fates besides a crash.

*Invalid* input is refused, kept with its reason and never retried. A *transient* fault is retried with
jitter. Anything else is a bug: the process ends and its supervisor starts it again.
"""

from __future__ import annotations

from common.runtime.redaction import redacted


class DrumtowerError(Exception):
    """An error a person can act on. What it quotes is redacted here, so that every way it is told is safe.

    Args:
        code: stable, lower-case, dotted name that the documentation lists (``config.invalid``).
        message: what was expected and what was found.
        hint: what to do about it.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        self.code = code
        self.message = redacted(message)
        self.hint = redacted(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        """The sentence, with the hint after it when there is one."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidError(DrumtowerError):
    """The input is wrong and stays wrong: refuse it, keep it, never retry it."""


class TransientError(DrumtowerError):
    """Something outside is away for now: retry with jitter."""


class ConfigError(DrumtowerError):
    """The configuration cannot be used; the message lists every fault at once. Exit code 2."""


class MissingExtraError(DrumtowerError):
    """A part of Drumtower was asked for whose extra is not installed. Exit code 3."""
