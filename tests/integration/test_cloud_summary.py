"""The summary finds what no index can forbid: two open matters so near to each other that they are one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from cloud.db import Database
from cloud.incidents.domain import Family
from cloud.summary.repo import matters_too_near
from cloud.summary.service import summarise
from tests.fixtures.centre import BORDER_LON, Centre
from tests.fixtures.matters import say

pytestmark = pytest.mark.services
#: Some 40 m and some 70 m east of the border, within and beyond the 50 m of a category without a rule of its own.
NEAR, BEYOND = BORDER_LON + 0.0004, BORDER_LON + 0.0007
WATER = Family("water", ("flood.water_level", "camera.standing_water"), 80.0, 900.0, 3600.0)


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    """Two open tickets of one category, far from each other."""
    with Database(database_url, size=4) as database:
        built = Centre(database)
        built.build()
        built.open_one(lon=BORDER_LON)
        built.open_one(lon=BORDER_LON + 0.01)
        yield built


def move_the_other(centre: Centre, lon: float) -> None:
    """Let the second matter stand where its devices would not have put it."""
    with centre.database.transaction() as tx:
        tx.run("UPDATE matter SET lon = %(lon)s WHERE lon > %(border)s", lon=lon, border=BORDER_LON)


def too_near(centre: Centre) -> int:
    """What is counted; the summary says the same."""
    with centre.database.transaction() as tx:
        found = matters_too_near(tx, centre.rules)
    summary = summarise(centre.database, centre.rules)
    assert summary.checks.matters_with_two_open_tickets == found
    assert summary.sound is (found == 0)
    return found


def test_matters_beyond_the_radius_of_their_category_are_sound(centre: Centre) -> None:
    assert too_near(centre) == 0
    move_the_other(centre, BEYOND)
    assert too_near(centre) == 0


def test_two_open_matters_within_the_radius_of_their_category_are_counted(centre: Centre) -> None:
    move_the_other(centre, NEAR)
    assert too_near(centre) == 2


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("UPDATE ticket SET state = 'void', closed_at = now()", id="nobody works on either"),
        pytest.param("UPDATE matter SET category = 'smoke.alarm' WHERE lon > 119.3", id="of two categories"),
        pytest.param("UPDATE matter SET scope = 'gulou/lamp-' || matter_id", id="each of one device alone"),
    ],
)
def test_matters_that_may_stand_beside_each_other_are_not_counted(centre: Centre, change: str) -> None:
    move_the_other(centre, NEAR)
    with centre.database.transaction() as tx:
        tx.run(change)
    assert too_near(centre) == 0


@pytest.mark.parametrize(
    ("radius_m", "lon", "found"), [(80.0, BEYOND, 2), (30.0, NEAR, 0)], ids=["wider", "narrower"]
)
def test_of_a_family_its_own_radius_counts(centre: Centre, radius_m: float, lon: float, found: int) -> None:
    """As matters are made: by the district's families before the settings' rules."""
    say(centre, families=[replace(WATER, radius_m=radius_m)])
    move_the_other(centre, lon)
    assert too_near(centre) == found
