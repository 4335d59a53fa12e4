"""What a part of the configuration is: fields with their own limits, and what the fields say against each other."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

#: Where something stands in a file: keys and indices, from the outside in.
Location = tuple[str | int, ...]

#: The error that pydantic raises for faults between fields; a file's reader tells them itself, with their lines.
CROSS_FAULT = "cross_fault"


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing wrong at a place.

    ``other`` is a second place that the message is about; ``{other}`` in the message becomes ``on line 7``.
    """

    at: Location
    message: str
    other: Location | None = None

    def within(self, above: Location) -> Wrong:
        """The same, seen from further out."""
        return Wrong((*above, *self.at), self.message, None if self.other is None else (*above, *self.other))

    def told(self, other: str = "elsewhere") -> str:
        """The message, with the second place in words."""
        return self.message.replace("{other}", other)


class Settings(BaseModel):
    """A part of the configuration: unknown keys are faults, numbers are finite, values do not change after loading.

    What several fields must agree on is told by ``cross_faults``. It is asked of whole parts and, so that a
    file's faults come all at once, of parts with wrong fields too: there a wrong field holds what the file
    says (``None`` when it says nothing), except that lists, mappings and parts are always lists, mappings and
    parts. ``right`` tells whether a field may be taken at its word.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    _wrong: frozenset[str] = PrivateAttr(default=frozenset())

    def cross_faults(self) -> Iterator[Wrong]:
        """Everything that fields say against each other, each place seen from here."""
        yield from ()

    def right(self, *fields: str) -> bool:
        """Whether these fields are as they should be, each for itself."""
        return self._wrong.isdisjoint(fields)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        faults = [fault.told() for fault in self.cross_faults()]
        if faults:
            raise PydanticCustomError(CROSS_FAULT, "{faults}", {"faults": "; ".join(faults)})
        return self


@dataclass(frozen=True, slots=True)
class TagOf:
    """For pydantic's ``Discriminator``: the key that tells which kind a part is, and the kind of one that says none."""

    key: str
    otherwise: str

    @property
    def __name__(self) -> str:
        """Pydantic asks a discriminator for it, as it would a function."""
        return f"{self.key}_or_{self.otherwise}"

    def __call__(self, value: Any) -> str:
        """The tag of a part, as it stands in a file or as it was made in code."""
        given = (
            value.get(self.key, self.otherwise) if isinstance(value, dict) else getattr(value, self.key, "")
        )
        return str(given)


def texts(values: Iterable[object]) -> Iterator[tuple[int, str]]:
    """Those of some values that are text, each with its index: names that may be judged, right or not."""
    return ((number, value) for number, value in enumerate(values) if isinstance(value, str))


def twice(names: Iterable[tuple[Location, str]]) -> Iterator[Wrong]:
    """The names that stand at more than one place."""
    first: dict[str, Location] = {}
    for at, name in names:
        if name in first:
            yield Wrong(at, f"{name!r} already stands {{other}}", first[name])
        first.setdefault(name, at)


def one_of(given: object, allowed: Iterable[str]) -> str:
    """What is allowed, what was given instead, and which of the allowed was meant."""
    names = list(allowed)
    return f"expected one of {', '.join(names)}, got {given!r}{nearest(str(given), names)}"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`` (did you mean 'this'?)``, or nothing when no allowed name is near."""
    close = closest(name, allowed)
    return f" (did you mean {close!r}?)" if close else ""


def closest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that was meant, if one is near."""
    return next(iter(difflib.get_close_matches(name, list(allowed), n=1)), None)
