"""One headless Chromium under Playwright, for the tests and the documentation's screenshots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from local.browser import chromium_command, driver_environment


@contextmanager
def headless_chromium() -> Iterator[Browser]:
    """A running browser, closed at the end; raises SetupError before `local.bootstrap --with browser` was run."""
    command = chromium_command()
    with driver_environment():
        playwright = sync_playwright().start()
    try:
        browser = playwright.chromium.launch(
            executable_path=str(command.executable),
            env={**command.environment},
            args=list(command.arguments),
        )
        try:
            yield browser
        finally:
            browser.close()
    finally:
        playwright.stop()
