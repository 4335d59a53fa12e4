"""One attempt at committing a batch.

A packet under a number that was used already is a repeat, and dropped, unless its content is known to differ: then
it is kept (``reused_sequence``, a cloned card). The contents are remembered as digests in this process only, the last
``_REMEMBERED`` of them, and forgotten with the connection: after a restart, a takeover or an outage of the database a
clone's packet under an old number looks like a repeat. docs/adr/0008 says why, and who finds it then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import numpy as np

from common.wire.messages import Abandoned, Events, Readings
from gateway import repo
from gateway.batch import (
    BatchResult,
    Columns,
    Device,
    Progress,
    Stream,
    StreamKey,
    Told,
    observation_of_loss,
    of_nobody,
)
from gateway.box_clocks import ClocksOfBatch
from gateway.decode import Decoded, DecodedPacket, DecodedStatus, ForeignReading, Rejected
from gateway.foreign.batch import ForeignOfBatch
from gateway.keeping.forgotten import ForgottenStreams
from gateway.keeping.restored import greet, greeted
from gateway.memory import Memory
from gateway.quarantine import held, observed
from gateway.rejects.repo import keep_rejects
from gateway.rollups.note import note_readings
from gateway.rows import COPY_READINGS, Flag, Ints, ReadingRows, copy_bytes, hold_clock, order_of_groups
from gateway.rulebook.stepping import RULE_AHEAD_MS, RulesOfBatch, pings_of
from gateway.rules import Origin
from gateway.rules.columns import Groups
from gateway.series import SeriesOfBatch
from gateway.stream_locks import lock_streams

_REMEMBERED: Final = 65_536
#: How many contents under one number are kept apart.
_MAX_CONTENTS: Final = 8
#: Gives what is held while a batch's rows are written.
Turn = Callable[[], AbstractContextManager[None]]


class Transaction:
    """One attempt: ``run`` inside the transaction, ``remember`` after its commit."""

    def __init__(
        self,
        connection: repo.Connection,
        memory: Memory,
        *,
        future_ms: int,
        past_ms: int,
        replay_ms: int,
        again: bool = False,
        writing: Turn = nullcontext,
    ) -> None:
        """Prepare; ``again`` takes in packets whose numbers count as received already (rejects tried again).

        ``writing`` is entered while the rows are written.
        """
        self._again = again
        self._writing = writing
        self.result = BatchResult()
        self._connection = connection
        self._memory = memory
        self._future_ms = future_ms
        self._past_ms = past_ms
        self._replay_ms = replay_ms
        self._clocks = ClocksOfBatch(future_ms=future_ms, past_ms=past_ms, replay_ms=replay_ms)
        self._streams: dict[StreamKey, Stream] = {}
        self._readings: list[tuple[Device, DecodedPacket]] = []
        self._statuses: list[tuple[int, DecodedStatus]] = []
        self._rejects: list[tuple[int | None, Rejected]] = []
        self._told: list[Told] = []
        self._series = SeriesOfBatch(connection, memory, self._readings)
        self._foreign = ForeignOfBatch(connection, memory, again=again)
        self._digests: dict[tuple[int, int, int], tuple[int, ...]] = {}
        self._categories: set[str] = set()
        self._rules = RulesOfBatch(connection, memory.rules)
        self._pings: list[tuple[int, DecodedStatus, Device]] = []
        self._quarantined: dict[int, Device] = {}
        self._forgotten = ForgottenStreams(connection, memory)

    def run(self, batch: Sequence[Decoded]) -> None:
        """Do everything but the commit."""
        numbered = self._sort_out([item for item in batch if not isinstance(item, ForeignReading)])
        self._lock(numbered)
        self._streams |= greet(self._connection, self._memory, self._statuses, self._streams)
        before: list[int] = []  # how many readings packets came before each numbered message
        for device, item in numbered:
            before.append(len(self._readings))
            if device.device_id in self._quarantined:
                self._hold(device, item)
            else:
                self._take(device, item)
                self._check_ranges(device, item)
        columns = self._series.columns()
        self._rejects += self._series.refused
        columns, flags = self._take_foreign(batch, columns)
        before.append(len(self._readings))
        self._pings = [(before[place], status, device) for place, status, device in self._pings]
        if len(columns):
            self._store_readings(columns, flags)
        elif self._pings:
            self._step_rules(columns, columns.claimed_at, columns.claimed_at, flags)
        kept = keep_rejects(self._connection, self._rejects, self._memory.reject_quota)
        self.result.rejects_dropped = kept.dropped
        self._told += kept.told
        self._categories = repo.insert_observations(
            self._connection,
            self._told,
            future_ms=self._future_ms,
            past_ms=self._past_ms,
            known=self._memory.categories,
        )
        repo.insert_statuses(self._connection, self._statuses)
        repo.widen_streams(self._connection, self._streams)
        self._sum_up(len(columns))

    def remember(self) -> None:
        """Take over what was learned, now that it is committed."""
        memory = self._memory
        by_id = {device.device_id: device for device, _ in self._readings}
        for (device_id, sensor, metric), series in self._series.made.items():
            by_id[device_id].series[sensor, metric] = series
        self._foreign.remember()
        memory.know_streams(self._streams)
        memory.greeted |= greeted(self._statuses)
        memory.know_categories(self._categories | {item.observation.category for item in self._told})
        memory.digests.update(self._digests)
        while len(memory.digests) > _REMEMBERED:
            memory.digests.popitem(last=False)
        self._rules.remember()
        self.result.rules_s = self._rules.seconds
        self._clocks.remember(memory.devices.values())
        for device in self._quarantined.values():
            device.quarantined = True

    def _sort_out(
        self, batch: Sequence[DecodedPacket | DecodedStatus | Rejected]
    ) -> list[tuple[Device, DecodedPacket | Rejected]]:
        """Numbered messages of our devices; the others go where they belong."""
        numbered: list[tuple[Device, DecodedPacket | Rejected]] = []
        for item in batch:
            device = self._memory.find(item.address)
            if device is None:
                self._rejects.append((None, of_nobody(item)))
            elif device.partition != self._memory.partition:
                # Not lost: without a receipt the box keeps it, for the right gateway.
                self.result.ignored += 1
                if device.address.site not in self._memory.sites:
                    self.result.strays.add(device.address.site)
            elif device.quarantined:
                self._hold(device, item)
            elif isinstance(item, DecodedStatus):
                self._statuses.append((device.device_id, item))
                self._clocks.compare(device, item)
                self._pings.append((len(numbered), item, device))
            elif isinstance(item, Rejected) and (item.epoch is None or item.seq is None):
                self._rejects.append((device.device_id, item))
            else:
                numbered.append((device, item))
        return numbered

    def _lock(self, numbered: Sequence[tuple[Device, DecodedPacket | Rejected]]) -> None:
        wanted: dict[StreamKey, Device] = {}
        for device, item in numbered:
            wanted[device.device_id, item.epoch or 0] = device
            if isinstance(item, DecodedPacket) and isinstance(item.data, Abandoned):
                wanted[device.device_id, int(item.data.epoch, 16)] = device
        if not wanted:
            return
        if unseen := wanted.keys() - self._memory.streams:
            most = self._memory.bounds.epochs_per_day
            for device_id in repo.devices_of_many_epochs(self._connection, unseen, most):
                device, item = next(pair for pair in numbered if pair[0].device_id == device_id)
                self._quarantine(device, item, f"more than {most} epochs in 24 hours")
                wanted = {key: one for key, one in wanted.items() if key[0] != device_id}
            repo.create_streams(self._connection, unseen & wanted.keys())
        self._streams = lock_streams(self._connection, self._memory, wanted)
        for stream in self._streams.values():
            # Where it stands already (it was released) it may stay, only not grow.
            stream.most_ranges = max(self._memory.bounds.ranges_per_stream, stream.received.range_count)

    def _take(self, device: Device, item: DecodedPacket | Rejected) -> None:
        """Decide whether a numbered message is new, and count it in its stream."""
        epoch, seq = item.epoch or 0, item.seq or 0
        stream = self._streams[device.device_id, epoch]
        stream.packets += 1
        stream.changed = True
        stream.received_at = max(stream.received_at, item.raw.received_at)
        if not stream.received.add(seq) and not self._again:
            stream.duplicates += 1
            self.result.duplicates += 1
            self._look_at_repeat(device, item, epoch, seq)
            return
        self._digests[device.device_id, epoch, seq] = (hash(item.raw.payload),)
        if device.device_id in self._memory.forgotten and not self._again:
            item = self._forgotten.judge(device, item)
        if isinstance(item, Rejected):
            stream.rejected += 1
            self._rejects.append((device.device_id, item))
            return
        self.result.packets += 1
        if isinstance(item.data, Readings):
            self._readings.append((device, item))
        elif isinstance(item.data, Events):
            stream.urgent = True
            self._told += [
                Told(
                    device.device_id,
                    seen,
                    item.raw.received_at,
                    epoch,
                    seq,
                    self._clocks.past_of(device, item, seen.at),
                )
                for seen in item.data.observations
            ]
        else:
            stream.urgent = True
            self._abandon(device, item, item.data)

    def _check_ranges(self, device: Device, item: DecodedPacket | Rejected) -> None:
        """A stream with too many holes costs every batch that touches it."""
        epochs = {item.epoch or 0}
        if isinstance(item, DecodedPacket) and isinstance(item.data, Abandoned):
            epochs.add(int(item.data.epoch, 16))
        for epoch in epochs:
            stream = self._streams[device.device_id, epoch]
            if stream.received.range_count > stream.most_ranges:
                why = f"more than {stream.most_ranges} ranges of numbers in epoch {epoch:x}"
                self._quarantine(device, item, why)
                return

    def _take_foreign(self, batch: Sequence[Decoded], columns: Columns) -> tuple[Columns, Ints]:
        """Take in what foreign devices sent; all readings of the batch, and their flags."""
        foreign, result = self._foreign, self.result
        foreign.take([item for item in batch if isinstance(item, ForeignReading)])
        for device, item in foreign.costly:
            self._quarantine(
                device, item, f"more than {self._memory.bounds.epochs_per_day} streams in 24 hours"
            )
        self._rejects += foreign.rejects
        result.packets += len(foreign.packets)
        result.foreign += len(foreign.packets)
        result.ignored += foreign.ignored
        result.duplicates += foreign.duplicates
        columns, flags = foreign.joined(columns, len(self._readings))
        self._readings += foreign.packets
        return columns, flags

    def _quarantine(self, device: Device, item: DecodedPacket | ForeignReading | Rejected, why: str) -> None:
        since = item.raw.received_at
        self._quarantined[device.device_id] = device
        repo.quarantine(self._connection, device.device_id, since)
        seen = observed(device.address, since, why)
        self._told.append(Told(device.device_id, seen, since, None, None))

    def _hold(self, device: Device, item: Decoded) -> None:
        """Keep what a quarantined device says, each content once; its statuses are no news."""
        key = (device.device_id, getattr(item, "epoch", None) or 0, getattr(item, "seq", None) or 0)
        seen = self._digests.get(key) or self._memory.digests.get(key, ())
        digest = hash(item.raw.payload)
        if isinstance(item, DecodedStatus) or digest in seen:
            self.result.ignored += 1
            return
        self._digests[key] = (*seen, digest)[-_MAX_CONTENTS:]
        self._rejects.append((device.device_id, held(item)))

    def _look_at_repeat(self, device: Device, item: DecodedPacket | Rejected, epoch: int, seq: int) -> None:
        """Drop a plain repeat; keep what came under a used number with another content."""
        key = (device.device_id, epoch, seq)
        digest = hash(item.raw.payload)
        seen = self._digests.get(key) or self._memory.digests.get(key, ())
        if digest in seen or len(seen) >= _MAX_CONTENTS or not (seen or isinstance(item, Rejected)):
            return
        self._digests[key] = (*seen, digest)  # so that its own repeats are not kept again
        if isinstance(item, Rejected):
            self._rejects.append((device.device_id, item))
            return
        message = (
            f"expected packet {epoch:x}-{seq} only once, got another content under its number: a cloned card?"
        )
        clone = Rejected("reused_sequence", message, item.raw, item.address, epoch, seq)
        self._rejects.append((device.device_id, clone))

    def _abandon(self, device: Device, packet: DecodedPacket, data: Abandoned) -> None:
        stream = self._streams[device.device_id, int(data.epoch, 16)]
        count = 0
        for first, last in data.ranges:
            for start, end in stream.received.missing_in(first, last + 1):
                stream.abandoned.add_range(start, end)
            count += stream.received.add_range(first, last + 1)
        stream.changed = True
        stream.received_at = max(stream.received_at, packet.raw.received_at)
        self.result.abandoned += count
        if not count:
            return
        seen = observation_of_loss(packet, data, count)
        past_ms = self._clocks.past_of(device, packet, seen.at)
        self._told.append(
            Told(device.device_id, seen, packet.raw.received_at, packet.epoch, packet.seq, past_ms)
        )

    def _store_readings(self, columns: Columns, flags: Ints) -> None:
        lengths = columns.lengths
        packet_received = np.array([packet.raw.received_at for _, packet in self._readings], np.int64)
        received = np.repeat(packet_received[columns.owner], lengths)
        captured, wild = hold_clock(
            columns.claimed_at, received, future_ms=self._future_ms, past_ms=self._past_ms
        )
        if wild is not None:
            captured, wild = self._clocks.believe_replay(self._readings, columns, captured, received, wild)
        if wild is not None:
            flags[wild] |= Flag.CLOCK
        low, high = columns.bounds()
        flags[(columns.value < low) | (columns.value > high)] |= Flag.IMPLAUSIBLE
        self._step_rules(columns, captured, received, flags)
        rows = ReadingRows(
            captured,
            received,
            columns.value,
            np.repeat(columns.series_id, lengths),
            flags,
            columns.claimed_at,
        ).in_order(order_of_groups(columns.offset, columns.series_id))
        content = copy_bytes(rows)
        with self._writing(), self._connection.cursor().copy(COPY_READINGS) as copy:
            copy.write(content)
        note_readings(self._connection, captured, received, columns.offset[:-1], columns.series_id)

    def _step_rules(self, columns: Columns, captured: Ints, received: Ints, flags: Ints) -> None:
        pings = [status for _, status, _ in self._pings]
        at = np.minimum(captured, received + RULE_AHEAD_MS)
        groups = Groups(
            columns.slot,
            columns.offset,
            at,
            columns.value,
            columns.owner,
            lambda group: self._origin(columns, group),
            pings_of(
                (place, device.device_id, status.status.at, status.raw.received_at)
                for place, status, device in self._pings
            ),
        )
        newest = max([status.raw.received_at for status in pings], default=0)
        newest = max(newest, int(received.max())) if len(received) else newest
        made = (self._series.made, self._foreign.made)
        outcome = self._rules.step(groups, newest, {series.slot for part in made for series in part.values()})
        if self._again:
            flags |= Flag.LATE  # whatever its rules would have said, they are past it
        if outcome.late is not None:
            flags[outcome.late] |= Flag.LATE
        for moment, seen in outcome.observations:  # its readings' times were held already
            if moment.is_ping:
                _, status, device = self._pings[moment.ping]
                told = Told(device.device_id, seen, status.raw.received_at, None, None, self._replay_ms)
            else:
                device, packet = self._readings[moment.packet]
                told = Told(
                    device.device_id, seen, packet.raw.received_at, packet.epoch, packet.seq, self._replay_ms
                )
            self._told.append(told)

    def _origin(self, columns: Columns, group: int) -> Origin:
        device, packet = self._readings[int(columns.owner[group])]
        return Origin(str(device.address), columns.group[group].sensor, packet.epoch, packet.seq)

    def _sum_up(self, rows: int) -> None:
        result = self.result
        result.rows = rows
        result.statuses = len(self._statuses)
        result.observations = len(self._told)
        result.rejects.update(reject.reason for _, reject in self._rejects)
        for stream in self._streams.values():
            received = stream.received
            result.progress.append(
                Progress(
                    stream.device.address,
                    stream.epoch,
                    received.upto,
                    received.highest,
                    tuple(received.gaps()),
                    stream.packets,
                    stream.urgent,
                )
            )
