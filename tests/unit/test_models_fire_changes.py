"""Footage changed to make false alarms: reproducible, and changed as each change says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.accuracy.fire_changes import CHANGES, red_things, sunset

Picture = NDArray[np.uint8]
LIVING = (
    "shaken",
    "in rain",
    "with steps of gain",
    "at dusk, with lamps that flicker",
    "through a narrow link",
)


def _street() -> Picture:
    picture = np.random.default_rng(3).integers(60, 160, (120, 200, 3), np.uint8)
    picture[:40] = (200, 170, 140)
    return picture


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_keeps_the_size_and_is_the_same_at_the_same_second(name: str) -> None:
    street = _street()
    before = street.copy()
    once, again = (CHANGES[name](street, 7)(street, 4.0) for _ in range(2))
    assert once.shape == street.shape
    assert once.dtype == np.uint8
    assert (once == again).all()
    assert (street == before).all()


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "what moves is red, orange or yellow"])
def test_every_change_but_of_what_moves_is_seen_on_a_street_where_nothing_does(name: str) -> None:
    street = _street()
    changed = CHANGES[name](street, 7)(street, 4.0)
    assert np.abs(changed.astype(int) - street).mean() > 1


@pytest.mark.parametrize("name", LIVING)
def test_what_flickers_or_shakes_is_another_at_the_next_look(name: str) -> None:
    street = _street()
    change = CHANGES[name](street, 7)
    assert np.abs(change(street, 4.0).astype(int) - change(street, 10.0)).mean() > 0.5


def test_only_what_moves_is_made_red() -> None:
    street = np.full((120, 200, 3), 110, np.uint8)
    now = street.copy()
    now[40:80, 50:90] = 200
    seen = red_things(street, 0)(now, 0.0)
    moved, stood = seen[50:70, 60:80].mean((0, 1)), seen[100:, 150:].mean((0, 1))
    assert moved[2] > moved[0] + 80
    assert stood == pytest.approx([110, 110, 110])


def test_a_sunset_reddens_the_sky_most() -> None:
    seen = sunset(_street(), 1)(_street(), 120.0)
    assert seen[:20, :, 2].mean() > seen[:20, :, 0].mean() + 60
