"""Who is there, as a person asks: every box, what it holds and how right its clock is."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.integration.gateway_rig import register, rows
from tests.integration.test_gateway_cli import drumtower

pytestmark = pytest.mark.services


def say(url: str, box: str, **counters: Any) -> None:
    """Let a box have said its status a short while ago."""
    rows(
        url,
        "INSERT INTO device_presence (device_id, state, said_at, seen_at, version, counters)"
        " SELECT device_id, 'online', now(), now() - interval '7 seconds', '0.1.0', %s FROM device WHERE name = %s"
        " RETURNING 1",
        msgspec.json.encode(counters).decode(),
        box,
    )


def test_every_box_is_shown_with_its_clock_and_what_is_silent(database_url: str) -> None:
    for box in ("box-0", "box-1", "box-2", "box-3"):
        register(database_url, "kiln", box)
    say(database_url, "box-0", clock_offset_ms=4, unreceipted=3, sensors_silent=1, cameras_blind=1)
    say(database_url, "box-1", clock_offset_ms=93_250, unreceipted=0, sensors_silent=0, cameras_blind=0)
    say(database_url, "box-2", clock_offset_ms=-2_000)
    shown = drumtower("devices", url=database_url)
    assert shown.returncode == 0, shown.stderr
    line = {
        box: next(line for line in shown.stdout.splitlines() if f"kiln/{box}" in line)
        for box in ("box-0", "box-1")
    }
    assert "right" in line["box-0"]
    assert "93.25 s slow" in line["box-1"]
    assert "2.00 s fast" in shown.stdout
    assert "never" in shown.stdout
    assert "2 of 4 clocks are off by more than a second; next: set them" in shown.stdout
    told = [json.loads(one) for one in drumtower("devices", "--json", url=database_url).stdout.splitlines()]
    assert [one["clock_offset_ms"] for one in told] == [4.0, 93_250.0, -2_000.0, None]
    assert (told[0]["unreceipted"], told[0]["sensors_silent"], told[0]["cameras_blind"]) == (3, 1, 1)


def test_only_boxes_with_wrong_clocks_are_shown_when_asked_for(database_url: str) -> None:
    for box in ("box-0", "box-1"):
        register(database_url, "kiln", box)
    say(database_url, "box-0", clock_offset_ms=400)
    say(database_url, "box-1", clock_offset_ms=-5000)
    shown = drumtower("devices", "--clock-off", "1", url=database_url).stdout
    assert "kiln/box-1" in shown
    assert "kiln/box-0" not in shown


def test_what_a_box_says_that_is_no_number_is_not_shown_as_one(database_url: str) -> None:
    register(database_url, "kiln", "box-0")
    say(database_url, "box-0", clock_offset_ms="soon", unreceipted=1e30, sensors_silent=[1])
    (told,) = [
        json.loads(one) for one in drumtower("devices", "--json", url=database_url).stdout.splitlines()
    ]
    assert (told["clock_offset_ms"], told["unreceipted"], told["sensors_silent"]) == (None, None, None)


def test_without_boxes_the_next_step_is_told(database_url: str) -> None:
    assert "next: drumtower gateway enrol" in drumtower("devices", url=database_url).stdout
