"""Boxes that move from one partition to another while the gateways of both are at work."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from common.runtime.clock import Clock, SystemClock
from common.runtime.stop import Stop
from common.wire.topics import Address
from gateway.batch import BatchResult
from gateway.decode import Decoded, Decoder
from gateway.foreign.enrol import enrol_foreign
from gateway.lease import CHECK_LEASE, LeaseKeeper
from gateway.metrics_catalogue import catalogue
from gateway.rulebook.versions import RuleBook
from gateway.store import Store
from tests.fixtures.foreign import PLANT, adapters, message
from tests.fixtures.gateway_rules import MINUTE, OTHER, SMOKE, STORM, apply, phases, storm
from tests.fixtures.gateway_store import BOX, packet, smoke, status
from tests.integration.gateway_rig import eventually, now_ms, readings, register, rows

pytestmark = pytest.mark.services
SOUTH, NORTH = "south", "north"


class HastyClock(SystemClock):
    """Time flies, so stores read the registry before every batch, whatever happens between the two."""

    def monotonic(self) -> float:
        return super().monotonic() * 1e6


class Halves:
    """The two halves of a district, each with a store that is open all the time, and two boxes of the south."""

    def __init__(self, url: str, stack: ExitStack, clock: Clock) -> None:
        self.url = url
        self.fencing = {}
        self.stores = {}
        register(url, "kiln", "box-0", "box-1", partition=SOUTH)
        for part in (SOUTH, NORTH):
            lease = LeaseKeeper(url, part, part).try_acquire()
            assert lease is not None
            stack.callback(lease.release)
            self.fencing[part] = lease.fencing
            metrics = catalogue()
            store = Store(
                url,
                part,
                lease.fencing,
                rule_book=RuleBook(metrics),
                metrics=metrics,
                stop=Stop(),
                clock=clock,
            )
            stack.callback(store.close)
            self.stores[part] = store

    def start(self, rules: str = SMOKE) -> None:
        """Put rules in force, and have both stores read what there is."""
        apply(self.url, rules)
        for store in self.stores.values():
            store.commit([])

    def move(self, partition: str, box: Address = BOX) -> None:
        """Have a box belong to a partition from now on."""
        rows(self.url, "UPDATE device SET partition = %s WHERE name = %s", partition, box.device)

    def commit(self, ours: str, batch: Sequence[Decoded]) -> BatchResult:
        """Have both stores take a batch; that the other one left all of it, and what came of it here."""
        other = self.stores[NORTH if ours == SOUTH else SOUTH].commit(batch)
        assert (other.ignored, other.packets, other.progress, other.rejects) == (len(batch), 0, [], {})
        return self.stores[ours].commit(batch)


@pytest.fixture
def halves(database_url: str) -> Iterator[Halves]:
    """Two partitions."""
    with ExitStack() as stack:
        yield Halves(database_url, stack, SystemClock())


@pytest.fixture
def hasty_halves(database_url: str) -> Iterator[Halves]:
    """Two partitions whose stores are always just about to read the registry."""
    with ExitStack() as stack:
        yield Halves(database_url, stack, HastyClock())


def test_an_incident_goes_on_with_the_other_gateway_and_is_told_once(halves: Halves) -> None:
    halves.start()
    at = now_ms() - MINUTE
    assert halves.commit(SOUTH, [packet(1, smoke(0.0, 0.2, at=at))]).observations == 1
    halves.move(NORTH)
    assert halves.commit(NORTH, [packet(2, smoke(0.3, at=at + 1000))]).observations == 0, "it goes on"
    assert halves.commit(NORTH, [packet(3, smoke(0.1, at=at + 2000))]).observations == 0, "not clear yet"
    halves.move(SOUTH)
    assert halves.commit(SOUTH, [packet(4, smoke(0.3, at=at + 3000))]).observations == 0
    assert halves.commit(SOUTH, [packet(5, smoke(0.0, at=at + 4000))]).observations == 1
    told = rows(halves.url, "SELECT phase, observation_id FROM observation ORDER BY at")
    assert [phase for phase, _ in told] == ["start", "end"]
    assert told[0][1] == told[1][1]
    assert rows(halves.url, "SELECT count(*) FROM rule_state") == [(0,)]
    assert rows(halves.url, "SELECT committed, missing FROM device_packets") == [(5, 0)]


def test_what_a_gateway_knew_of_a_box_before_it_went_away_is_not_believed_when_it_is_back(
    halves: Halves,
) -> None:
    """The incident ends and another begins while the box is elsewhere; the first gateway saw the first one run."""
    halves.start()
    at = now_ms() - MINUTE
    halves.commit(SOUTH, [packet(1, smoke(0.2, at=at))])
    halves.move(NORTH)
    assert halves.commit(NORTH, [packet(2, smoke(0.0, at=at + 1000))]).observations == 1
    halves.move(SOUTH)
    assert halves.commit(SOUTH, [packet(3, smoke(0.1, at=at + 2000))]).observations == 0, "it is over"
    halves.move(NORTH)
    assert halves.commit(NORTH, [packet(4, smoke(0.2, at=at + 3000))]).observations == 1
    halves.move(SOUTH)
    assert halves.commit(SOUTH, [packet(5, smoke(0.2, at=at + 4000))]).observations == 0, "it was told"
    assert halves.commit(SOUTH, [packet(6, smoke(0.0, at=at + 5000))]).observations == 1
    halves.move(NORTH)
    assert halves.commit(NORTH, [packet(7, smoke(0.0, at=at + 6000))]).observations == 0, "it ended"
    told = rows(halves.url, "SELECT phase, observation_id FROM observation ORDER BY at")
    assert [phase for phase, _ in told] == ["start", "end"] * 2
    assert len({one for _, one in told}) == 2


def test_a_box_that_left_and_came_back_between_two_batches_is_noticed(halves: Halves) -> None:
    halves.start()
    at = now_ms() - MINUTE
    halves.commit(SOUTH, [packet(1, smoke(0.2, at=at))])
    halves.move(NORTH)
    assert halves.stores[NORTH].commit([packet(2, smoke(0.0, at=at + 1000))]).observations == 1
    halves.move(SOUTH)
    assert halves.commit(SOUTH, [packet(3, smoke(0.2, at=at + 2000))]).observations == 1
    assert phases(halves.url) == ["start", "end", "start"]


def test_a_storm_is_told_the_same_of_a_box_that_wanders(halves: Halves) -> None:
    """Sums, rates, standstills and combinations are of the same readings, whichever gateways stepped them."""
    halves.start(STORM)
    start = now_ms() - 60 * MINUTE
    for one in storm(start, range(30)):
        halves.stores[SOUTH].commit([one])
    ours = SOUTH
    for place, one in enumerate(storm(start, range(30), OTHER)):
        if place and not place % 4:
            ours = NORTH if ours == SOUTH else SOUTH
            halves.move(ours, OTHER)
        halves.commit(ours, [one])
    query = (
        "SELECT category, phase, revision, sensor, at, started_at, value, detail FROM observation"
        " JOIN device USING (device_id) WHERE name = %s ORDER BY 1, 3, 2"
    )
    stayed, wandered = (rows(halves.url, query, box.device) for box in (BOX, OTHER))
    assert {row[0] for row in stayed} == {"rain.intense", "flood.water_level", "device.sensor_stuck"}
    assert wandered == stayed


def test_a_status_counts_for_silences_where_its_box_belongs(halves: Halves) -> None:
    """A sensor says nothing while its box goes on: whoever has the box now says so, once."""
    halves.start(STORM)
    at = now_ms() - 10 * MINUTE
    halves.commit(SOUTH, [packet(1, readings(0.5, at=at, sensor="manhole-1", metric="water_level"))])
    halves.move(NORTH)
    assert halves.commit(NORTH, [status(at + 6 * MINUTE)]).observations == 1
    halves.move(SOUTH)
    assert halves.commit(SOUTH, [status(at + 7 * MINUTE)]).observations == 0
    assert phases(halves.url, "device.sensor_silent") == ["start"]


def test_a_move_waits_for_the_batch_in_flight_and_holds_the_next(halves: Halves) -> None:
    halves.start()
    at = now_ms() - MINUTE
    halves.commit(SOUTH, [packet(1, smoke(0.2, at=at))])
    waits = (
        "SELECT 1 FROM pg_locks WHERE relation = 'partition_lease'::regclass AND NOT granted AND mode = %s"
    )
    with ThreadPoolExecutor() as pool, psycopg.connect(halves.url) as batch:
        batch.execute(CHECK_LEASE, [SOUTH, halves.fencing[SOUTH]])
        moving = pool.submit(halves.move, NORTH)
        eventually(lambda: rows(halves.url, waits, "ExclusiveLock"))
        # This one would have been let in, by what the registry still said when it came.
        next_batch = pool.submit(halves.stores[NORTH].commit, [packet(2, smoke(0.3, at=at + 1000))])
        eventually(lambda: rows(halves.url, waits, "RowShareLock"))
        assert not moving.done()
        batch.commit()
        moving.result()
        done = next_batch.result()
    assert (done.packets, done.observations) == (1, 0)
    assert halves.stores[SOUTH].commit([packet(3, smoke(0.3, at=at + 2000))]).ignored == 1


def test_a_long_enrolment_holds_no_batch(halves: Halves) -> None:
    halves.start()
    with psycopg.connect(halves.url) as enrolling:
        enrolling.execute("UPDATE device SET partition = 'north' WHERE name = 'box-0'")
        assert halves.commit(SOUTH, [packet(1, readings(1.0))]).packets == 1, "it belongs here still"
        enrolling.rollback()
        assert halves.commit(SOUTH, [packet(2, readings(1.0))]).packets == 1
        enrolling.execute("UPDATE device SET partition = 'north' WHERE name = 'box-0'")
        enrolling.execute("UPDATE device SET partition = 'north' WHERE name = 'box-1'")
        enrolling.commit()
    assert halves.commit(NORTH, [packet(3, readings(1.0))]).packets == 1


def test_boxes_that_wander_all_the_time_lose_nothing_and_start_nothing_twice(hasty_halves: Halves) -> None:
    """Both gateways get every packet until one has it, while somebody else moves the boxes as fast as may be."""
    halves = hasty_halves
    halves.start()
    boxes = [Address("kiln", f"fast-{number}") for number in range(4)]
    register(halves.url, "kiln", *(box.device for box in boxes), partition=NORTH)
    at = now_ms() - 10 * MINUTE
    values = [0.0, 0.2, 0.3, 0.1, 0.0, 0.0, 0.4, 0.1, 0.1, 0.05] * 12
    ended = threading.Event()

    def wander() -> int:
        order, moves = random.Random(7), 0
        while not ended.is_set():
            halves.move(order.choice((SOUTH, NORTH)), order.choice(boxes))
            moves += 1
        return moves

    with ThreadPoolExecutor(3) as pool:
        wandering = pool.submit(wander)
        try:
            for seq, value in enumerate(values, 1):
                waiting = [packet(seq, smoke(value, at=at + seq * 1000), box) for box in boxes]
                taken = 0
                while taken < len(boxes):
                    both = [pool.submit(store.commit, waiting) for store in halves.stores.values()]
                    taken += sum(one.result().packets for one in both)
        finally:
            ended.set()
        assert wandering.result() > 10
    assert rows(halves.url, "SELECT committed, missing FROM device_packets") == [(len(values), 0)] * 4
    told = "SELECT phase, at FROM observation JOIN device USING (device_id) WHERE name = %s ORDER BY at, revision"
    first, *others = [rows(halves.url, told, box.device) for box in boxes]
    assert [phase for phase, _ in first if phase != "update"] == ["start", "end"] * 24
    assert all(other == first for other in others)


def test_a_foreign_device_moves_with_its_incident_and_its_counter(halves: Halves, tmp_path: Path) -> None:
    foreign = adapters(PLANT)
    enrol_foreign(halves.url, foreign.files, tmp_path / "credentials")
    gauge = Address("plant", "gauge-1")
    halves.move(SOUTH, gauge)
    halves.start(SMOKE.replace("smoke_density", "water_level").replace("0.15", "1.5").replace("0.08", "1.0"))
    at = now_ms() - MINUTE

    def said(number: int, level_mm: int) -> Decoded:
        told = {"n": number, "t": (at + number * 1000) / 1000, "boot": 1, "values": {"level_mm": level_mm}}
        return Decoder(foreign).decode(message("plant/gauge-1/counted", told, at=now_ms()))

    assert halves.commit(SOUTH, [said(1, 1700)]).observations == 1
    halves.move(NORTH, gauge)
    again = halves.commit(NORTH, [said(1, 1700), said(2, 1800)])
    assert (again.duplicates, again.packets, again.observations) == (1, 1, 0)
    halves.move(SOUTH, gauge)
    back = halves.commit(SOUTH, [said(2, 1800), said(3, 1200), said(4, 900)])
    assert (back.duplicates, back.packets, back.observations) == (1, 2, 1)
    assert phases(halves.url) == ["start", "end"]
