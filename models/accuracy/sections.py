"""The models whose accuracy is measured: each adds itself here and appears in docs/accuracy.md."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from common.runtime.errors import InvalidError
from common.runtime.settings import closest
from models.accuracy import fire, helmet, privacy, water


class Report(Protocol):
    """What was measured of one model."""

    def figures(self) -> dict[str, object]:
        """Numbers by name, for machines."""
        ...

    def table(self) -> str:
        """The same as Markdown, for people."""
        ...

    def shortfalls(self) -> list[str]:
        """What falls short of the limits that a release has to keep; empty when nothing does."""
        ...


class Section(Protocol):
    """How one model is measured; modules are such."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a module's constant
        """The model's name."""
        ...

    @property
    def DATA(self) -> Path:  # noqa: N802 - a module's constant
        """Its data, below the directory of shared data."""
        ...

    def measure(self, data: Path, directory: Path | None = None, *, everything: bool = False) -> Report:
        """Measure it; see the modules."""
        ...


SECTIONS: Final[tuple[Section, ...]] = (fire, helmet, privacy, water)


def section_of(name: str) -> Section:
    """The section of that model; raises InvalidError ``model.unmeasured`` when it has none."""
    known = {section.NAME: section for section in SECTIONS}
    if name in known:
        return known[name]
    near = closest(name, list(known))
    raise InvalidError(
        "model.unmeasured",
        f"expected one of the models that are measured here, {', '.join(known)}, got {name!r}",
        f"did you mean {near}?" if near else "`drumtower models list` shows all models",
    )
