"""An empty database filled again from an archive of packets: the same matters, incidents, tickets and links.

The packets go through the gateway's store and the worker on the real database. They may come in any order within the
lateness bound, which is shorter than any rejoin time; only the readings of one box keep their order, as its outbox
keeps it. Ids and commit times differ. What must not differ: where a matter lies, which of its neighbours a device in a
chain goes with, and whose a ticket is although the gravest is heard last.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from cloud.db import Database
from common.runtime.clock import ManualClock
from common.schema.runner import migrate
from common.wire.codec import encode_packet
from common.wire.messages import Events, Observation, Readings, Series
from common.wire.topics import Address
from gateway.decode import Decoder, RawMessage
from local.postgres import PostgresServer
from tests.fixtures.centre import Centre
from tests.fixtures.gateway_store import opened_stores

pytestmark = pytest.mark.services

BOUND_MS: Final = 60_000
SITE: Final = "gulou"
BEGIN_MS: Final = ManualClock().now_ms()
#: Around the 600 s within which a condition that comes back is the same incident.
PAUSES_S: Final = (90, 560, 590, 610, 640, 1900, 2600)


@dataclass(frozen=True)
class Packet:
    """A line of the archive: what a box sent, and when it came in."""

    box: str
    seq: int
    sent_ms: int
    payload: bytes
    kind: str
    arrived_ms: int


def places() -> dict[str, tuple[float, float]]:
    """Three boxes at each of five places 220 m apart.

    At two of them they stand 10 m from each other; at three 35 m, a chain in which only neighbours are within 50 m, with
    the middle one named first, second or last; the last chain lies across the border of two grids.
    """
    chains = {2: (1, 0, 2), 3: (0, 1, 2), 4: (2, 0, 1)}
    return {
        f"box-{place}{name}": (
            119.3009 + place * 0.0022 + position * (0.00035 if place in chains else 0.0001),
            26.0805,
        )
        for place in range(5)
        for position, name in enumerate(chains.get(place, (0, 1, 2)))
    }


def archive(seed: int) -> list[Packet]:
    """Two hours of conditions, acts and smoke readings, in the order in which they were sent."""
    dice = random.Random(seed)
    told: list[tuple[int, str, Events | Readings]] = []
    for box in places():
        for category, sensor in (
            *(("flood.water_level", "gauge-1"), ("camera.zone_occupied", "eye-1")),
            ("camera.standing_water", "eye-2"),
        ):
            at = BEGIN_MS + dice.randrange(60_000)
            while at < BEGIN_MS + 7_200_000:
                phases = condition(dice, observation(dice, "start", category, sensor, at))
                told += [(phase.at, box, Events([phase])) for phase in phases]
                at = phases[-1].at + dice.choice(PAUSES_S) * 1000
        for _ in range(5):
            at = BEGIN_MS + dice.randrange(7_200_000)
            told.append((at, box, Events([observation(dice, "act", "camera.no_helmet", "eye-1", at)])))
        for minute in range(0, 120, 4):
            at = BEGIN_MS + minute * 60_000
            density = [0.3 if 40 <= minute < 60 else 0.01] * 3
            told.append(
                (at, box, Readings([Series("smoke-1", "smoke_density", [at, at + 1000, at + 2000], density)]))
            )
    told.sort(key=lambda line: (line[0], line[1]))
    return packed(told)


def condition(dice: random.Random, first: Observation) -> list[Observation]:
    """Start, perhaps an update, and end of one condition."""
    phases, at = [first], first.started_at
    ends = at + dice.randrange(20, 200) * 1000
    if dice.random() < 0.5:
        between = (at + ends) // 2
        phases.append(
            replaced(first, phase="update", revision=1, at=between, severity=dice.randint(2, 4), count=2)
        )
    phases.append(replaced(first, phase="end", revision=2, at=ends, ended_at=ends, count=3))
    return phases


def observation(dice: random.Random, phase: Any, category: str, sensor: str, at: int) -> Observation:
    """One phase of a new observation."""
    return Observation(
        observation_id=str(uuid.UUID(int=dice.getrandbits(128), version=4)),
        phase=phase,
        revision=0,
        category=category,
        source="bench",
        sensor=sensor,
        started_at=at,
        at=at,
        severity=dice.choice((1, 2, 2, 3, 4)),
    )


def replaced(it: Observation, **changed: Any) -> Observation:
    """The same observation with some fields otherwise."""
    fields = {name: getattr(it, name) for name in it.__struct_fields__}
    return Observation(**(fields | changed))


def packed(told: Sequence[tuple[int, str, Events | Readings]]) -> list[Packet]:
    """Numbered by each box."""
    numbers: dict[str, int] = {}
    packets = []
    for at, box, data in told:
        seq = numbers[box] = numbers.get(box, 0) + 1
        kind = "readings" if isinstance(data, Readings) else "events"
        payload = encode_packet(Address(SITE, box), 7, seq, at, data)
        packets.append(Packet(box, seq, at, payload, kind, at))
    return packets


def shuffled(packets: Sequence[Packet], seed: int) -> list[Packet]:
    """Each comes in up to the bound late, some of them twice; a box's readings keep their order."""
    dice, newest = random.Random(seed), dict[str, int]()
    arrived = []
    for packet in packets:
        at = packet.sent_ms + dice.randrange(BOUND_MS)
        if packet.kind == "readings":
            at = newest[packet.box] = max(at, newest.get(packet.box, 0) + 1)
        arrived.append(replace(packet, arrived_ms=at))
        if dice.random() < 0.1:
            arrived.append(replace(packet, arrived_ms=at + dice.randrange(BOUND_MS)))
    return sorted(arrived, key=lambda packet: (packet.arrived_ms, packet.box, packet.seq))


