"""Topic patterns with named parts, ``factory/{device}/temp``: matched, turned into filters, compared. Pure.

Source: MQTT 5.0 (OASIS, 2019), section 4.7 (topic names and filters).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_MAX_LENGTH: Final = 250
_LEVELS_OF_BOXES: Final = 6  # dt/v1/{site}/{device}/up/{kind}
_PART: Final = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}")
_FOREIGN_TO_US: Final = ("dt", "$SYS", "$share")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern's levels, each a fixed text or a named part (``+`` is a part without a name)."""

    text: str
    levels: tuple[str, ...]
    #: Level to the name of its part; "" for one without a name.
    parts: Mapping[int, str]

    @property
    def names(self) -> frozenset[str]:
        """The names of its parts."""
        return frozenset(filter(None, self.parts.values()))

    def filter(self, values: Mapping[str, str] | None = None) -> str:
        """As an MQTT filter; parts that have a value stand as that, the others as ``+``."""
        known = values or {}
        return "/".join(
            known.get(self.parts[number], "+") if number in self.parts else level
            for number, level in enumerate(self.levels)
        )

    def match(self, topic: str) -> dict[str, str] | None:
        """The values of the named parts in a topic, None when it is another topic."""
        levels = topic.split("/")
        if len(levels) != len(self.levels):
            return None
        values: dict[str, str] = {}
        for number, (level, expected) in enumerate(zip(levels, self.levels, strict=True)):
            name = self.parts.get(number)
            if name is None:
                if level != expected:
                    return None
            elif name:
                values[name] = level
        return values

    def overlaps(self, other: Pattern) -> bool:
        """Whether some topic matches both."""
        return len(self.levels) == len(other.levels) and all(
            mine == yours or number in self.parts or number in other.parts
            for number, (mine, yours) in enumerate(zip(self.levels, other.levels, strict=True))
        )


def parse_pattern(text: str) -> Pattern:
    """Read a pattern.

    Raises:
        ValueError: saying what is wrong with it.
    """
    if not 0 < len(text) <= _MAX_LENGTH or re.search(r"[\x00-\x1f\x7f]|^\s|\s$", text):
        raise ValueError(f"expected a topic of 1–{_MAX_LENGTH} characters without control characters")
    levels = text.split("/")
    parts: dict[int, str] = {}
    for number, level in enumerate(levels):
        found = _PART.fullmatch(level)
        if found or level == "+":
            name = found[1] if found else ""
            if name and name in parts.values():
                raise ValueError(f"part {{{name}}} stands twice; give each its own name")
            parts[number] = name
        elif re.search(r"[{}+#]", level):
            raise ValueError(f"expected each level to be a text, one {{part}} or +, got {level!r}")
    if levels[0] in _FOREIGN_TO_US or levels[0].startswith("$"):
        raise ValueError(f"topics below {levels[0]}/ are not for foreign devices")
    if 0 in parts and len(levels) == _LEVELS_OF_BOXES:
        raise ValueError(
            f"expected a fixed text as first of {_LEVELS_OF_BOXES} levels, or boxes' own topics would match"
        )
    return Pattern(text, tuple(levels), parts)
