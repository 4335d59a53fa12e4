"""Silence as an observation: one sweeper for all gateways, under an advisory lock.

A device of which nothing was committed and no status came for its ``silent_after_s`` starts ``device.silent``;
the first packet or status after that ends it. A last will does not count as the device's own word.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from common.runtime.clock import to_ms
from common.runtime.errors import TransientError
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.wire.categories import BY_CODE
from common.wire.ids import observation_id
from common.wire.messages import Observation, Phase
from gateway.batch import Told
from gateway.fleet import repo as fleet
from gateway.repo import insert_observations

CATEGORY: Final = "device.silent"
SOURCE: Final = "silence"
_DAY_MS: Final = 86_400_000
_log = get_logger("silence")


def sweep(connection: fleet.Connection) -> int:
    """Look once; how many silences began, ended or outlasted a maintenance; none when another gateway is looking.

    Devices of which a batch is just writing are left to the next look.
    """
    with fleet.transaction(connection):
        if not fleet.lock_sweep(connection):
            return 0
        told = [_tell(connection, quiet) for quiet in _held(connection, fleet.silence_changes)]
        told += [_tell_again(connection, quiet) for quiet in _held(connection, fleet.silences_outlasting)]
        insert_observations(connection, told, future_ms=_DAY_MS, past_ms=_DAY_MS, known={CATEGORY})
        return len(told)


def _held(
    connection: fleet.Connection, look: Callable[[fleet.Connection], list[fleet.Quiet]]
) -> list[fleet.Quiet]:
    """Those whose presence nobody else holds: whoever waited for a batch that waits for us would be ended, or it.

    Looked for again once they are held: a batch may have brought something of them since they were found.
    """
    ours = fleet.hold_presence(connection, [quiet.device_id for quiet in look(connection)])
    return [quiet for quiet in look(connection) if quiet.device_id in ours] if ours else []


def sweep_until(stop: Stop, database_url: str, every_s: float) -> None:
    """Look again and again; a database that is away is waited for."""
    connection: fleet.Connection | None = None
    try:
        while not stop.wait(every_s * random.uniform(0.9, 1.1)):
            try:
                connection = connection or fleet.connect(database_url, "silence", patient=False)
                if changed := sweep(connection):
                    _log.info("silences began or ended", devices=changed)
            except TransientError as error:
                _log.warning("silence not looked for", error=error.message)
                if connection is not None:
                    connection.close()
                connection = None
    finally:
        if connection is not None:
            connection.close()


def _tell(connection: fleet.Connection, quiet: fleet.Quiet) -> Told:
    begins = quiet.silence_id is None or quiet.silent_since is None
    since = to_ms(quiet.heard_at if begins or quiet.silent_since is None else quiet.silent_since)
    made = observation_id(str(quiet.address), SOURCE, 0, since)
    silence_id = made if quiet.silence_id is None or begins else quiet.silence_id
    revision = 0 if begins else quiet.revision + 1
    fleet.note_silence(connection, quiet, silence_id if begins else None, revision)
    phase: Phase = "start" if begins else "end"
    return _told(quiet, str(silence_id), phase, revision, since)


def _tell_again(connection: fleet.Connection, quiet: fleet.Quiet) -> Told:
    """What outlasts a maintenance has called no one yet."""
    revision = quiet.revision + 1
    fleet.note_revision(connection, quiet.device_id, revision)
    return _told(quiet, str(quiet.silence_id), "update", revision, to_ms(quiet.heard_at))


def _told(quiet: fleet.Quiet, silence_id: str, phase: Phase, revision: int, since: int) -> Told:
    now = to_ms(quiet.now)
    seen = Observation(
        observation_id=silence_id,
        phase=phase,
        revision=revision,
        category=CATEGORY,
        source=SOURCE,
        sensor="box",
        started_at=since,
        at=now,
        severity=BY_CODE[CATEGORY].severity,
        ended_at=to_ms(quiet.heard_at) if phase == "end" else None,
        value=(now - since) / 1000,
        unit="s",
        detail={"silent_after_s": quiet.silent_after_s},
    )
    return Told(quiet.device_id, seen, now, None, None)
