"""Sections of docs/accuracy.md that benchmarks measure: the models alone are ``models.accuracy``'s."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[1] / "docs" / "accuracy.md"


def put(name: str, text: str, page: Path = PAGE) -> None:
    """Write a section, where it stands already or at the end.

    Args:
        name: its heading.
        text: Markdown below the heading, without headings of its own.
        page: the file.
    """
    first, *sections = page.read_text(encoding="utf-8").rstrip("\n").split("\n## ")
    written = f"{name}\n\n{text.strip()}\n"
    names = [section.partition("\n")[0] for section in sections]
    if name in names:
        sections[names.index(name)] = written
    else:
        sections.append(written)
    page.write_text("\n## ".join([first, *(one.rstrip("\n") + "\n" for one in sections)]), encoding="utf-8")
