"""``make accuracy``: measure every model and write docs/accuracy.md and the figures of the cards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from common.runtime.errors import DrumtowerError
from models.accuracy.sections import SECTIONS, write_figures

_REPOSITORY: Final = Path(__file__).parents[2]
_SHARED: Final = _REPOSITORY.parent / "shared"
_PAGE: Final = _REPOSITORY / "docs" / "accuracy.md"
_CARDS: Final = _REPOSITORY / "models" / "cards"
_INTRODUCTION: Final = """# How good the models are

<!-- Written by `make accuracy`; change the code instead. -->

Measured on data that training never saw, with the files that ship and onnxruntime alone. In brackets: between what
the figure lies with 95 % confidence, by drawing the groups of near-duplicates again (percentile bootstrap).
What each model was trained on, and where it fails, stands in its card.
"""


def main() -> int:
    """Measure all; the exit code is how many fall short."""
    short = 0
    page = _INTRODUCTION
    for section in SECTIONS:
        try:
            report = section.measure(_SHARED / section.DATA)
        except DrumtowerError as error:
            print(f"{section.NAME}: {error}", file=sys.stderr)
            return 1
        table = report.table()
        page += f"\n## {section.NAME}\n\n[Card](../models/cards/{section.NAME}.md). {table}\n"
        write_figures(_CARDS / f"{section.NAME}.md", table)
        print(f"{section.NAME}:\n{table}")
        for one in report.shortfalls():
            print(f"{section.NAME}: falls short: {one}", file=sys.stderr)
            short += 1
    _PAGE.write_text(page + foreign_sections(_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return short


def foreign_sections(page: str) -> str:
    """Of a page, the sections that tell of no model alone: benchmarks wrote them and will again."""
    own = {section.NAME for section in SECTIONS}
    parts = page.split("\n## ")[1:]
    return "".join(f"\n## {part}" for part in parts if part.partition("\n")[0] not in own)


if __name__ == "__main__":
    sys.exit(main())
