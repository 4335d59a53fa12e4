"""How long what is receipted is kept, whatever happens to the box's wall clock meanwhile.

Packets and pictures are kept in case the store is restored from a backup. Their age is that of their receipt by the wall
clock, which may be set: a box without a clock of its own begins in the year of its image, and all that was receipted by
then looks years old a minute later. So when the clock was set, nothing is let go for as long as such things are kept; a
full box makes room for what is new all the same.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from common.runtime.clock import Clock
from common.runtime.log import get_logger
from edge.database import Database

#: More than any slewing moves a clock between two looks.
_SET_MS: Final = 60_000
#: A box that numbered nothing for so long may have come back with another time.
_UNWATCHED_MS: Final = 3_600_000
_log = get_logger("outbox")


class Keeping:
    """What of one kind may be let go.

    Args:
        kind: ``packets`` or ``evidence``; it has a row among the box's facts.
        database: the box's.
        clock: wall time for ages, monotonic time to notice that it was set.
        keep_s: how long they are kept.
    """

    def __init__(self, kind: str, database: Database, clock: Clock, keep_s: float) -> None:
        self._fact = f"keep_all_{kind}_until"
        self._clock = clock
        self._keep_ms = round(keep_s * 1000)
        #: What both clocks showed at the last look, and at the last one that was committed: ms, seconds.
        self._look = self._looked = clock.now_ms(), clock.monotonic()
        with database.reading() as connection:
            newest = connection.execute("SELECT at FROM packet ORDER BY id DESC LIMIT 1").fetchone()
        #: Whether the clock may have been set while nobody watched.
        self._was_off = newest is not None and abs(self._look[0] - newest[0]) > _UNWATCHED_MS

    def limit_ms(self, connection: sqlite3.Connection) -> int:
        """What was receipted before this instant may go (ms since the Unix epoch); 0: nothing may.

        To be asked in the transaction that lets it go; ``looked`` is to be called when that is committed.
        """
        self._look = now, monotonic = self._clock.now_ms(), self._clock.monotonic()
        then, started = self._looked
        if self._was_off or abs(now - then - (monotonic - started) * 1000) > _SET_MS:
            until = now + self._keep_ms
            connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (self._fact, str(until)))
            _log.warning("outbox.clock_was_set", fact=self._fact, kept_whole_for_s=self._keep_ms // 1000)
            return 0
        found = connection.execute("SELECT value FROM fact WHERE name = ?", (self._fact,)).fetchone()
        # Further ahead it was written by a clock that was wrong.
        keeps_all = found is not None and now < int(found[0]) <= now + self._keep_ms
        return 0 if keeps_all else now - self._keep_ms

    def looked(self) -> None:
        """The transaction is committed: the next look is held against what the clocks showed at this one."""
        self._looked, self._was_off = self._look, False