def rebuild(server: PostgresServer, packets: Sequence[Packet], seed: int) -> dict[str, list[Any]]:
    """Fill an empty database from the packets as they arrive; what it then holds."""
    name = f"rebuilt_{uuid.uuid4().hex[:10]}"
    url = server.create_database(name)
    try:
        migrate(url)
        with Database(url, size=4) as database, opened_stores(url) as stores:
            centre = Centre(database)
            centre.build()
            grave(centre)
            for box, place in places().items():
                centre.device(box, *place)
            replay(centre, stores(), packets, random.Random(seed))
            assert centre.value("SELECT count(*) FROM inbox_failed") == 0
            assert centre.value("SELECT count(*) FROM reject") == 0
            return held(centre)
    finally:
        server.drop_database(name)


def grave(centre: Centre) -> None:
    """What is grave belongs to another department, which has less time."""
    with centre.database.transaction() as transaction:
        for category in ("flood.*", "camera.*"):
            transaction.run(
                "INSERT INTO routing_rule SELECT min(position) - 1, %(category)s, 4, 'department:fire', '{water}'"
                " FROM routing_rule",
                category=category,
            )
        transaction.run(
            "INSERT INTO policy SELECT min(position) - 1, 'grave', '*', 4, 30, 60, 300 FROM policy"
        )


def replay(centre: Centre, store: Any, packets: Sequence[Packet], dice: random.Random) -> None:
    """Batches of the store, the worker after each; the clock goes with the archive."""
    decoder, left = Decoder(), list(packets)
    while left:
        size = dice.randint(1, 12)
        batch, left = left[:size], left[size:]
        store.commit(
            [
                decoder.decode(
                    RawMessage(
                        Address(SITE, it.box).up(it.kind), it.payload, False, it.arrived_ms, len(it.payload)
                    )
                )
                for it in batch
            ]
        )
        centre.clock.advance(max(batch[-1].arrived_ms - centre.clock.now_ms(), 0) / 1000)
        centre.worker.drain()


