"""The headless browser draws Chinese with a font of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from local.headless import headless_chromium

pytestmark = pytest.mark.browser


@pytest.fixture
def page() -> Iterator[Page]:
    """An empty page of a headless browser."""
    with headless_chromium() as browser:
        yield browser.new_page()


def test_chinese_characters_are_drawn_and_not_shown_as_empty_boxes(page: Page) -> None:
    page.set_content("<meta charset=utf-8><p id=text style='font: 40px sans-serif; width: 60px'></p>")
    pictures = set()
    for character in "鼓楼工单积水":
        page.evaluate("text => document.getElementById('text').textContent = text", character)
        pictures.add(page.locator("#text").screenshot())
    # A missing glyph is drawn as the same box whatever the character is.
    assert len(pictures) == 6


def test_scripts_run_and_the_canvas_draws_in_three_dimensions(page: Page) -> None:
    assert page.evaluate("!!document.createElement('canvas').getContext('webgl2')") is True
