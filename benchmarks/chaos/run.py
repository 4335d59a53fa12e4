"""One run: start the town, let the plan happen, heal, wait until all is quiet, compare."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks.chaos.database_log import faults_of, troubles_in
from benchmarks.chaos.driver import Driver
from benchmarks.chaos.held import held_in, told
from benchmarks.chaos.ledger import GivenUp, Ledger
from benchmarks.chaos.plan import What, draw
from benchmarks.chaos.town import SMALL_DISK, Town, lay_out, silence
from common.runtime.stop import Stop
from common.wire.topics import Address
from local.demo.audit import Audit, audit_lives, lives_of
from local.ports import free_port

#: How long boxes work, once each has begun, before anything happens to them.
_WARM_UP_S: Final = 2.0
#: How long the healed system may take to catch up, at each of its steps.
_PATIENCE_S: Final = 180.0
#: What is run by default; as many kills in as much time leave room for everything else a plan may draw.
_FULL_KILLS: Final = 60
_FULL_S: Final = _FULL_KILLS * 7.0
_BY_FILESYSTEM: Final = "by filesystem"
_COUNTS: Final = b"""
SELECT (SELECT coalesce(sum(committed), 0)::bigint FROM device_packets), (SELECT count(*) FROM ticket),
       (SELECT count(*) FROM observation_inbox)
"""
_GIVEN_UP: Final = b"""
SELECT s.epoch, lower(r)::bigint, upper(r)::bigint - 1 FROM device_stream s JOIN device d USING (device_id),
       unnest(s.abandoned) r WHERE d.site = %s AND d.name = %s
"""


def run(data: Path, kills: int, every_s: float, seed: int, stop: Stop, *, camera: bool) -> dict[str, Any]:
    """Everything from the first start to the summary.

    Args:
        data: where the run keeps its files.
        kills: SIGKILLs over boxes, gateways, broker and database.
        every_s: mean seconds between them.
        seed: of the plan.
        stop: ends it early, which is a fault.
        camera: whether one of the boxes has a camera.
    """
    say = Teller()
    say(f"seed {seed}: {kills} kills, about {kills * every_s + 60:.0f} s")
    found, unseen = Audit(), 0
    with Town(lay_out(data, free_port(), camera=camera), say) as town:
        with Ledger(data / "ledger", town.addresses()) as ledger:
            _until(lambda: stop.is_set() or ledger.everyone_began())
            stop.wait(_WARM_UP_S)
            acts = draw(seed, kills, every_s, town.cast())
            driver = Driver(town, acts, stop)
            driver.start()
            while not driver.is_done():
                driver.look_after()
                say.progress(town, driver, ledger)
                stop.wait(1.0)
            driver.look_after()
            driver.heal()
            faults = [] if stop.is_set() else _come_to_rest(town, driver, say)
            ledger.look()
        if not stop.is_set():
            say("comparing what boxes numbered with what the store has")
            found, unseen = _compare(town, ledger)
    assert town.postgres is not None
    troubles = troubles_in(town.postgres.log)
    faults += [*driver.faults, *ledger.changed(), *found.faults, *faults_of(troubles, town.postgres.log)]
    if found.evidence_missing:
        faults.append(f"{found.evidence_missing} pictures of observations never reached the district")
    disk = _full_disk(town)
    if stop.is_set():
        faults.append(f"ended early: {stop.reason}")
    else:
        faults += left_undone(len(acts), driver.done, disk, full=is_full(kills, every_s))
    for fault in faults:
        say(f"fault: {fault}")
    return {
        **_summary(driver, found, faults),
        **troubles,
        **disk,
        "seed": seed,
        "seconds": round(say.elapsed(), 1),
        "packets_unseen": unseen,
        "faults": faults,
    }


def is_full(kills: int, every_s: float) -> bool:
    """Whether a run is long enough that everything happens in it, whatever its seed."""
    return kills >= _FULL_KILLS and kills * every_s >= _FULL_S


def left_undone(
    planned: int, done: Counter[tuple[What, str]], disk: Mapping[str, Any], *, full: bool
) -> list[str]:
    """What a run was for and did not come about; that nothing was lost says nothing of what was not tried. Pure.

    Args:
        planned: how many acts there were to do.
        done: how often what was done to whom.
        disk: what filled up, and how often its box said so.
        full: whether the run was so long that chance is no excuse.
    """
    faults = []
    if done.total() != planned:
        faults.append(f"{planned - done.total()} of {planned} acts were not done")
    if not full:
        return faults
    acts = {what for (what, _), count in done.items() if count}
    spoilt = {"cut": "cut", "freeze": "frozen", "slow": "slowed"}
    faults += [f"no link was {told}" for what, told in spoilt.items() if what not in acts]
    # Its box writes a packet each 50 ms, also while it hears nothing, and says within a second that it cannot.
    filled = disk["disk_full"] == _BY_FILESYSTEM and done["fill", SMALL_DISK]
    if filled and not disk["disk_full_met"]:
        faults.append(f"the disk of {SMALL_DISK} was filled {filled} times, and the box never met it")
    return faults


class Teller:
    """Writes what happens, a line each, with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._said = 0.0

    def __call__(self, text: str) -> None:
        """One line."""
        print(f"{self.elapsed():6.1f} s  {text}", file=sys.stderr, flush=True)

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def progress(self, town: Town, driver: Driver, ledger: Ledger) -> None:
        """How far it is, every five seconds."""
        if self.elapsed() - self._said < 5:
            return
        self._said = self.elapsed()
        kills = sum(count for (what, _), count in driver.done.items() if what == "kill")
        committed, tickets, _ = _counts(town) or ("?", "?", 0)
        self(
            f"{kills} killed, {driver.done.total()} acts; {ledger.numbered()} packets numbered, {committed} committed,"
            f" {tickets} tickets; last: {driver.last}"
        )


