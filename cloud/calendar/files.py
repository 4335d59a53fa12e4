"""The years that ship with this release, and reading one that a person brings."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

from cloud.calendar.domain import Holidays
from cloud.calendar.schemas import HolidayFile
from common.runtime.config import load_config


def read_year(path: Path) -> Holidays:
    """A year from a file.

    Raises:
        InvalidConfigError: with every fault of the file.
    """
    return load_config(path, HolidayFile).published()


@cache
def shipped_years() -> tuple[Holidays, ...]:
    """The years of this release, in order: those whose notice had been published when it was made."""
    with as_file(files("cloud.calendar") / "data") as folder:
        return tuple(read_year(path) for path in sorted(folder.glob("*.yaml")))
