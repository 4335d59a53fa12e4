"""Several partitions, each served by gateway processes of its own, against the real broker and database."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.wire.messages import Readings
from common.wire.topics import Address
from gateway.fleet.enrol import enrol
from gateway.fleet.sites import DeviceEntry, Site
from tests.fixtures.edge_boxes import Box, run_box
from tests.fixtures.gateway_district import District, counted, opened_district
from tests.fixtures.gateway_store import smoke
from tests.integration.gateway_rig import SETTINGS, eventually, now_ms, register, rows

pytestmark = pytest.mark.services
FRAMES = f"{SETTINGS}intake: {{client: frames}}\n"


@pytest.fixture
def district(tmp_path: Path) -> Iterator[District]:
    """A small district."""
    with opened_district(tmp_path) as made:
        yield made


def test_two_partitions_are_served_apart_and_one_does_not_notice_that_the_other_is_killed(
    district: District,
) -> None:
    lasting = FRAMES.replace("ttl_s: 2", "ttl_s: 300")  # it cannot change hands by chance
    district.register_boxes("kiln", "south")
    district.register_boxes("mill", "north")
    north = district.gateway("north", lasting, "north").await_connected()
    south = district.gateway("south", partition="south").await_connected()
    standby = district.gateway("standby", partition="south")
    eventually(lambda: "waiting for the lease" in standby.log)
    district.start_boxes("kiln", "south")
    district.start_boxes("mill", "north")
    district.more("kiln")
    district.more("mill")
    assert counted(south, "ignored") == 0
    south.kill()
    district.more("mill", 100)
    standby.await_connected()
    district.more("kiln")
    district.finish()
    eventually(lambda: counted(north, "packets") == district.numbered("mill"))
    assert counted(north, "ignored") == counted(standby, "ignored") == 0
    assert north.log.count("connected to the broker") == 1
    assert "disconnected" not in north.log
    fencing = dict(rows(district.url, "SELECT partition, fencing FROM partition_lease"))
    assert fencing["north"] == 1
    assert fencing["south"] >= 2  # more where this machine stood still for a while


class Lamp:
    """A real box, outbox and all, in whose smoke an incident runs for as long as it goes on sending."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.numbered = 0
        self._ended = threading.Event()
        self._at = now_ms() - 600_000
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def clear(self) -> None:
        """Send no more but that the smoke is gone, and wait until the box knows of all that it is committed."""
        self.close()
        self._accept(smoke(0.0, at=self._at + self.numbered))
        eventually(lambda: self.box.outbox.stats().unreceipted == 0)

    def close(self) -> None:
        """Send no more."""
        self._ended.set()
        self._thread.join()

    def _send(self) -> None:
        while not self._ended.wait(0.02):
            self._accept(smoke(0.3, at=self._at + self.numbered))

    def _accept(self, data: Readings) -> None:
        self.box.outbox.append(data)
        self.numbered += 1
        self.box.uplink.wake()


@contextmanager
def lamp_of(district: District, directory: Path, address: Address) -> Iterator[Lamp]:
    """A registered box that sends until it is closed."""
    password = secrets.token_urlsafe(12)
    district.broker.add_device(address.site, address.device, password)
    district.broker.reload()
    with run_box(district.broker, directory, address, password=password, resend_after_s=1.0) as box:
        made = Lamp(box)
        try:
            yield made
        finally:
            made.close()


def place(district: District, partition: str) -> None:
    """Enrol the lamp as of a partition; the other box of its site stays in the south."""
    lamp = DeviceEntry(name="lamp", lon=119.3, lat=26.1, partition=partition)
    other = DeviceEntry(name="box-0", lon=119.3, lat=26.1)
    site = Site(site="kiln", partition="south", devices=(lamp, other))
    enrol(district.url, [site], district.directory / "credentials")


def test_a_box_moved_there_and_back_under_running_gateways_loses_nothing_and_starts_nothing_twice(
    district: District, tmp_path: Path
) -> None:
    """The old gateway goes on hearing the site, of which another box stays, and leaves what is not its own any more."""
    place(district, "south")
    south = district.gateway("south", partition="south").await_connected()
    north = district.gateway("north", FRAMES, "north").await_connected()
    committed = (
        "SELECT coalesce(sum(committed), 0)::int FROM device_packets JOIN device USING (device_id)"
        " WHERE name = 'lamp'"
    )

    def goes_on() -> None:
        ((before,),) = rows(district.url, committed)
        eventually(lambda: rows(district.url, committed)[0][0] > before + 30)

    with lamp_of(district, tmp_path / "lamp", Address("kiln", "lamp")) as lamp:
        goes_on()
        place(district, "north")
        goes_on()
        eventually(lambda: counted(north, "packets") > 30)
        place(district, "south")
        goes_on()
        lamp.clear()
        assert rows(district.url, committed) == [(lamp.numbered,)]
    assert counted(south, "ignored") > 0, "the site is its own as well, so it heard what it had to leave"
    eventually(lambda: counted(south, "packets") + counted(north, "packets") == lamp.numbered)
    assert rows(district.url, "SELECT sum(missing)::int FROM device_packets") == [(0,)]
    once = "SELECT count(*)::int, count(DISTINCT captured_at)::int FROM reading"
    assert rows(district.url, once) == [(lamp.numbered, lamp.numbered)]
    told = rows(
        district.url, "SELECT phase, count(*)::int FROM observation WHERE phase <> 'update' GROUP BY 1"
    )
    assert sorted(told) == [("end", 1), ("start", 1)]
    assert rows(district.url, "SELECT count(DISTINCT observation_id)::int FROM observation") == [(1,)]
    for gateway in (south, north):
        assert gateway.process is not None
        assert gateway.process.poll() is None, "neither was started again"


@pytest.mark.parametrize("settings", [SETTINGS, FRAMES], ids=["paho", "frames"])
def test_a_gateway_that_was_away_while_a_site_left_stops_hearing_it(
    district: District, settings: str
) -> None:
    """The broker keeps the subscriptions of a session whose gateway is dead, and all that comes by them."""
    register(district.url, "gate", "box-9", partition="south")  # so that something is left in the south
    district.register_boxes("kiln", "south", number=1)
    south = district.gateway("south", settings, "south").await_connected()
    district.gateway("north", FRAMES, "north").await_connected()
    district.start_boxes("kiln", "south", number=1)
    district.more("kiln")
    south.kill()
    rows(district.url, "UPDATE device SET partition = 'north' WHERE site = 'kiln'")
    district.more("kiln")
    south = district.gateway("again", settings, "south").await_connected()
    eventually(lambda: counted(south, "ignored") > 0)

    def hears_no_more() -> bool:
        before = counted(south, "ignored")
        district.more("kiln", 30)
        return counted(south, "ignored") == before

    eventually(hears_no_more)
    district.finish()