def _counts(town: Town) -> tuple[int, int, int] | None:
    try:
        with psycopg.connect(town.database_url, connect_timeout=3) as connection:
            return connection.execute(_COUNTS).fetchone()
    except psycopg.OperationalError:
        return None


def _come_to_rest(town: Town, driver: Driver, say: Teller) -> list[str]:
    """Wait until the store has what the boxes hold, stop them, let them send the rest; what did not come about."""
    say("everything is healed; waiting until the store has what boxes hold")
    late = []
    held = [lives_of(address, data) for address, data in town.addresses().items()]

    def caught_up() -> bool:
        driver.look_after()
        found = _try(lambda: audit_lives(town.database_url, held))
        return found is not None and found.packets_lost == 0 and found.evidence_missing == 0

    if not _until(caught_up):
        late.append(f"boxes did not catch up within {_PATIENCE_S:.0f} s of healing")
    say("stopping the boxes; those that still hold something come back without sensors to send it")
    town.stop_boxes()
    for name in town.boxes:
        silence(town.plan.data, name)
    for name, box in town.boxes.items():
        if held_in(town.data_of(name)):
            box.start()

    def sent() -> bool:
        driver.look_after()
        return not any(held_in(town.data_of(name)) for name in town.boxes)

    if not _until(sent):
        late.append(f"boxes still held packets or pictures without a receipt after {_PATIENCE_S:.0f} s")
        holding = {name: held_in(town.data_of(name)) for name in town.boxes}
        late += [told(name, held, town.boxes[name]) for name, held in holding.items() if held]
    town.stop_boxes()
    say("waiting for the ticket centre")
    if not _until(lambda: (_counts(town) or (0, 0, 1))[2] == 0):
        late.append(f"the inbox was not empty after {_PATIENCE_S:.0f} s")
    return late


def _compare(town: Town, ledger: Ledger) -> tuple[Audit, int]:
    """The audit, and how many packets nobody saw before their box gave them up, so that only it knows them."""
    lives = [ledger.lives(address, _given_up(town, address)) for address in town.addresses()]
    found = Audit()
    for _ in range(20):  # the last look of the sweepers may still be under way
        found = audit_lives(town.database_url, lives, may_abandon=True)
        if not found.faults:
            break
        time.sleep(1)
    return found, sum(life.numbered - life.held for box in lives for life in box)


def _given_up(town: Town, address: Address) -> GivenUp:
    found: dict[int, list[tuple[int, int]]] = {}
    with psycopg.connect(town.database_url) as connection:
        for epoch, first, last in connection.execute(_GIVEN_UP, [address.site, address.device]).fetchall():
            found.setdefault(epoch, []).append((first, last))
    return found


def _try(ask: Callable[[], Audit]) -> Audit | None:
    try:
        return ask()
    except psycopg.OperationalError:
        return None


def _until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _full_disk(town: Town) -> dict[str, Any]:
    """What it was that filled up, and how often the box could not write and said so."""
    disk = town.disks.get(SMALL_DISK)
    log = town.boxes[SMALL_DISK].log if SMALL_DISK in town.boxes else None
    said = log.read_text(encoding="utf-8", errors="replace").count("database.disk_full") if log else 0
    by = _BY_FILESYSTEM if disk is not None and disk.mounted else "by limit"
    return {"disk_full": by, "disk_full_met": said}


def _summary(driver: Driver, found: Audit, faults: list[str]) -> dict[str, Any]:
    kills: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for (what, target), count in driver.done.items():
        if what == "kill":
            kills[_kind(target)] += count
        else:
            others[what] += count
    centre = kills.pop("centre", 0)
    figures = found.as_json()
    figures.pop("faults")
    return {
        "name": "chaos",
        "ok": not faults,
        "kills": {"total": kills.total(), **kills},
        "ticket_centre_kills": centre,
        "ticket_centre_found_no_database": driver.refusals,
        "links": {what: others[what] for what in ("cut", "freeze", "slow")},
        "clock_jumps": others["set clock"],
        "disks_full": others["fill"],
        "tickets_voided_by_a_person": others["void"],
        **figures,
    }


def _kind(target: str) -> str:
    if target in {"broker", "database"}:
        return target
    if target in {"centre", "worker"}:
        return "centre"
    return "gateway" if target.startswith("gateway") else "box"
