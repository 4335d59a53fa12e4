"""What the page counts of open tickets, and that it is what the clocks say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloud.console.service import ConsoleService
from cloud.db import Database
from cloud.sla.service import fire_due
from cloud.tickets.domain import Action
from tests.fixtures.centre import Centre, person

pytestmark = pytest.mark.services
#: A ticket says that it is overdue exactly when a clock of it was missed.
_DISAGREE = (
    "SELECT count(*) FROM ticket WHERE overdue <> EXISTS ("
    "SELECT FROM clock WHERE clock.ticket_id = ticket.ticket_id AND clock.missed_at IS NOT NULL)"
)


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=4) as database:
        built = Centre(database)
        built.build()
        yield built


def test_what_is_open_is_counted_by_place_severity_and_clock(centre: Centre) -> None:
    console = ConsoleService(centre.database, centre.clock)
    assert console.standing().queue == {"open": 0, "critical": 0, "unassigned": 0, "overdue": 0}
    assert console.standing().communities == {}
    first = centre.open_one("smoke.alarm", lon=119.295)
    centre.open_one("smoke.alarm", lon=119.305)
    standing = console.standing()
    assert standing.queue["open"] == 2
    assert standing.queue["overdue"] == 0
    worst = centre.value("SELECT max(severity) FROM ticket")
    assert standing.communities == {"community-a": {"open": 2, "worst": worst}}
    centre.clock.advance(100_000)
    assert fire_due(centre.database, centre.now) > 0
    assert console.standing().queue["overdue"] == 2
    centre.tickets.act(first, Action.VOID, person(), note="a drill")
    assert console.standing().queue["open"] == 1
    assert console.standing().queue["overdue"] == 1
    assert centre.value(_DISAGREE) == 0


def test_a_ticket_is_overdue_as_long_as_a_missed_clock_says_so(centre: Centre) -> None:
    centre.open_one()
    centre.clock.advance(100_000)
    fire_due(centre.database, centre.now)
    for change in (
        "UPDATE clock SET missed_at = NULL WHERE name = 'ack'",
        "DELETE FROM clock WHERE name = 'arrive'",
        "UPDATE clock SET missed_at = NULL",
        "UPDATE clock SET missed_at = now() WHERE name = 'resolve'",
    ):
        with centre.database.transaction() as tx:
            tx.run(change)
        assert centre.value(_DISAGREE) == 0, change
    assert centre.value("SELECT overdue FROM ticket") is True


def test_a_district_is_drawn_again_when_it_changed_and_only_then(centre: Centre) -> None:
    console = ConsoleService(centre.database, centre.clock)
    drawn = console.district()
    centre.clock.advance(60)
    assert console.district() is drawn
    with centre.database.transaction() as tx:
        tx.run("UPDATE unit SET name_en = 'Willow' WHERE unit_code = 'community-a'")
    assert console.district() is drawn  # looked at a moment ago
    centre.clock.advance(60)
    assert console.district().units["community-a"].name_en == "Willow"
