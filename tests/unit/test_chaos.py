"""The tools that break the system do what they say: plans that repeat, links that misbehave, clocks that jump."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.chaos import __main__ as chaos
from benchmarks.chaos.clock import MovedClock, set_offset
from benchmarks.chaos.database_log import faults_of, troubles_in
from benchmarks.chaos.disk import SmallDisk
from benchmarks.chaos.held import Held, held_in, told
from benchmarks.chaos.ledger import Ledger
from benchmarks.chaos.links import Link, Switchboard
from benchmarks.chaos.plan import Cast, What, draw
from benchmarks.chaos.run import is_full, left_undone
from benchmarks.chaos.town import SMALL_DISK, SMALL_OUTBOX
from benchmarks.last_line import LastLine
from common.runtime.clock import ManualClock
from common.runtime.stop import Stop
from edge.database import Database
from edge.evidence import EvidenceStore
from edge.outbox import SqliteOutbox
from local.demo.part import Part
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


def send_and_hear(connection: socket.socket, sent: bytes) -> bytes:
    """What came back of as much as was sent."""
    threading.Thread(target=connection.sendall, args=(sent,)).start()
    got = b""
    while len(got) < len(sent) and (more := connection.recv(65_536)):
        got += more
    return got


def talk(link: Link) -> None:
    with call(link) as connection:
        connection.sendall(b"b")
        if not connection.recv(1):
            raise ConnectionResetError


def test_a_good_link_carries_everything_both_ways(link: Link) -> None:
    sent = bytes(range(256)) * 2000
    with call(link) as connection:
        assert send_and_hear(connection, sent) == sent


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


def test_a_slowed_link_lets_so_much_through_a_second_until_it_is_healed(link: Link) -> None:
    """Only how long it takes at least is known; healed, what would take minutes at that pace comes before a time out."""
    with call(link) as connection:
        link.slow(1_000.0, 0.0)
        began = time.monotonic()
        assert send_and_hear(connection, bytes(300)) == bytes(300)
        assert time.monotonic() - began >= 0.3
        link.heal()
        assert send_and_hear(connection, bytes(100_000)) == bytes(100_000)


def test_a_slowed_link_keeps_each_piece_that_much_longer(link: Link) -> None:
    with call(link) as connection:
        link.slow(0.0, 0.1)
        began = time.monotonic()
        assert send_and_hear(connection, b"a") == b"a"
        assert time.monotonic() - began >= 0.2, "there and back"


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


LOG = """\
2026-11-22 06:00:00.001 UTC [70] LOG:  database system is ready to accept connections
2026-11-22 06:00:01.002 UTC [71] ERROR:  deadlock detected
2026-11-22 06:00:01.002 UTC [71] DETAIL:  Process 71 waits for ShareLock on transaction 9; blocked by process 72.
2026-11-22 06:00:02.000 UTC [70] LOG:  server process (PID 73) was terminated by signal 9: Killed
"""


def test_a_deadlock_is_found_in_the_databases_log_and_our_own_kill_is_none(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_bytes(LOG.encode() + b"\xff torn line")
    found = troubles_in(log)
    assert found == {"deadlocks": 1, "serialization_failures": 0, "panics": 0}
    assert faults_of(found, log) == ["1 deadlocks in postgres.log"]
    with log.open("a") as more:
        more.write("[70] LOG:  server process (PID 75) was terminated by signal 11: Segmentation fault\n")
        more.write("[75] ERROR:  could not serialize access due to concurrent update\n")
        more.write("[76] PANIC:  could not write to file\n")
    assert troubles_in(log) == {"deadlocks": 1, "serialization_failures": 1, "panics": 2}


def test_what_ends_a_run_is_in_its_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        with LastLine("chaos", seed=3) as summary:
            summary |= {"ok": True, "faults": ["one"], "kills": 4}
            raise RuntimeError("the broker did not start")

    with pytest.raises(RuntimeError):
        run()
    assert json.loads(capsys.readouterr().out) == {
        "name": "chaos",
        "ok": False,
        "seed": 3,
        "faults": ["one", "ended by RuntimeError: the broker did not start"],
        "kills": 4,
    }
    with LastLine("chaos") as summary:
        summary["ok"] = True
    assert json.loads(capsys.readouterr().out)["ok"] is True


FILLS = """
import sys
from pathlib import Path
from benchmarks.chaos.disk import SmallDisk, alone

alone(["-c", sys.argv[2], *sys.argv[1:]])
disk = SmallDisk(Path(sys.argv[1]), 400)
print(disk.mounted, flush=True)
disk.fill()
wrote = 0
try:
    wrote = (disk.path / "more").write_bytes(bytes(100_000))
except OSError as error:
    print(error.errno)
