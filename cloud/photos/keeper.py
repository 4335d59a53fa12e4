"""What looks after the folder of evidence, in every process of the ticket centre that has it."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from uuid import UUID

from cloud.db import Database
from cloud.photos.keeping import remove_due, seal_some
from cloud.reports.sealing import KeyRing
from common.runtime.clock import Clock, to_datetime
from common.runtime.errors import TransientError
from common.runtime.log import get_logger
from common.runtime.stop import Stop

_log = get_logger("photos")
_EVERY_S: Final = 30.0
#: Between two turns while there is more to do: others use the disk too.
_BUSY_S: Final = 0.2


class PhotoKeeper:
    """Removes files that nothing names, and seals photos that lie in the clear.

    Args:
        database: where they are named.
        directory: the folder of evidence.
        keys: what seals; None: photos stay as they are.
        clock: what time it is.
    """

    def __init__(self, database: Database, directory: Path, keys: KeyRing | None, clock: Clock) -> None:
        self._database = database
        self._directory = directory
        self._keys = keys
        self._clock = clock
        self._after: UUID | None = None

    def run(self, stop: Stop) -> None:
        """Look at it now, and every half minute once all is done, until stopped."""
        while not stop.is_set():
            more = False
            try:
                more = self.look()
            except TransientError as error:
                _log.warning("looking after photos is put off", error=error.message)
            stop.wait(_BUSY_S if more else _EVERY_S)

    def look(self) -> bool:
        """Some of what there is to do; what cannot be read now comes up again once all others were looked at.

        Returns:
            Whether there is more.

        Raises:
            TransientError: the database or the disk is away.
        """
        now = to_datetime(self._clock.now_ms())
        more = remove_due(self._database, self._directory, now) > 0
        if self._keys is not None:
            count, self._after = seal_some(self._database, self._directory, self._keys, now, self._after)
            if count:
                _log.info("photos sealed that lay in the clear", count=count)
            more = more or count > 0 or self._after is not None
        return more
