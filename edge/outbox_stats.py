"""The counts and the life in a box's database; asked by the agent itself and by whoever looks on."""

from __future__ import annotations

import sqlite3

from edge.packets import OutboxStats
from edge.ranges import Range, size


def held_bytes(connection: sqlite3.Connection) -> int:
    """What the held packets weigh."""
    (held,) = connection.execute("SELECT bytes FROM tally").fetchone()
    return int(held)


def read_stats(connection: sqlite3.Connection) -> OutboxStats:
    """The counts in a box's database; also for a reader beside the agent."""
    lives = connection.execute(
        "SELECT epoch, next_seq - 1 - withdrawn, began_at, reason, forked FROM life ORDER BY n"
    ).fetchall()
    (unreceipted,) = connection.execute("SELECT count(*) FROM packet WHERE receipted_at IS NULL").fetchone()
    oldest = [
        at
        for urgent in (0, 1)
        for (at,) in connection.execute(
            "SELECT at FROM packet WHERE receipted_at IS NULL AND urgent = ? ORDER BY id LIMIT 1", (urgent,)
        )
    ]
    gone: dict[int, list[Range]] = {}
    for epoch, first, last in connection.execute("SELECT epoch, first, last FROM given_up"):
        gone.setdefault(epoch, []).append((first, last))
    abandoned = sum(map(size, gone.values()))
    numbered = sum(count for _, count, *_ in lives)
    return OutboxStats(
        epoch=lives[-1][0] if lives else 0,
        numbered=numbered,
        receipted=numbered - unreceipted - abandoned,
        unreceipted=unreceipted,
        abandoned=abandoned,
        oldest_unreceipted_ms=min(oldest, default=None),
        held_bytes=held_bytes(connection),
        epochs=[
            {
                "epoch": f"{epoch:x}",
                "numbered": count,
                "began_at": began_at,
                "reason": reason,
                "forked": forked,
            }
            for epoch, count, began_at, reason, forked in lives
        ],
    )


def current_life(connection: sqlite3.Connection) -> tuple[int, int]:
    """The epoch that numbers are issued in and the next of them; asked of the file, so that it is rolled back with it."""
    epoch, next_seq = connection.execute(
        "SELECT epoch, next_seq FROM life ORDER BY n DESC LIMIT 1"
    ).fetchone()
    return int(epoch), int(next_seq)
