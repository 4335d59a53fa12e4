"""SQL in SQL files: ``queries.sql`` of a feature, each statement under a line ``-- name: open_ticket``."""

from __future__ import annotations

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)$", re.MULTILINE)


class Queries:
    """The statements of one feature, by name.

    Args:
        package: the feature's package, such as ``cloud.tickets``.
    """

    def __init__(self, package: str) -> None:
        text = (files(package) / "queries.sql").read_text(encoding="utf-8")
        parts = _NAME.split(text)
        names = parts[1::2]
        if len(set(names)) != len(names):
            raise ValueError(f"expected every statement of {package} once, got {names}")
        self._package = package
        self._statements = dict(zip(names, map(str.strip, parts[2::2]), strict=True))

    def __getitem__(self, name: str) -> str:
        """The text of a statement; raises KeyError with the names there are."""
        try:
            return self._statements[name]
        except KeyError:
            raise KeyError(
                f"expected one of {sorted(self._statements)} of {self._package}, got {name!r}"
            ) from None

    def names(self) -> tuple[str, ...]:
        """All names, in the file's order."""
        return tuple(self._statements)
