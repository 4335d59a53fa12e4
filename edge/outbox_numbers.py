"""Numbering what a box accepts: lives, packets, and the packets that say which numbers were given up. Within transactions."""

from __future__ import annotations

import sqlite3
from typing import Final

from common.runtime.clock import Clock
from common.runtime.errors import InvalidError
from common.runtime.log import get_logger
from common.wire import ids
from common.wire.codec import Data, WireError, decode_packet, encode_packet
from common.wire.messages import Abandoned, Events, Readings, Receipt
from common.wire.topics import Address
from edge.outbox_stats import current_life
from edge.packets import Kind, PacketId
from edge.ranges import Range, size, union

_KINDS: Final[dict[type[Data], Kind]] = {Readings: "readings", Events: "events", Abandoned: "abandoned"}
_ROW_BYTES: Final = 128
_BEYOND: Final = 1 << 62
_MAX_RANGES: Final = 1000
_LEAST_MISSED_FIRST: Final = (
    "receipted_at IS NOT NULL",
    "receipted_at IS NULL AND settled = 1",
    "receipted_at IS NULL AND urgent = 0",
    "receipted_at IS NULL AND urgent = 1 AND kind = 'events'",
    "receipted_at IS NULL AND urgent = 1 AND kind = 'abandoned'",
)
_log = get_logger("outbox")


class Numbers:
    """Issues numbers in the current life of a database.

    Args:
        address: whose packets these are.
        clock: when they are numbered.
    """

    def __init__(self, address: Address, clock: Clock) -> None:
        self._address = address
        self._clock = clock

    def begin_life(self, connection: sqlite3.Connection, reason: str) -> None:
        """Number from 1 in a random epoch of 62 bits from now on."""
        connection.execute(
            "INSERT INTO life (epoch, began_at, reason) VALUES (?, ?, ?)",
            (ids.new_epoch(), self._clock.now_ms(), reason),
        )

    def write(self, connection: sqlite3.Connection, data: Data, at_ms: int) -> tuple[PacketId, int]:
        """Number a packet and keep it; its number, and how many bytes it weighs.

        Raises:
            InvalidError: ``outbox.not_a_packet``; the number is not used.
        """
        epoch, seq = current_life(connection)
        try:
            payload = encode_packet(self._address, epoch, seq, at_ms, data)
        except WireError as error:
            raise InvalidError(
                "outbox.not_a_packet", f"expected what the wire can carry: {error}", "this is a fault of ours"
            ) from error
        weighs = len(payload) + _ROW_BYTES
        connection.execute("UPDATE life SET next_seq = ? WHERE epoch = ?", (seq + 1, epoch))
        connection.execute(
            "INSERT INTO packet (epoch, seq, kind, at, size, payload) VALUES (?, ?, ?, ?, ?, ?)",
            (epoch, seq, _KINDS[type(data)], at_ms, weighs, payload),
        )
        return PacketId(epoch, seq), weighs

    def announce(self, connection: sqlite3.Connection, epoch: int, ranges: list[Range], reason: str) -> None:
        """Write down what was given up, and number the packets that say so."""
        for begin in range(0, len(ranges), _MAX_RANGES):
            some = ranges[begin : begin + _MAX_RANGES]
            self.write(connection, Abandoned(f"{epoch:x}", some, reason), self._clock.now_ms())
            connection.executemany(
                "INSERT OR REPLACE INTO given_up VALUES (?, ?, ?, 1)",
                [(epoch, first, last) for first, last in some],
            )
            _log.error("outbox.abandoned", epoch=f"{epoch:x}", packets=size(some), reason=reason)

    def give_up(self, connection: sqlite3.Connection, wanted: int, keep: PacketId | None = None) -> None:
        """Let packets go, the least missed first, until so many bytes are free.

        ``keep`` is not let go, and nothing numbered after it.
        """
        before = _BEYOND
        if keep is not None:
            (before,) = connection.execute(
                "SELECT id FROM packet WHERE epoch = ? AND seq = ?", (keep.epoch, keep.seq)
            ).fetchone()
        lost: dict[int, list[Range]] = {}
        for choice in _LEAST_MISSED_FIRST:
            rows = connection.execute(
                "SELECT id, epoch, seq, size, kind, receipted_at FROM packet "  # noqa: S608
                f"WHERE {choice} AND id < ? ORDER BY id",
                (before,),
            )
            chosen = []
            for row in rows:
                if wanted <= 0:
                    break
                chosen.append(row)
                wanted -= row[3]
            for row, epoch, seq, _, kind, receipted_at in chosen:
                if receipted_at is None:
                    lost.setdefault(epoch, []).append((seq, seq))
                    if kind == "abandoned":
                        self._carry_on(connection, row, lost)
                connection.execute("DELETE FROM packet WHERE id = ?", (row,))
        for epoch, ranges in lost.items():
            self.announce(connection, epoch, union(ranges), "the box had no room to keep them")

    def _carry_on(self, connection: sqlite3.Connection, row: int, lost: dict[int, list[Range]]) -> None:
        """Let what an abandoned packet says be said by the next one."""
        (payload,) = connection.execute("SELECT payload FROM packet WHERE id = ?", (row,)).fetchone()
        data = decode_packet(payload, self._address).data
        assert isinstance(data, Abandoned)
        lost.setdefault(int(data.epoch, 16), []).extend(data.ranges)

    def fork(self, connection: sqlite3.Connection, receipt: Receipt, issued: int) -> None:
        """Leave an epoch that another life issues as well, taking every held packet along."""
        old, _ = current_life(connection)
        connection.execute("UPDATE life SET forked = 1 WHERE epoch = ?", (old,))
        self.begin_life(connection, "forked")
        last_id = moved = 0
        while rows := connection.execute(
            "SELECT id, payload FROM packet WHERE epoch = ? AND id > ? ORDER BY id LIMIT 256", (old, last_id)
        ).fetchall():
            for last_id, payload in rows:
                packet = decode_packet(payload, self._address)
                self.write(connection, packet.data, packet.sent_at)
                connection.execute("DELETE FROM packet WHERE id = ?", (last_id,))
                moved += 1
        connection.execute("UPDATE life SET withdrawn = ? WHERE epoch = ?", (moved, old))
        _log.error(
            "outbox.epoch_forked",
            epoch=f"{old:x}",
            issued=issued,
            receipted=max(receipt.upto, receipt.highest),
            issued_anew=moved,
            hint="a copy of this box runs under its name: give each box a data directory and credential of its own",
        )
