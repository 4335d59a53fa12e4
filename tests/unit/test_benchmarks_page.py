"""Sections that benchmarks write into the accuracy page stay where they are, and what is not theirs stays as it is."""

from __future__ import annotations

from pathlib import Path

from benchmarks.page import put
from models.accuracy.__main__ import foreign_sections

_PAGE = "# How good\n\nIntroduction.\n\n## helmet\n\nTable.\n\n## detection\n\nOld.\n\n## blur\n\nOther.\n"


def test_a_section_is_replaced_where_it_stands(tmp_path: Path) -> None:
    page = tmp_path / "accuracy.md"
    page.write_text(_PAGE, encoding="utf-8")
    put("detection", "New.\n", page)
    assert page.read_text(encoding="utf-8") == _PAGE.replace("Old.", "New.")
    put("detection", "New.", page)
    assert page.read_text(encoding="utf-8") == _PAGE.replace("Old.", "New.")


def test_a_new_section_comes_last(tmp_path: Path) -> None:
    page = tmp_path / "accuracy.md"
    page.write_text(_PAGE, encoding="utf-8")
    put("speed", "Quick.", page)
    assert page.read_text(encoding="utf-8") == _PAGE + "\n## speed\n\nQuick.\n"


def test_measuring_the_models_alone_keeps_what_benchmarks_wrote() -> None:
    assert foreign_sections(_PAGE) == "\n## detection\n\nOld.\n\n## blur\n\nOther.\n"
