"""Trying rejects again, after whatever was wrong is put right.

It works beside a running gateway: the device's stream is locked as in any batch. Rules are not stepped (they are
past those readings); the rows are flagged late. A number that the reject has already used up is not asked again.
"""

from __future__ import annotations

from common.runtime.clock import Clock, SystemClock, to_ms
from common.runtime.errors import InvalidError
from common.wire.messages import Readings
from common.wire.topics import PREFIX
from gateway.decode import Decoded, DecodedPacket, Decoder, ForeignReading, RawMessage, Rejected
from gateway.fleet import audit
from gateway.fleet.repo import Connection, transaction
from gateway.memory import Memory
from gateway.metrics_catalogue import Metric
from gateway.rejects import repo
from gateway.store import Limits
from gateway.transaction import Transaction


class StillRejectedError(InvalidError):
    """The message cannot be taken in now either; it is kept as it was."""


class Retrier:
    """Takes rejects in, one transaction each; what it learned of the registry it keeps from one to the next.

    Args:
        connection: the database.
        metrics: the declared metrics by name.
        limits: those of the gateway.
        decoder: reads the messages; the plain one when None.
        actor: who is written into the audit; whoever runs the process when None.
        clock: for tests.
    """

    def __init__(
        self,
        connection: Connection,
        metrics: dict[str, Metric],
        limits: Limits,
        *,
        decoder: Decoder | None = None,
        actor: audit.Actor | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._connection = connection
        self._metrics = metrics
        self._limits = limits
        self._decoder = decoder or Decoder()
        self._actor = actor or audit.this_person()
        self._clock = clock or SystemClock()
        self._memories: dict[str, Memory] = {}

    def retry(self, reject_id: int) -> int:
        """Take a reject in and out of the rejects; how many readings it brought.

        Raises:
            StillRejectedError: with the reason that stands against it; that it was tried is written down.
            InvalidError: when there is no such reject.
            TransientError: when the database went away.
        """
        try:
            return self._retry(reject_id)
        except StillRejectedError as error:
            with transaction(self._connection):
                audit.write(
                    self._connection, self._actor, "reject.refused", reject_id=reject_id, why=error.message
                )
            raise

    def _retry(self, reject_id: int) -> int:
        with transaction(self._connection):
            reject = repo.take(self._connection, reject_id)
            if reject is None:
                raise InvalidError(
                    "rejects.unknown", f"there is no reject {reject_id}", "drumtower gateway rejects list"
                )
            attempt = self._attempt(reject)
            rows = attempt.result.rows
            audit.write(
                self._connection,
                self._actor,
                "reject.retried",
                reject_id=reject_id,
                reason=reject.reason,
                topic=reject.topic,
                readings=rows,
            )
        attempt.remember()
        return rows

    def _attempt(self, reject: repo.Reject) -> Transaction:
        # A box's status from then is no news now; a foreign device's reading is what it was when it came.
        kept = reject.topic.startswith(PREFIX)
        raw = RawMessage(reject.topic, reject.payload, kept, to_ms(reject.received_at), reject.size)
        item = self._decoder.decode(raw)
        if isinstance(item, Rejected):
            raise _still(reject.reject_id, item.reason, item.message)
        item = _part(item, frozenset(reject.series))
        partition = (
            None
            if item.address is None
            else repo.partition_of(self._connection, item.address.site, item.address.device)
        )
        if partition is None:
            raise _still(reject.reject_id, "unknown_device", f"{item.address} is not registered")
        limits = self._limits
        attempt = Transaction(
            self._connection,
            self._memory(partition),
            future_ms=limits.future_ms,
            past_ms=limits.past_ms,
            replay_ms=limits.replay_ms,
            again=reject.seq is not None or bool(reject.series),
        )
        try:
            attempt.run([item])
        except repo.REFUSALS as error:
            raise _still(reject.reject_id, "database_refused", error) from error
        if attempt.result.rejects:
            raise _still(reject.reject_id, *next(iter(attempt.result.rejects.items())))
        if attempt.result.ignored:
            raise _still(reject.reject_id, "quarantined", f"{item.address} is quarantined")
        return attempt

    def _memory(self, partition: str) -> Memory:
        memory = self._memories.get(partition)
        if memory is None:
            memory = self._memories[partition] = Memory(
                partition,
                (),
                self._metrics,
                series_per_device=self._limits.series_per_device,
                reject_quota=0,
                clock=self._clock,
            )
            memory.load(self._connection)
        else:
            memory.load_devices(self._connection)  # released or enrolled since
        return memory


def retry(
    connection: Connection,
    reject_id: int,
    metrics: dict[str, Metric],
    limits: Limits,
    clock: Clock | None = None,
) -> int:
    """Take one reject in, as ``Retrier.retry`` does."""
    return Retrier(connection, metrics, limits, clock=clock).retry(reject_id)


def _part(item: Decoded, rejected: frozenset[str]) -> Decoded:
    """The series that were rejected, where the others are stored already."""
    if rejected and isinstance(item, ForeignReading):
        return item.part(rejected)
    if not rejected or not isinstance(item, DecodedPacket) or not isinstance(item.data, Readings):
        return item
    series = [wire for wire in item.data.series if f"{wire.sensor}/{wire.metric}" in rejected]
    return DecodedPacket(item.address, item.epoch, item.seq, item.sent_at, Readings(series), item.raw)


def _still(reject_id: int, reason: str, message: object) -> StillRejectedError:
    return StillRejectedError(
        "rejects.still_rejected", f"reject {reject_id} cannot be taken in: {reason}: {message}", "it is kept"
    )
