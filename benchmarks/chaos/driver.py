"""Lets a plan happen: a thread for each part, link, disk and clock, so that what befalls them overlaps."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

from benchmarks.chaos.clock import set_offset
from benchmarks.chaos.person import Person
from benchmarks.chaos.plan import Act, What
from benchmarks.chaos.town import Town
from common.runtime.errors import DrumtowerError
from common.runtime.stop import Stop
from local.demo.part import Part

_NO_DATABASE = "drumtower: db.unavailable:"


class Driver:
    """Does what a plan says to a town, and starts again what ends by itself.

    Args:
        town: running.
        acts: in order of time.
        stop: gives the rest up.
    """

    def __init__(self, town: Town, acts: Sequence[Act], stop: Stop) -> None:
        self.done: Counter[tuple[What, str]] = Counter()
        self.last = ""
        self.faults: list[str] = []
        self.refusals = 0
        self._town = town
        self._stop = stop
        self._person = Person(town)
        self._parts = {
            part.name.removeprefix("box "): part for part in (*town.boxes.values(), *town.gateways)
        }
        assert town.cloud is not None
        assert town.worker is not None
        self._parts |= {"centre": town.cloud, "worker": town.worker}
        self._locks = {name: threading.Lock() for name in self._parts}
        self._began = 0.0
        self._threads = [
            threading.Thread(target=self._act_on, args=(some,), name=f"chaos {some[0].target}", daemon=True)
            for some in _by_owner(acts)
        ]

    def start(self) -> None:
        """Begin."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def is_done(self) -> bool:
        """Whether all has happened and everything that was killed runs again."""
        return not any(thread.is_alive() for thread in self._threads)

    def look_after(self) -> None:
        """Start what ended without being killed, as a supervisor does, and remember that: nothing should.

        Only a ticket centre that finds no database when it is started says so in one line and ends, by design.
        """
        for name, part in self._parts.items():
            with self._locks[name]:
                if not (fault := part.fault()):
                    continue
                if name in {"centre", "worker"} and _NO_DATABASE in fault:
                    self.refusals += 1
                else:
                    self.faults.append(f"{part.name} ended by itself: {fault}")
                part.start()

    def heal(self) -> None:
        """Make every link, disk and clock good again."""
        for link in self._town.links.values():
            link.heal()
        for disk in self._town.disks.values():
            disk.free()
        for box in self._town.boxes:
            set_offset(self._town.clock_of(box), 0)

    def _act_on(self, acts: Sequence[Act]) -> None:
        for act in acts:
            if self._stop.wait(max(self._began + act.at_s - time.monotonic(), 0.0)):
                return
            self.last = f"{act.what} {act.target}"
            try:
                self._do(act)
            except DrumtowerError as error:
                self.faults.append(f"after {self.last}: {error.code}: {error.message}")
                return
            self.done[act.what, act.target] += 1

    def _do(self, act: Act) -> None:
        match act.what:
            case "kill":
                self._kill(act)
            case "void":
                self._person.void_something()
            case "fill":
                self._fill(act)
            case "set clock":
                clock = self._town.clock_of(act.target)
                set_offset(clock, act.amount)
                self._stop.wait(act.for_s)
                set_offset(clock, 0)
            case _:
                self._spoil(act)

    def _fill(self, act: Act) -> None:
        disk = self._town.disks.get(act.target)
        if disk is None:  # a small outbox: its link is cut meanwhile, which fills it
            self._stop.wait(act.for_s)
            return
        disk.fill()
        self._stop.wait(act.for_s)
        disk.free()

    def _spoil(self, act: Act) -> None:
        link = self._town.links[act.target]
        if act.what == "cut":
            link.cut()
        elif act.what == "freeze":
            link.freeze()
        else:
            link.slow(act.amount, 0.05)
        self._stop.wait(act.for_s)
        link.heal()

    def _kill(self, act: Act) -> None:
        assert self._town.broker is not None
        assert self._town.postgres is not None
        if act.target == "broker":
            self._town.broker.kill(delete_persistence=True)
            self._stop.wait(act.for_s)
            self._town.broker.start()
        elif act.target == "database":
            self._town.postgres.kill()
            self._stop.wait(act.for_s)
            self._town.postgres.start()
        else:
            self._kill_part(self._parts[act.target], self._locks[act.target], act.for_s)

    def _kill_part(self, part: Part, lock: threading.Lock, away_s: float) -> None:
        with lock:
            part.kill()
        self._stop.wait(away_s)
        with lock:
            part.start()


def _by_owner(acts: Sequence[Act]) -> list[list[Act]]:
    """The acts of each part in order; a box's kills and its clock are two owners, so they overlap."""
    found: dict[tuple[str, str], list[Act]] = {}
    for act in acts:
        kind = act.what if act.what in {"kill", "fill", "set clock", "void"} else "link"
        found.setdefault((kind, act.target), []).append(act)
    return list(found.values())
