"""The README's pictures, taken of this build: ``make screenshots`` runs the demo and looks at it.

Three pages of a real browser and the terminal's summary as SVG.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import psycopg
from playwright.sync_api import Browser, Page
from rich.console import Console

from local.demo.figures import read_snapshot
from local.demo.screen import Screen
from local.demo.stack import CONFIGS, Plan, Stack
from local.footage import find_footage
from local.headless import headless_chromium
from local.paths import REPOSITORY
from local.ports import free_port

IMAGES = REPOSITORY / "docs" / "images"
_SECONDS = 70


def main() -> int:
    """Run the demo for a while and take the pictures."""
    footage = find_footage()
    with tempfile.TemporaryDirectory(prefix="drumtower-screenshots-") as directory:
        plan = Plan(
            data=Path(directory) / "run",
            boxes=tuple(sorted((CONFIGS / "devices").glob("*.yaml"))),
            port=free_port(),
            footage=footage.parent if footage else None,
        )
        with Stack(plan, print) as stack:
            _watch(stack)
            with headless_chromium() as browser:
                _pages(stack, browser)
    print("docs/images is of this build; next: look at the pictures")
    return 0


def _watch(stack: Stack) -> None:
    """Let the storm pass, and keep the terminal's picture of its end."""
    console = Console(record=True, width=92, force_terminal=True, file=tempfile.TemporaryFile("w"))  # noqa: SIM115
    print(f"watching for {_SECONDS} s")
    with psycopg.connect(stack.database_url) as connection:
        screen = Screen(console, "http://127.0.0.1:8080", "Ctrl-C stops everything that was started here")
        time.sleep(_SECONDS - 5)
        before = read_snapshot(connection)
        time.sleep(5)
        assert not (faults := stack.faults()), "\n".join(faults)
        console.print(screen.picture(read_snapshot(connection), before, 5.0))
    svg = console.export_svg(title="make demo")
    # The terminal's fonts would be fetched from elsewhere; the reader's own do as well.
    while "@font-face" in svg:
        start = svg.index("@font-face")
        svg = svg[:start] + svg[svg.index("}", start) + 1 :]
    (IMAGES / "terminal.svg").write_text(svg, encoding="utf-8")


def _pages(stack: Stack, browser: Browser) -> None:
    assert stack.provision is not None
    page = browser.new_context(viewport={"width": 1440, "height": 900}, locale="zh-CN").new_page()
    page.goto(stack.address)
    page.locator("#name").fill("duty")
    page.locator("#password").fill(stack.provision.accounts["duty"])
    page.locator("form button").first.click()
    page.wait_for_selector("svg")
    _shoot(page, "console-zh")
    with psycopg.connect(stack.database_url) as connection:
        row = connection.execute(
            # Of the footage that ships with the repository; the other may not be shown here.
            "SELECT ticket_id FROM ticket_incident JOIN incident USING (incident_id) JOIN device USING (device_id)"
            " WHERE category LIKE 'camera.%' AND name = 'lamp-02' LIMIT 1"
        ).fetchone()
    assert row is not None, "expected a camera's ticket after the demo, found none"
    page.goto(f"{stack.address}/language/en?next=/tickets/{row[0]}")
    _shoot(page, "ticket-en")
    page.emulate_media(color_scheme="dark")
    page.goto(f"{stack.address}/language/zh-CN?next=/")
    _shoot(page, "console-dark")


def _shoot(page: Page, name: str) -> None:
    page.wait_for_timeout(1500)  # the live stream connects and pictures arrive
    page.screenshot(path=IMAGES / f"{name}.png")
    print(f"docs/images/{name}.png")


if __name__ == "__main__":
    sys.exit(main())