disk.free()
print(wrote or (disk.path / "more").write_bytes(bytes(100_000)))
disk.close()
"""


def test_a_full_disk_refuses_whoever_writes_where_one_may_be_mounted(tmp_path: Path) -> None:
    """As whoever runs the tests, root or not; where no file system may be mounted nothing is filled."""
    ran = subprocess.run(
        [sys.executable, "-c", FILLS, str(tmp_path / "disk"), FILLS],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    mounted, *rest = ran.stdout.split()
    assert rest == ([str(errno.ENOSPC), "100000"] if mounted == "True" else ["100000"])
    assert (tmp_path / "disk" / "more").stat().st_size == 100_000, "what it held stays"
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]
    assert SmallDisk(tmp_path / "other", 400).mounted is False


def test_a_box_that_is_late_is_told_with_what_it_holds_and_what_it_said(tmp_path: Path) -> None:
    data, log = tmp_path / "hub-1", tmp_path / "hub-1.log"
    with closing(Database(data)) as database:
        outbox = SqliteOutbox(database, ADDRESS, ManualClock())
        store = EvidenceStore(database, ManualClock())
        assert not held_in(data)
        outbox.append(readings())
        picture = store.keep(b"a picture", "image/jpeg", 3)
        store.attempted(picture)
        assert held_in(data) == Held(packets=1, pictures=1, tries=1)
        store.park(picture, "422 refused for good")
        assert held_in(data) == Held(packets=1, pictures=0)
    log.write_text("it began\nthe door is away\n")
    assert told("hub-1", Held(1, 2, 3), Part("box hub-1", log, [], {})) == (
        "hub-1 1 packets, 2 pictures (tried 3 times at most), it does not run, said last: the door is away"
    )


DONE: Counter[tuple[What, str]] = Counter(
    {
        ("kill", "hub-1"): 60,
        ("cut", "hub-1 to broker"): 9,
        ("freeze", "hub-1 to broker"): 7,
        ("slow", "hub-1 to broker"): 14,
        ("fill", SMALL_DISK): 5,
        ("fill", SMALL_OUTBOX): 6,
    }
)
MET = {"disk_full": "by filesystem", "disk_full_met": 1}
NEVER_MET = {"disk_full": "by filesystem", "disk_full_met": 0}


def done_but(*left_out: tuple[What, str]) -> Counter[tuple[What, str]]:
    return Counter({act: count for act, count in DONE.items() if act not in left_out})


def test_a_full_run_in_which_everything_happened_is_no_fault() -> None:
    assert left_undone(DONE.total(), DONE, MET, full=True) == []


@pytest.mark.parametrize(("what", "told"), [("cut", "cut"), ("freeze", "frozen"), ("slow", "slowed")])
def test_a_full_run_in_which_links_were_not_spoilt_in_one_of_the_ways_is_a_fault(
    what: What, told: str
) -> None:
    done = done_but((what, "hub-1 to broker"))
    assert left_undone(done.total(), done, MET, full=True) == [f"no link was {told}"]


def test_a_full_run_whose_box_never_met_the_disk_that_was_filled_is_a_fault() -> None:
    (fault,) = left_undone(DONE.total(), DONE, NEVER_MET, full=True)
    assert fault == "the disk of small-disk was filled 5 times, and the box never met it"


def test_a_disk_that_nobody_filled_or_that_could_not_be_mounted_need_not_be_met() -> None:
    done = done_but(("fill", SMALL_DISK))
    assert left_undone(done.total(), done, NEVER_MET, full=True) == []
    by_limit = {"disk_full": "by limit", "disk_full_met": 0}
    assert left_undone(DONE.total(), DONE, by_limit, full=True) == []


def test_a_short_run_need_not_do_everything_but_what_was_planned() -> None:
    done = done_but(("slow", "hub-1 to broker"))
    assert left_undone(done.total(), done, NEVER_MET, full=False) == []
    assert left_undone(done.total() + 2, done, MET, full=False) == [
        f"2 of {done.total() + 2} acts were not done"
    ]


@pytest.mark.parametrize(
    ("kills", "every_s", "full"),
    [(60, 7.0, True), (200, 7.0, True), (59, 7.0, False), (60, 2.0, False), (5, 100.0, False)],
)
def test_only_a_run_as_long_as_the_default_is_full(kills: int, every_s: float, full: bool) -> None:
    assert is_full(kills, every_s) is full


def test_a_run_that_nothing_is_asked_of_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default stands with the command's arguments: were it to shrink, nothing would be judged any more."""
    asked: list[bool] = []

    def run(
        _data: Path, kills: int, every_s: float, _seed: int, _stop: Stop, *, camera: bool
    ) -> dict[str, bool]:
        asked.append(is_full(kills, every_s) and camera)
        return {"ok": True}

    monkeypatch.setattr(sys, "argv", ["chaos"])
    monkeypatch.setattr(chaos, "alone", lambda _: None)
    monkeypatch.setattr(Stop, "on_signals", lambda stop: stop)
    monkeypatch.setattr(chaos, "run", run)
    assert (chaos.main(), asked) == (0, [True])
