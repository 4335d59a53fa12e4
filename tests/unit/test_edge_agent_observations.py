"""Conditions with one id from start to end, across restarts and full disks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.runtime.clock import ManualClock
from common.wire.codec import Data, decode_packet
from common.wire.messages import Events, Evidence, Observation, Phase
from edge.database import Database, DiskFullError
from edge.observations import ObservationBook, Seen
from edge.outbox import SqliteOutbox
from edge.packets import PacketId
from tests.fixtures.edge_messages import ADDRESS

SOURCE = "scene:cam-1:square"
T0 = 1_767_225_600_000


class Stingy(SqliteOutbox):
    """An outbox whose disk can be made full."""

    full = False

    def append(self, data: Data) -> PacketId:
        if self.full:
            raise DiskFullError("outbox.disk_full", "no room", "")
        return super().append(data)


@contextmanager
def open_box(directory: Path, **more: Any) -> Iterator[tuple[Stingy, ObservationBook]]:
    database = Database(directory)
    clock = ManualClock()
    outbox = Stingy(database, ADDRESS, clock)
    yield outbox, ObservationBook(database, outbox, clock, **more)
    database.close()


def seen(phase: Phase, at: int = 0, **more: Any) -> Seen:
    return Seen(phase, SOURCE, "cam-1", "camera.zone_crowded", T0, T0 + at, **more)


def said(outbox: SqliteOutbox) -> list[Observation]:
    found = []
    for packet in outbox.pending(1000):
        held = outbox.payload(packet.id)
        assert held is not None
        data = decode_packet(held[1], ADDRESS).data
        assert isinstance(data, Events)
        found += data.observations
    return found


def proof(number: int) -> Evidence:
    return Evidence(f"{number:064x}", "image/jpeg", 100, T0, 10, 10)


def test_a_condition_keeps_its_id_and_counts_its_revisions(tmp_path: Path) -> None:
    with open_box(tmp_path) as (outbox, book):
        book.say(seen("start", 0, count=4, value=4.0, evidence=proof(1)))
        book.say(seen("update", 10_000, count=6, value=6.0, detail={"limit": 4}))
        book.say(seen("end", 20_000, count=1, value=6.0, evidence=proof(2)))
        start, update, end = said(outbox)
    assert start.observation_id == update.observation_id == end.observation_id
    assert [one.revision for one in (start, update, end)] == [0, 1, 2]
    assert [one.phase for one in (start, update, end)] == ["start", "update", "end"]
    assert (start.ended_at, end.ended_at) == (None, T0 + 20_000)
    # Every phase carries the whole state, its proofs too.
    assert end.evidence == [proof(1), proof(2)]
    assert end.started_at == T0
    assert start.severity == 2


def test_acts_have_an_id_each_and_nothing_stays_open(tmp_path: Path) -> None:
    with open_box(tmp_path) as (outbox, book):
        book.say(seen("act"))
        book.say(seen("act", 5))
        ids = {one.observation_id for one in said(outbox)}
        assert len(ids) == 2
        assert book.open_conditions() == []


def test_the_next_condition_has_an_id_of_its_own(tmp_path: Path) -> None:
    with open_box(tmp_path) as (outbox, book):
        for _ in range(2):
            book.say(seen("start"))
            book.say(seen("end"))
        assert len({one.observation_id for one in said(outbox)}) == 2


def test_a_condition_outlives_a_restart_under_its_id(tmp_path: Path) -> None:
    with open_box(tmp_path) as (_, book):
        before = book.say(seen("start", evidence=proof(1)))
    with open_box(tmp_path) as (_, book):
        assert book.open_conditions() == [before]
        after = book.say(seen("update", 9000))
        assert (after.observation_id, after.revision, after.started_at) == (before.observation_id, 1, T0)
        assert after.evidence == [proof(1)]
        book.say(seen("end", 10_000))
    with open_box(tmp_path) as (_, book):
        assert book.open_conditions() == []


def test_a_scene_that_starts_what_is_open_already_only_updates_it(tmp_path: Path) -> None:
    with open_box(tmp_path) as (_, book):
        first = book.say(seen("start"))
        again = book.say(seen("start", 1000))
        assert (again.observation_id, again.phase) == (first.observation_id, "update")


def test_what_nothing_watches_any_more_is_ended(tmp_path: Path) -> None:
    with open_box(tmp_path) as (outbox, book):
        known = book.say(seen("start", count=3))
        book.end(known, "the scene is not configured any more")
        end = said(outbox)[-1]
        assert (end.phase, end.observation_id, end.count) == ("end", known.observation_id, 3)
        assert end.detail["ended_because"] == "the scene is not configured any more"
        assert not book.is_open(SOURCE, "camera.zone_crowded")


def test_a_configured_severity_comes_before_the_categorys(tmp_path: Path) -> None:
    with open_box(tmp_path, severities={SOURCE: 4}) as (_, book):
        assert book.say(seen("start")).severity == 4


def test_a_full_disk_delays_observations_and_a_restart_knows_only_what_was_accepted(tmp_path: Path) -> None:
    accepted: list[int] = []
    with open_box(tmp_path, accepted=lambda: accepted.append(1)) as (outbox, book):
        outbox.full = True
        start = book.say(seen("start"))
        assert said(outbox) == []
        assert accepted == []
        with outbox._database.reading() as connection:
            assert connection.execute("SELECT count(*) FROM open_observation").fetchone() == (0,)
        outbox.full = False
        book.say(seen("update", 1000))
        assert [(one.observation_id, one.revision) for one in said(outbox)] == [
            (start.observation_id, 0),
            (start.observation_id, 1),
        ]
        assert accepted


def test_while_the_disk_stays_full_updates_are_given_up_before_starts_and_ends(tmp_path: Path) -> None:
    with open_box(tmp_path) as (outbox, book):
        outbox.full = True
        book.say(seen("start"))
        for n in range(600):
            book.say(seen("update", n))
        book.say(seen("end", 700))
        assert book.lost == 102
        outbox.full = False
        book.flush()
        phases = [one.phase for one in said(outbox)]
        assert (phases[0], phases[-1], len(phases)) == ("start", "end", 500)


def test_a_condition_never_ends_before_it_began_although_the_boxs_clock_was_set_back(tmp_path: Path) -> None:
    with open_box(tmp_path) as (outbox, book):
        book.say(seen("start"))
        book.say(seen("end", at=-8 * 3_600_000))
        assert [(one.started_at, one.at, one.ended_at) for one in said(outbox)] == [
            (T0, T0, None),
            (T0, T0, T0),
        ]
