"""One value out of a payload: found, of the right type, converted, possible. Pure.

Reasons of rejects: ``wrong_type``, ``out_of_range`` (NaN and infinity too), ``unknown_word``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_SHOWN: Final = 60


class RefusedError(ValueError):
    """A message or a value that cannot be taken in, with the reason of its reject."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Absent:
    """What stands where a path leads nowhere."""


ABSENT: Final = Absent()


def shown(value: object) -> str:
    """A value for a message, cut short."""
    if isinstance(value, int) and value.bit_length() > 256:
        return "a number of hundreds of digits"  # Python refuses to write the longest out
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def keys_of(path: str) -> tuple[str, ...]:
    """The steps of a path: a JSON pointer (RFC 6901) when it begins with a slash, else keys with dots between them."""
    if path.startswith("/"):
        return tuple(step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/"))
    return tuple(path.split("."))


def finder(path: str) -> Callable[[Any], Any]:
    """A function from a decoded payload to what stands at the path, or to ``ABSENT``."""
    keys = keys_of(path)
    if len(keys) == 1:
        (key,) = keys
        return lambda data: data.get(key, ABSENT) if type(data) is dict else _step(data, key)

    def find(data: Any) -> Any:
        for key in keys:
            data = data.get(key, ABSENT) if type(data) is dict else _step(data, key)
        return data

    return find


def _step(data: Any, key: str) -> Any:
    if type(data) is list and key.isascii() and key.isdecimal() and len(key) < 10 and int(key) < len(data):
        return data[int(key)]
    return ABSENT


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a value means: ``scale * x + offset`` within ``low``…``high`` is stored; all of these are finite."""

    sensor: str
    metric: str
    scale: float
    offset: float
    low: float
    high: float
    words: Mapping[str, float]

    @property
    def name(self) -> str:
        """``sensor/metric``."""
        return f"{self.sensor}/{self.metric}"

    def value_of(self, given: Any) -> float:
        """The value to store for what the payload says.

        Raises:
            RefusedError: when it says nothing of the kind.
        """
        if type(given) is float or type(given) is int:
            return self.checked(given)
        word = {True: "true", False: "false"}.get(given) if isinstance(given, bool) else given
        if isinstance(word, str) and word in self.words:
            return self.checked(self.words[word])
        if isinstance(word, str) and self.words:
            expected = ", ".join(self.words)
            raise RefusedError(
                "unknown_word", f"expected one of {expected} for {self.name}, got {shown(given)}"
            )
        raise RefusedError("wrong_type", f"expected a number for {self.name}, got {shown(given)}")

    def checked(self, given: float) -> float:
        """A number, converted and found possible.

        Raises:
            RefusedError: when it is not possible.
        """
        try:
            value = self.scale * given + self.offset
        except OverflowError:  # a whole number that no float can hold
            value = math.inf
        if self.low <= value <= self.high:  # not so for NaN
            return value
        raise RefusedError(
            "out_of_range",
            f"expected {self.low:g} … {self.high:g} for {self.name}, got {shown(given)}, which is {value:g}",
        )
