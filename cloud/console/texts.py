"""The console's words: one catalogue a language, Chinese by default."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

from cloud.tickets.domain import DISTRICT_ZONE
from common.runtime.errors import DrumtowerError

LANGUAGES: Final = ("zh-CN", "en")
DEFAULT_LANGUAGE: Final = LANGUAGES[0]


class Texts:
    """A language's catalogue.

    Args:
        language: one of ``LANGUAGES``.
        entries: its texts by dotted key; ``{name}`` stands for a value.
    """

    def __init__(self, language: str, entries: Mapping[str, str]) -> None:
        self.language = language
        self.entries = entries

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with its values; raises KeyError for a key there is not."""
        return self.entries[key].format(**values) if values else self.entries[key]

    def named(self, thing: Any, what: str) -> str:
        """A name that a thing has in both languages: ``category_zh`` or ``category_en``."""
        suffix = "zh" if self.language.startswith("zh") else "en"
        found = (
            thing.get(f"{what}_{suffix}")
            if isinstance(thing, Mapping)
            else getattr(thing, f"{what}_{suffix}")
        )
        return str(found)

    def problem(self, error: DrumtowerError) -> str:
        """What went wrong, in words for an operator where there are some for its code, else in its own."""
        return self.entries.get(f"error.{error.code}", error.message)

    def moment(self, at: datetime, now: datetime) -> str:
        """An instant in the district's time: today without its date, this year without its year."""
        local, today = at.astimezone(DISTRICT_ZONE), now.astimezone(DISTRICT_ZONE)
        if local.date() == today.date():
            return f"{local:%H:%M:%S}"
        return f"{local:%m-%d %H:%M}" if local.year == today.year else f"{local:%Y-%m-%d %H:%M}"

    def age(self, at: datetime, now: datetime) -> str:
        """How long ago, in its largest unit."""
        seconds = max(0, int((now - at).total_seconds()))
        for unit, length, until in (("seconds", 1, 60), ("minutes", 60, 3600), ("hours", 3600, 86_400)):
            if seconds < until:
                return self(f"age.{unit}", n=seconds // length)
        return self("age.days", n=seconds // 86_400)

    def left(self, seconds: float) -> str:
        """A span as it counts down: 04:31, 2:04:31, 3 d 02:04."""
        whole = int(abs(seconds))
        days, rest = divmod(whole, 86_400)
        hours, rest = divmod(rest, 3600)
        minutes, second = divmod(rest, 60)
        if days:
            return f"{self('duration.days', n=days)} {hours:02}:{minutes:02}"
        return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes:02}:{second:02}"


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in tree.items():
        key = f"{above}{name}"
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{key}.")
        else:
            flat[key] = str(value)
    return flat


@cache
def texts(language: str) -> Texts:
    """The catalogue of a language; one we do not have gives the default."""
    known = language if language in LANGUAGES else DEFAULT_LANGUAGE
    text = (files("cloud.console") / "locales" / f"{known}.yaml").read_text(encoding="utf-8")
    return Texts(known, _flat(yaml.safe_load(text)))
