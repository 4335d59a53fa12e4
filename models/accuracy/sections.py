"""The models whose accuracy is measured: each adds itself here and appears in docs/accuracy.md."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, Protocol

from common.runtime.errors import InvalidError, MissingExtraError
from common.runtime.settings import closest
from models.accuracy import fire, helmet, privacy, water
from models.manifest import Manifest
from models.store import list_manifests, load_manifest

GROUP: Final = "drumtower.accuracy"
"""Entry points by which a tier says how what it alone opens is measured."""


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


def section_of(name: str, directory: Path | None = None) -> Section:
    """The section of that model; any detector that has a manifest, in ``directory`` or here, has one.

    What a model is its manifest says: a detector that somebody called ``fire`` is measured as a detector.

    Raises:
        InvalidError: ``model.unmeasured`` when it has none.
        ConfigError: ``config.invalid`` when its manifest is faulty.
    """
    known = {section.NAME: section for section in SECTIONS}
    if name in known and not isinstance(load_manifest(name, directory), Manifest):
        return known[name]
    detectors = [one.name for one in list_manifests(directory) if isinstance(one, Manifest)]
    if name in detectors:
        return _of_detector(name)
    every = [*known, *detectors]
    near = closest(name, every)
    raise InvalidError(
        "model.unmeasured",
        f"expected one of the models that are measured here, {', '.join(every)}, got {name!r}",
        f"did you mean {near}?" if near else "`drumtower models list` shows all models",
    )


def _of_detector(name: str) -> Section:
    """As the tier that opens detectors offers it."""
    for point in entry_points(group=GROUP, name="detector"):
        section: Section = point.load()(name)
        return section
    raise MissingExtraError(
        "models.missing_extra",
        f"expected the tier that opens detectors to say how {name} is measured, found none that does",
        "in a clone of the repository: `make setup`, or pip install '.[edge]'",
    )


def write_figures(card: Path, table: str, mark: str = "figures") -> None:
    """Put a table between the marks of a card: from ``<!-- mark -->`` to the next ``<!-- end -->``."""
    text = card.read_text(encoding="utf-8")
    marked = re.sub(
        rf"(<!-- {re.escape(mark)} -->\n).*?(<!-- end -->)",
        lambda found: f"{found.group(1)}{table}\n{found.group(2)}",
        text,
        flags=re.DOTALL,
    )
    card.write_text(marked, encoding="utf-8")