# An observation is named by who saw what and when it began: those that rules made have other ids each time.
_SEEN = """
SELECT incident_id, device.name || ' ' || seen.category || ' ' || seen.sensor || ' '
       || (extract(epoch FROM seen.started_at) * 1000)::bigint AS name,
       seen.revision, seen.severity, seen.at, seen.ended_at, seen.count, seen.value, seen.mark
FROM incident_observation AS seen JOIN device USING (device_id) ORDER BY 2
"""
_INCIDENTS = """
SELECT incident_id, matter_id, kind, severity, started_at, last_at, ended_at, observations, count, ticket_worthy, mark,
       ticket_id, incident.lon, incident.lat, device.name AS device
FROM incident JOIN device USING (device_id) LEFT JOIN ticket_incident USING (incident_id)
"""
_TICKETS = """
SELECT ticket_id, matter_id, category, channel, state, severity, level, unit_code, unassigned, grid_code, policy, lon, lat,
       (SELECT array_agg(unit_code || ' ' || kind ORDER BY unit_code) FROM assignment
        WHERE assignment.ticket_id = ticket.ticket_id AND ended_at IS NULL) AS units,
       (SELECT array_agg(name || ' ' || state ORDER BY name) FROM clock
        WHERE clock.ticket_id = ticket.ticket_id AND state <> 'cancelled') AS clocks
FROM ticket
"""


def held(centre: Centre) -> dict[str, list[Any]]:
    """Matters, incidents, tickets and links, each named by the observations in it."""
    seen = centre.rows(_SEEN)
    inside: dict[Any, list[str]] = {}
    for row in seen:
        inside.setdefault(row["incident_id"], []).append(row["name"])
    incidents = centre.rows(_INCIDENTS)
    of_matter: dict[Any, list[str]] = {}
    of_ticket: dict[Any, list[str]] = {}
    for row in incidents:
        names = inside[row["incident_id"]]
        of_matter.setdefault(row["matter_id"], []).extend(names)
        of_ticket.setdefault(row["ticket_id"], []).extend(names)
    kinds = {
        row["matter_id"]: (row["category"], row["scope"], row["lon"], row["lat"])
        for row in centre.rows("SELECT * FROM matter")
    }
    ids = ("incident_id", "matter_id", "ticket_id")
    return {
        "observations": [without(row, *ids) for row in seen],
        "matters": sorted((*kinds[it], sorted(names)) for it, names in of_matter.items()),
        "incidents": in_order((sorted(inside[row["incident_id"]]), without(row, *ids)) for row in incidents),
        "tickets": in_order(
            (sorted(of_ticket[row["ticket_id"]]), without(row, *ids)) for row in centre.rows(_TICKETS)
        ),
    }


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    """The row without some of its columns."""
    return {name: value for name, value in row.items() if name not in names}


def in_order(lines: Any) -> list[Any]:
    """Sorted by what they say."""
    return sorted(lines, key=repr)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_archive_in_any_order_of_arrival_gives_the_same_matters_states_and_links(
    postgres_server: PostgresServer, seed: int
) -> None:
    packets = archive(seed)
    expected = rebuild(postgres_server, packets, seed)
    assert len(expected["tickets"]) > 15
    assert len(expected["incidents"]) > 50
    assert any(len(matter[-1]) > 5 for matter in expected["matters"])
    for order in (10, 11):
        found = rebuild(postgres_server, shuffled(packets, order), order)
        for name, lines in expected.items():
            assert found[name] == lines, f"{name} differ in order {order}"


def test_what_comes_late_between_two_incidents_makes_them_one(database_url: str) -> None:
    with Database(database_url, size=4) as database:
        centre = Centre(database)
        centre.build()
        one, other = centre.device("gauge-1"), centre.device("gauge-2")
        centre.clock.advance(3600)
        centre.put(one, "end", revision=1, started_s=-1500, ended_s=-1400)
        centre.put(other, started_s=-790)  # 610 s later: another incident
        centre.worker.drain()
        assert centre.value("SELECT count(*) FROM incident") == 2
        centre.put(one, "end", revision=1, started_s=-810, ended_s=-700)  # it went on between them
        centre.worker.drain()
        (incident,) = centre.rows("SELECT incident_id, observations, ended_at, ticket_worthy FROM incident")
        assert (incident["observations"], incident["ended_at"], incident["ticket_worthy"]) == (3, None, True)
        assert centre.value("SELECT into_id FROM incident_joined") == incident["incident_id"]
        assert centre.value("SELECT incident_id FROM ticket_incident") == incident["incident_id"]
        told = centre.rows("SELECT kind FROM stream_event WHERE kind LIKE 'incident.%%' ORDER BY event_id")
        assert [row["kind"] for row in told][-2:] == ["incident.joined", "incident.changed"]
