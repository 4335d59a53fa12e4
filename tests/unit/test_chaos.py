"""The tools that break the system do what they say: plans that repeat, links that misbehave, clocks that jump."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.chaos.clock import MovedClock, set_offset
from benchmarks.chaos.ledger import Ledger
from benchmarks.chaos.links import Link, Switchboard
from benchmarks.chaos.plan import Cast, draw
from common.runtime.clock import ManualClock
from edge.database import Database
from edge.outbox import SqliteOutbox
from tests.fixtures.edge_messages import ADDRESS, events, readings

CAST = Cast(
    boxes=("hub-1", "hub-2"),
    gateways=("gateway-1", "gateway-2"),
    links=("hub-1 to broker", "gateway-1 to database"),
    disks=(("hub-1", "hub-1 to broker"),),
    clocks=("hub-1", "hub-2"),
)


def test_the_same_seed_draws_the_same_acts_and_another_seed_others() -> None:
    assert draw(7, 60, 7.0, CAST) == draw(7, 60, 7.0, CAST)
    assert draw(7, 60, 7.0, CAST) != draw(8, 60, 7.0, CAST)


@pytest.mark.parametrize("seed", range(20))
def test_as_many_are_killed_as_were_asked_for_and_each_kind_of_part_is_among_them(seed: int) -> None:
    acts = draw(seed, 12, 7.0, CAST)
    killed = [act.target for act in acts if act.what == "kill" and act.target not in {"centre", "worker"}]
    assert len(killed) == 12
    kinds = {target.rpartition("-")[0] or target for target in killed}
    assert kinds == {"hub", "gateway", "broker", "database"}
    others = Counter(act.what for act in acts)
    assert all(others[what] for what in ("fill", "cut", "set clock", "void"))
    assert acts == sorted(acts)


class Echo:
    """A server that says back what it is told."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    @staticmethod
    def _answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    connection.sendall(data)
            except ConnectionError:
                return

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def link() -> Iterator[Link]:
    switchboard = Switchboard()
    with closing(Echo()) as echo:
        yield switchboard.connect(echo.port)
        switchboard.close()


def call(link: Link) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), timeout=10)


def talk(link: Link) -> None:
    with call(link) as connection:
        connection.sendall(b"b")
        if not connection.recv(1):
            raise ConnectionResetError


def test_a_good_link_carries_everything_both_ways(link: Link) -> None:
    sent = bytes(range(256)) * 2000
    with call(link) as connection:
        threading.Thread(target=connection.sendall, args=(sent,)).start()
        got = b""
        while len(got) < len(sent):
            got += connection.recv(65_536)
    assert got == sent


def test_a_link_that_is_cut_resets_its_connections_and_takes_no_new_ones_until_it_is_healed(
    link: Link,
) -> None:
    with call(link) as connection:
        connection.sendall(b"a")
        assert connection.recv(1) == b"a"
        link.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionError):
        talk(link)
    link.heal()
    with call(link) as connection:
        connection.sendall(b"c")
        assert connection.recv(1) == b"c"


def test_a_frozen_link_keeps_what_it_is_given_until_it_thaws(link: Link) -> None:
    with call(link) as connection:
        connection.sendall(b"a")
        assert connection.recv(1) == b"a"
        link.freeze()
        time.sleep(0.1)
        connection.sendall(b"b")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        link.heal()
        connection.settimeout(10)
        assert connection.recv(1) == b"b"


def test_a_clock_that_was_set_is_wrong_at_once_and_right_again_when_it_is_set_back(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    set_offset(path, 0)
    clock = MovedClock(path)
    before = clock.now_ms()
    set_offset(path, 24 * 3600)
    assert clock.now_ms() >= before + 24 * 3_600_000
    set_offset(path, -3600)
    assert clock.now_ms() < before
    set_offset(path, 0)
    assert before <= clock.now_ms() < before + 60_000


def test_the_ledger_knows_what_a_box_let_go_since_and_counts_given_up_packets_as_empty(
    tmp_path: Path,
) -> None:
    data = tmp_path / "box"
    database = Database(data)
    outbox = SqliteOutbox(database, ADDRESS, ManualClock(), max_bytes=5_000)
    ledger = Ledger(tmp_path / "ledger", {ADDRESS: data})
    for n in range(20):
        outbox.append(readings(n, count=3))
        ledger.look()
    outbox.append(events())
    ledger.look()
    stats = outbox.stats()
    assert stats.abandoned > 5
    (whole,) = ledger.lives(ADDRESS, {})
    assert whole.numbered == whole.held == stats.numbered
    assert whole.readings.total() == 20 * 3
    (less,) = ledger.lives(ADDRESS, {outbox.epoch: [(1, 4)]})
    assert (less.held, less.readings.total()) == (stats.numbered, 16 * 3)
    assert ledger.changed() == []
    with database.transaction() as connection:
        connection.execute("UPDATE packet SET payload = x'7b7d' WHERE seq = (SELECT max(seq) FROM packet)")
    assert len(ledger.changed()) == 1
    database.close()
