"""Trying rejects again, after whatever was wrong is put right.

It works beside a running gateway: the device's stream is locked as in any batch. Rules are not stepped (they are
past those readings); the rows are flagged late. A number that the reject has already used up is not asked again.
"""

from __future__ import annotations

from common.runtime.clock import Clock, SystemClock, to_ms
from common.runtime.errors import InvalidError
from common.wire.messages import Readings
from gateway.decode import DecodedPacket, DecodedStatus, Decoder, RawMessage, Rejected
from gateway.fleet.repo import Connection, transaction
from gateway.memory import Memory
from gateway.metrics_catalogue import Metric
from gateway.rejects import repo
from gateway.store import Limits
from gateway.transaction import Transaction


class StillRejectedError(InvalidError):
    """The message cannot be taken in now either; it is kept as it was."""


def retry(
    connection: Connection,
    reject_id: int,
    metrics: dict[str, Metric],
    limits: Limits,
    clock: Clock | None = None,
) -> int:
    """Take a reject in and out of the rejects, in one transaction; how many readings it brought.

    Raises:
        StillRejectedError: with the reason that stands against it.
        InvalidError: when there is no such reject.
        TransientError: when the database went away.
    """
    with transaction(connection):
        reject = repo.take(connection, reject_id)
        if reject is None:
            raise InvalidError(
                "rejects.unknown", f"there is no reject {reject_id}", "drumtower gateway rejects list"
            )
        raw = RawMessage(reject.topic, reject.payload, True, to_ms(reject.received_at), reject.size)
        item = Decoder().decode(raw)
        if isinstance(item, Rejected):
            raise _still(reject_id, item.reason, item.message)
        item = _part(item, frozenset(reject.series))
        partition = repo.partition_of(connection, item.address.site, item.address.device)
        if partition is None:
            raise _still(reject_id, "unknown_device", f"{item.address} is not registered")
        memory = Memory(
            partition,
            (),
            metrics,
            series_per_device=limits.series_per_device,
            reject_quota=0,
            clock=clock or SystemClock(),
        )
        memory.load(connection)
        attempt = Transaction(
            connection,
            memory,
            future_ms=limits.future_ms,
            past_ms=limits.past_ms,
            replay_ms=limits.replay_ms,
            again=reject.seq is not None,
        )
        attempt.run([item])
        if attempt.result.rejects:
            raise _still(reject_id, *next(iter(attempt.result.rejects.items())))
        if attempt.result.ignored:
            raise _still(reject_id, "quarantined", f"{item.address} is quarantined")
        return attempt.result.rows


def _part(item: DecodedPacket | DecodedStatus, rejected: frozenset[str]) -> DecodedPacket | DecodedStatus:
    """The series that were rejected, where the others are stored already."""
    if not rejected or not isinstance(item, DecodedPacket) or not isinstance(item.data, Readings):
        return item
    series = [wire for wire in item.data.series if f"{wire.sensor}/{wire.metric}" in rejected]
    return DecodedPacket(item.address, item.epoch, item.seq, item.sent_at, Readings(series), item.raw)


def _still(reject_id: int, reason: str, message: object) -> StillRejectedError:
    return StillRejectedError(
        "rejects.still_rejected", f"reject {reject_id} cannot be taken in: {reason}: {message}", "it is kept"
    )
