"""Every packet that a box ever numbered, copied from its file while it still has it.

A box whose disk is full lets packets go, so that afterwards its file alone cannot say what the store should have.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from common.wire.codec import decode_packet
from common.wire.topics import Address
from edge.database import FILE_NAME
from local.demo.audit import Life, life_of

_EVERY_S: Final = 0.4
#: Row ids that are looked at again: the highest one is given twice if its row was deleted.
_LOOK_BACK: Final = 50
#: Numbers that a box gave up, by epoch.
GivenUp = Mapping[int, list[tuple[int, int]]]


class Ledger:
    """Watches the files of boxes from a thread of its own. Usable as a context manager.

    Args:
        directory: where the copies are kept.
        boxes: each box's address and data directory.
    """

    def __init__(self, directory: Path, boxes: Mapping[Address, Path]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._copies = {address: directory / f"{address.device}.db" for address in boxes}
        self._boxes = dict(boxes)
        self._seen = dict.fromkeys(boxes, 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ledger", daemon=True)
        for copy in self._copies.values():
            with closing(sqlite3.connect(copy)) as connection:
                connection.execute(
                    "CREATE TABLE packet (epoch, seq, payload, PRIMARY KEY (epoch, seq)) WITHOUT ROWID"
                )

    def __enter__(self) -> Ledger:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join()

    def look(self) -> None:
        """Copy what is new, of every box."""
        for address, data in self._boxes.items():
            try:
                self._copy(address, data)
            except sqlite3.Error:
                continue  # the box is being started or is not there yet: at the next look

    def numbered(self) -> int:
        """How many packets there were, as far as was seen."""
        return sum(self._count(copy) for copy in self._copies.values())

    def everyone_began(self) -> bool:
        """Whether each box has numbered something."""
        return all(map(self._count, self._copies.values()))

    def changed(self) -> list[str]:
        """Each number under which a box holds another content than it once did."""
        found = []
        for address, copy in self._copies.items():
            with closing(_open(self._boxes[address] / FILE_NAME)) as box:
                box.execute("ATTACH ? AS copy", [f"{copy.as_uri()}?mode=ro"])
                rows = box.execute(
                    "SELECT p.epoch, p.seq FROM packet p JOIN copy.packet c USING (epoch, seq)"
                    " WHERE p.payload <> c.payload"
                ).fetchall()
            found += [f"{address} packet {epoch:x}-{seq} has changed its content" for epoch, seq in rows]
        return found

    def lives(self, address: Address, given_up: GivenUp) -> list[Life]:
        """What a box numbered in each of its lives; what it gave up counts as held, and carries nothing."""
        with closing(_open(self._boxes[address] / FILE_NAME)) as box:
            lives = box.execute("SELECT epoch, began_at, next_seq - 1 - withdrawn FROM life").fetchall()
        made = []
        for epoch, _, numbered in lives:
            gone = given_up.get(epoch, [])
            contents = [
                decode_packet(payload, address).data
                for seq, payload in self._packets(address, epoch)
                if not any(first <= seq <= last for first, last in gone)
            ]
            # All boxes began with right clocks after the store did; a moved clock's beginning would hide rows.
            life = life_of(address, epoch, 0, numbered, contents)
            held = len(contents) + sum(last - first + 1 for first, last in gone)
            made.append(
                Life(address, epoch, 0, numbered, held, life.readings, life.observations, life.evidence)
            )
        return made

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self.look()

    def _copy(self, address: Address, data: Path) -> None:
        if not (data / FILE_NAME).exists():
            return
        with closing(_open(data / FILE_NAME)) as box:
            rows = box.execute(
                "SELECT id, epoch, seq, payload FROM packet WHERE id > ?", [self._seen[address] - _LOOK_BACK]
            ).fetchall()
        if rows:
            self._seen[address] = max(row[0] for row in rows)
            with closing(sqlite3.connect(self._copies[address])) as copy, copy:
                copy.executemany("INSERT OR IGNORE INTO packet VALUES (?, ?, ?)", [row[1:] for row in rows])

    def _packets(self, address: Address, epoch: int) -> Iterator[tuple[int, bytes]]:
        with closing(sqlite3.connect(self._copies[address])) as copy:
            yield from copy.execute("SELECT seq, payload FROM packet WHERE epoch = ?", [epoch])

    @staticmethod
    def _count(copy: Path) -> int:
        with closing(sqlite3.connect(copy)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM packet").fetchone()
        return int(count)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
