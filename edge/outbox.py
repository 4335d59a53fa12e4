"""What the box has accepted, numbered and kept until the store has it.

Why no number is ever used twice, and nothing lost in silence
-------------------------------------------------------------
The gateway drops a packet whose ``(device, epoch, seq)`` it has already committed. So a number that two
different packets carry loses one of them, without a trace. Two packets could share one only if two outboxes
went on from one state: a memory card cloned into a second box, or a box set back to an older image.

1. *A new epoch at every opening.* An outbox that opens its file begins a new life: a random epoch of 62 bits,
   numbers from 1. Copies of a file thus part at their next opening at the latest, and never number in the same
   epoch. Packets that the file already held keep their epoch and number; whoever sends them, the content is
   the same, so that dropping the second copy is right, and a receipt for them is true of both copies. (The
   mere rule "a new epoch when a receipt covers what was never issued" is not enough: set back to packet 100
   while the store has 105, an outbox at 110 would see its own 101–105 receipted and never send them.)
2. *A receipt that covers a number of the current epoch which this life has not issued* proves that another
   life issues the same epoch all the same (a machine snapshot taken while running). From where on the two
   differ cannot be known, and earlier receipts may have spoken of the other's packets. So the epoch is marked
   forked, its receipts are ignored from then on, and every packet of it that is still held, receipted or not,
   is issued anew under a new epoch. That may double readings; it loses none. Observations carry their own id
   and are not doubled.
3. *A receipt of an earlier epoch that covers more than this outbox issued* is what 1. leaves behind in a set
   back box: the other life went on in that epoch. What we hold of it is common past; the receipt stands.
4. What is given up (disk full, or asked for and no longer held) is announced as an ``abandoned`` range, which
   is itself a packet of the same transaction. In a forked epoch nothing is announced: the numbers may be the
   other's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final

from common.runtime.clock import Clock
from common.runtime.log import get_logger
from common.wire.codec import Data
from common.wire.messages import Receipt
from common.wire.topics import Address
from edge.database import Database, DiskFullError
from edge.outbox_keeping import Keeping
from edge.outbox_numbers import Numbers
from edge.outbox_stats import current_life, held_bytes, read_stats
from edge.packets import Kind, Outbox, OutboxStats, PacketId, Receipted, Waiting
from edge.ranges import Range, runs, size, subtract

__all__ = ["Outbox", "OutboxStats", "PacketId", "Receipted", "SqliteOutbox", "Waiting", "read_stats"]

_BEYOND: Final = 1 << 62
_SHRINK_BYTES: Final = 256 * 1024
_FRESH_THEN_OLD: Final = ((True, "id >= ?", "ASC"), (False, "id < ?", "DESC"))
_log = get_logger("outbox")


class SqliteOutbox:
    """The outbox of a box, in its database.

    Args:
        database: opened by this process alone.
        address: whose packets these are.
        clock: when packets are numbered and receipted.
        max_bytes: cap of all held packets; beyond it the oldest receipted are given up first, then the
            oldest readings, and alarms last.
        keep_receipted_s: how long receipted packets are kept (:mod:`edge.outbox_keeping`).
        fresh_s: how old a packet may be and still count as live.
    """

    def __init__(
        self,
        database: Database,
        address: Address,
        clock: Clock,
        *,
        max_bytes: int = 256 * 1024 * 1024,
        keep_receipted_s: float = 48 * 3600.0,
        fresh_s: float = 60.0,
    ) -> None:
        self._database = database
        self._numbers = Numbers(address, clock)
        self._clock = clock
        self._max_bytes = max_bytes
        self._keeping = Keeping("packets", database, clock, keep_receipted_s)
        self._fresh_ms = round(fresh_s * 1000)
        self._fresh_from_id = 0
        self._epoch = 0
        try:
            self._open()
        except DiskFullError:
            database.stop_growing()
            self._open()

    def _open(self) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM life WHERE next_seq = 1")
            self._unsettle(connection, None)
            self._numbers.begin_life(connection, "opened")

    @property
    def epoch(self) -> int:
        """The current life's number."""
        with self._database.reading() as connection:
            return current_life(connection)[0]

    def group(self) -> AbstractContextManager[object]:
        """Let many appends share one commit."""
        return self._database.transaction()

    def append(self, data: Data) -> PacketId:
        """Number a packet and keep it."""
        try:
            with self._database.transaction() as connection:
                return self._number(connection, data)
        except DiskFullError:
            if self._database.in_transaction:
                raise
            # The cap is larger than the disk has room for: what may be given up makes room inside the file.
            self.make_room()
        with self._database.transaction() as connection:
            return self._number(connection, data)

    def make_room(self) -> None:
        """Let what is missed least go, unless the disk has room again."""
        if self._database.grow_again():
            return
        self._database.stop_growing()
        with self._database.transaction() as connection:
            self._numbers.give_up(connection, _SHRINK_BYTES)

    def pending(
        self, limit: int, skip: Collection[PacketId] = (), *, fresh_only: bool = False
    ) -> list[Waiting]:
        """What to send next, most urgent first."""
        found: list[Waiting] = []
        with self._database.reading() as connection:
            boundary = self._fresh_boundary(connection)
            for urgent in (1, 0):
                for fresh, where, order in _FRESH_THEN_OLD[: 1 if fresh_only else 2]:
                    wanted = limit - len(found)
                    if wanted <= 0:
                        return found
                    rows = connection.execute(
                        "SELECT epoch, seq, kind FROM packet WHERE receipted_at IS NULL AND settled = 0 AND urgent = ? "  # noqa: S608
                        f"AND {where} ORDER BY id {order} LIMIT ?",
                        (urgent, boundary, wanted + len(skip)),
                    )
                    waiting = (Waiting(PacketId(epoch, seq), kind, fresh) for epoch, seq, kind in rows)
                    found += [packet for packet in waiting if packet.id not in skip][:wanted]
        return found

    def payload(self, packet: PacketId) -> tuple[Kind, bytes] | None:
        """The encoded packet, or None when it is no longer held."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT kind, payload FROM packet WHERE epoch = ? AND seq = ?", (packet.epoch, packet.seq)
            ).fetchone()
        return None if row is None else (row[0], row[1])

    def receipt(self, receipt: Receipt) -> Receipted:
        """Take in what the store says it has committed."""
        try:
            return self._take_in(receipt)
        except DiskFullError:
            if self._database.in_transaction:
                raise
            if self._database.grow_again():
                return self._take_in(receipt)
            self._database.stop_growing()
        # To note it with each packet makes rows longer, for which there is no room; without them there is. Nobody may
        # number anything any more, or only alarms, so that nothing else would ever make some.
        gone = 0
        while some := self._let_go(receipt):
            gone += some
        found = self._take_in(receipt)
        return replace(found, packets=found.packets + gone)

    def _take_in(self, receipt: Receipt) -> Receipted:
        with self._database.transaction() as connection:
            life = self._life_of(connection, receipt)
            if life is None:
                return Receipted()
            epoch, issued = life
            if self._speaks_of_another(connection, receipt, epoch, issued):
                self._numbers.fork(connection, receipt, issued)
                return Receipted(forked=True)
            restored = self._note_incarnation(connection, receipt.incarnation)
            return self._apply(connection, receipt, epoch, issued, restored)

    def _life_of(self, connection: sqlite3.Connection, receipt: Receipt) -> tuple[int, int] | None:
        """Epoch and last number issued; None of a file that is gone, or of numbers that are not ours alone."""
        epoch = min(int(receipt.epoch, 16), _BEYOND)  # which is nobody's
        life = connection.execute("SELECT next_seq, forked FROM life WHERE epoch = ?", (epoch,)).fetchone()
        return None if life is None or life[1] else (epoch, life[0] - 1)

    def _speaks_of_another(
        self, connection: sqlite3.Connection, receipt: Receipt, epoch: int, issued: int
    ) -> bool:
        """Whether the store has numbers of this life that it never issued."""
        current, _ = current_life(connection)
        return epoch == current and max(receipt.upto, receipt.highest) > issued

    def _let_go(self, receipt: Receipt) -> int:
        """Let go of some that the store has, as many as the log has room for at once; how many."""
        with self._database.transaction() as connection:
            life = self._life_of(connection, receipt)
            if life is None or self._speaks_of_another(connection, receipt, *life):
                return 0
            epoch, issued = life
            return connection.execute(
                "DELETE FROM packet WHERE id IN (SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY seq) - size AS before "
                "FROM (SELECT id, seq, size FROM packet WHERE epoch = ? AND seq <= ? AND receipted_at IS NULL "
                "ORDER BY seq LIMIT 1000)) WHERE before < ?)",
                (epoch, min(receipt.upto, issued), _SHRINK_BYTES),
            ).rowcount

    def unsettle(self, epoch: int | None = None) -> int:
        """Let what a receipt spoke of above a gap wait again."""
        with self._database.transaction() as connection:
            return self._unsettle(connection, epoch)

    def _unsettle(self, connection: sqlite3.Connection, epoch: int | None) -> int:
        waits_again = "UPDATE packet SET settled = 0 WHERE receipted_at IS NULL AND settled = 1 "
        return connection.execute(f"{waits_again}AND (? IS NULL OR epoch = ?)", (epoch, epoch)).rowcount

    def trim(self) -> int:
        """Let go of packets receipted longer ago than they are to be kept."""
        self._database.grow_again()
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "DELETE FROM packet WHERE id IN (SELECT id FROM packet WHERE receipted_at IS NOT NULL "
                "AND receipted_at < ? ORDER BY id LIMIT 1000)",
                (self._keeping.limit_ms(connection),),
            )
        self._keeping.looked()
        return cursor.rowcount

    def stats(self) -> OutboxStats:
        """The counts of now."""
        with self._database.reading() as connection:
            return read_stats(connection)

    def _number(self, connection: sqlite3.Connection, data: Data) -> PacketId:
        packet, size = self._numbers.write(connection, data, self._clock.now_ms())
        held = held_bytes(connection)
        while held > self._max_bytes:
            # A twentieth at once, so that a full disk costs one abandoned packet now and then, not one each.
            self._numbers.give_up(
                connection, max(held - self._max_bytes + size, self._max_bytes // 20), keep=packet
            )
            before, held = held, held_bytes(connection)
            if held >= before:
                raise DiskFullError(
                    "outbox.full",
                    f"expected at most {self._max_bytes} bytes of packets, and nothing more can be given up",
                    "raise outbox.max_mb",
                )
        return packet

    def _fresh_boundary(self, connection: sqlite3.Connection) -> int:
        """The id from which on packets are fresh; it only grows, so that each look is cheap."""
        (found,) = connection.execute(
            "SELECT coalesce(min(id), (SELECT coalesce(max(id), 0) + 1 FROM packet)) FROM "
            "(SELECT id FROM packet WHERE id >= ? AND at >= ? ORDER BY id LIMIT 1)",
            (self._fresh_from_id, self._clock.now_ms() - self._fresh_ms),
        ).fetchone()
        self._fresh_from_id = int(found)
        return self._fresh_from_id

    def _note_incarnation(self, connection: sqlite3.Connection, incarnation: str) -> bool:
        """Remember which store this is; if it is another than before, all that is held waits again."""
        known = connection.execute("SELECT value FROM fact WHERE name = 'incarnation'").fetchone()
        if known is not None and known[0] == incarnation:
            return False
        connection.execute("INSERT OR REPLACE INTO fact VALUES ('incarnation', ?)", (incarnation,))
        if known is None:
            return False
        cursor = connection.execute(
            "UPDATE packet SET receipted_at = NULL, settled = 0 WHERE receipted_at IS NOT NULL OR settled = 1"
        )
        connection.execute("UPDATE given_up SET announced = 0")
        # Pictures may be lost with it as well. The door is asked first what it has of each: nothing goes twice in vain.
        connection.execute(
            "UPDATE evidence SET receipted_at = NULL, attempts = attempts + 1 WHERE receipted_at IS NOT NULL"
        )
        _log.warning("outbox.store_restored", incarnation=incarnation, waiting_again=cursor.rowcount)
        return True

    def _apply(
        self, connection: sqlite3.Connection, receipt: Receipt, epoch: int, issued: int, restored: bool
    ) -> Receipted:
        cursor = connection.execute(
            "UPDATE packet SET receipted_at = ? WHERE epoch = ? AND seq <= ? AND receipted_at IS NULL",
            (self._clock.now_ms(), epoch, min(receipt.upto, issued)),
        )
        # Beyond what we issued are numbers of another life.
        missed = tuple(
            (max(first, 1), min(last, issued))
            for first, last in receipt.gaps
            if first <= issued and last >= 1
        )
        for first, last in subtract((receipt.upto + 1, min(receipt.highest, issued)), missed):
            # Committed, or missing for less than ten seconds: a later receipt tells, by its gaps.
            connection.execute(
                "UPDATE packet SET settled = 1 WHERE epoch = ? AND seq BETWEEN ? AND ? "
                "AND receipted_at IS NULL AND settled = 0",
                (epoch, first, last),
            )
        unheld = [left for span in missed for left in self._wait_again(connection, epoch, span)]
        if unheld:
            known = connection.execute(
                "SELECT first, last FROM given_up WHERE epoch = ? AND announced", (epoch,)
            ).fetchall()
            new = [left for span in unheld for left in subtract(span, known)]
            self._numbers.announce(connection, epoch, new, "no longer held when the store asked for them")
        return Receipted(cursor.rowcount, missed, restored=restored)

    def _wait_again(self, connection: sqlite3.Connection, epoch: int, span: Range) -> list[Range]:
        """Whatever the box believed, the store misses these: what is held of them waits, the rest is returned."""
        place = (epoch, *span)
        connection.execute(
            "UPDATE packet SET receipted_at = NULL, settled = 0 WHERE epoch = ? AND seq BETWEEN ? AND ? "
            "AND (receipted_at IS NOT NULL OR settled = 1)",
            place,
        )
        # After an outage the gap is what is still to be sent: long, and all of it held.
        (held,) = connection.execute(
            "SELECT count(*) FROM packet WHERE epoch = ? AND seq BETWEEN ? AND ?", place
        ).fetchone()
        if held == size([span]):
            return []
        rows = connection.execute(
            "SELECT seq FROM packet WHERE epoch = ? AND seq BETWEEN ? AND ? ORDER BY seq", place
        )
        return subtract(span, runs(seq for (seq,) in rows))
