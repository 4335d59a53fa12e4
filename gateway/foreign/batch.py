"""The foreign devices' part of one transaction: whose messages, which are repeats, which series, which rows.

They go the way of boxes' packets: the same registry, quarantine, limits, rules and COPY. A message with a counter or
a time is looked up in its stream (``gateway.adapters.numbering``), which is locked and widened in this transaction; one
without either is kept and its readings are flagged ``UNNUMBERED``. Nobody is sent a receipt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from common.wire.messages import Readings
from gateway import repo
from gateway.adapters.channel import Channel
from gateway.adapters.numbering import UNNUMBERED, Seen, take
from gateway.batch import Columns, Device, Series, SeriesKey, Stream, StreamKey
from gateway.decode import DecodedPacket, ForeignReading, Rejected
from gateway.foreign import repo as foreign_repo
from gateway.foreign.memory import Place
from gateway.memory import Memory
from gateway.quarantine import held
from gateway.rows import Flag, Floats, Ints
from gateway.stream_locks import lock_streams

#: How long presence of devices without streams may be out of date; ``silent_after_s`` is never below 30.
_HEARD_MS: Final = 10_000
#: The values of a message stand in columns at once; what is left of the packet is whose it was, and when.
_SPREAD: Final = Readings([])
#: A message that counts, its place, and its sequence number.
_Taken = tuple[ForeignReading, Place, int]


class ForeignOfBatch:
    """The foreign messages of one attempt at a batch.

    After ``take``: ``packets`` are those that count, in order, with their devices; ``rejects``, ``ignored`` and
    ``duplicates`` what became of the others; ``costly`` the devices that asked for too many streams, with a message
    of theirs.
    """

    def __init__(self, connection: repo.Connection, memory: Memory, *, again: bool) -> None:
        """Prepare; ``again`` takes in messages whose numbers may be used already (rejects tried again)."""
        self._connection = connection
        self._memory = memory
        self._again = again
        self.packets: list[tuple[Device, DecodedPacket]] = []
        self.rejects: list[tuple[int | None, Rejected]] = []
        self.costly: list[tuple[Device, ForeignReading]] = []
        self.made: dict[SeriesKey, Series] = {}
        self.ignored = 0
        self.duplicates = 0
        self._taken: list[_Taken] = []
        self._streams: dict[StreamKey, Stream] = {}
        self._seen: dict[StreamKey, tuple[Seen, int]] = {}
        self._places: dict[Channel, Place] = {}
        self._heard: dict[int, int] = {}

    def take(self, items: Sequence[ForeignReading]) -> None:
        """Decide what of the messages counts, and lock and widen their streams."""
        if not items:
            return
        ours = self._sort_out(items)
        if self._again or all(item.channel.numbering is None for item, _ in ours):
            self._taken = [(item, place, UNNUMBERED) for item, place in ours]
        else:
            self._take_numbered(ours)
        self._make_series()
        self.packets = [
            (
                place.device,
                DecodedPacket(
                    place.device.address,
                    0 if seq < 0 else item.epoch,
                    item.at if seq < 0 else seq,
                    item.at,
                    _SPREAD,
                    item.raw,
                ),
            )
            for item, place, seq in self._taken
        ]
        repo.widen_streams(self._connection, self._streams)
        self._hear()
        self.rejects += [
            (place.device.device_id, Rejected(reason, message, item.raw, item.address, None, None, (name,)))
            for item, place, _ in self._taken
            if item.refused
            for reason, message, name in item.refused
        ]

    def joined(self, columns: Columns, owners: int) -> tuple[Columns, Ints]:
        """The batch's columns with those of the foreign messages behind them, and the flags of all rows.

        Args:
            columns: the boxes' readings.
            owners: how many packets those are of; the messages taken here follow them.
        """
        flags = np.zeros(len(columns), np.int64)
        if not self._taken:
            return columns, flags
        own, own_flags = self._columns(owners)
        if not len(columns):
            return own, own_flags
        both = Columns(
            np.concatenate((columns.claimed_at, own.claimed_at)),
            np.concatenate((columns.value, own.value)),
            np.concatenate((columns.lengths, own.lengths)),
            np.concatenate((columns.offset, own.offset[1:] + columns.offset[-1])),
            np.concatenate((columns.owner, own.owner)),
            columns.group + own.group,
            np.concatenate((columns.slot, own.slot)),
            np.concatenate((columns.series_id, own.series_id)),
        )
        return both, np.concatenate((flags, own_flags))

    def remember(self) -> None:
        """Take over what was learned, now that it is committed."""
        memory = self._memory
        foreign = memory.foreign
        by_id = {device.device_id: device for device, _ in self.packets} if self.made else {}
        for (device_id, sensor, metric), series in self.made.items():
            by_id[device_id].series[sensor, metric] = series
        for channel, place in self._places.items():
            foreign.keep_place(channel, place)
        memory.know_streams(self._streams)
        for key, (seen, window) in self._seen.items():
            foreign.note(key, seen, window)
        foreign.heard.update(self._heard)

    def _sort_out(self, items: Sequence[ForeignReading]) -> list[tuple[ForeignReading, Place]]:
        """The messages of our devices that are not quarantined."""
        known = self._memory.foreign.places
        partition = self._memory.partition
        ours: list[tuple[ForeignReading, Place]] = []
        for item in items:
            place = known.get(item.channel) or self._find(item.channel)
            if place is None:
                message = f"expected a registered device, got {item.address}; drumtower gateway foreign enrol"
                self.rejects.append((None, Rejected("unknown_device", message, item.raw)))
            elif place.device.partition != partition:
                self.ignored += 1
            elif place.device.quarantined:
                self.rejects.append((place.device.device_id, held(item)))
            else:
                ours.append((item, place))
        return ours

    def _find(self, channel: Channel) -> Place | None:
        place = self._places.get(channel)
        if place is None:
            device = self._memory.find(channel.address)
            if device is None:
                return None
            place = self._places[channel] = Place(device, [device.series.get(key) for key in channel.series])
        return place

    def _take_numbered(self, ours: Sequence[tuple[ForeignReading, Place]]) -> None:
        """Drop repeats; the order of the messages is kept."""
        self._lock(ours)
        kept_out = {device.device_id for device, _ in self.costly}
        for item, place in ours:
            numbering = item.channel.numbering
            if numbering is None:
                self._taken.append((item, place, UNNUMBERED))
                continue
            key = (place.device.device_id, item.epoch)
            if key[0] in kept_out:
                self.rejects.append((key[0], held(item)))
                continue
            stream = self._streams[key]
            if key not in self._seen:
                self._seen[key] = Seen(self._memory.foreign.seen(key)), numbering.window
            seen, _ = self._seen[key]
            seq, new = take(numbering, stream.received, item.number, hash(item.raw.payload), seen)
            stream.changed = True
            stream.received_at = max(stream.received_at, item.raw.received_at)
            if new:
                self._taken.append((item, place, seq))
            else:
                stream.duplicates += 1
                self.duplicates += 1

    def _lock(self, ours: Iterable[tuple[ForeignReading, Place]]) -> None:
        wanted: dict[StreamKey, Device] = {}
        first: dict[int, ForeignReading] = {}
        for item, place in ours:
            if item.channel.numbering is not None:
                wanted[place.device.device_id, item.epoch] = place.device
                first[place.device.device_id] = item
        if unseen := wanted.keys() - self._memory.streams:
            most = self._memory.bounds.epochs_per_day
            for device_id in repo.devices_of_many_epochs(self._connection, unseen, most):
                device = next(one for key, one in wanted.items() if key[0] == device_id)
                self.costly.append((device, first[device_id]))
                wanted = {key: one for key, one in wanted.items() if key[0] != device_id}
            repo.create_streams(self._connection, unseen & wanted.keys())
        self._streams = lock_streams(self._connection, self._memory, wanted) if wanted else {}

    def _make_series(self) -> None:
        """Rows for series that come for the first time; beyond a device's number of series they are refused."""
        missing: dict[SeriesKey, Device] = {}
        refused: set[SeriesKey] = set()
        stale = False
        for item, place, _ in self._taken:
            for number in item.which:
                if place.series[number] is not None:
                    continue
                stale = True
                device = place.device
                key = (device.device_id, *item.channel.series[number])
                if key in missing or key in refused or key[1:] in device.series:
                    continue
                if self._has_room(device, missing):
                    missing[key] = device
                else:
                    refused.add(key)
        if missing:
            for key, series_id in repo.create_series(self._connection, sorted(missing)).items():
                self.made[key] = self._memory.place(missing[key], key[1], key[2], series_id)
        if stale:
            self._fill_places(refused)

    def _has_room(self, device: Device, missing: dict[SeriesKey, Device]) -> bool:
        new = sum(key[0] == device.device_id for key in missing)
        return len(device.series) + new < self._memory.series_per_device

    def _fill_places(self, refused: set[SeriesKey]) -> None:
        """Give the messages places with the new series, none of which is remembered before the commit."""
        filled: dict[Channel, Place] = {}
        taken: list[_Taken] = []
        for item, place, seq in self._taken:
            device = place.device
            known = filled.get(item.channel)
            if known is None:
                found = [
                    device.series.get(key) or self.made.get((device.device_id, *key))
                    for key in item.channel.series
                ]
                known = filled[item.channel] = Place(device, found)
            taken.append((self._without(item, known, refused), known, seq))
        self._taken = taken
        self._places.update(filled)

    def _without(self, item: ForeignReading, place: Place, refused: set[SeriesKey]) -> ForeignReading:
        """A message without the values of series that there is no room for."""
        if not refused or all(place.series[number] is not None for number in item.which):
            return item
        most = self._memory.series_per_device
        pairs = list(zip(item.which, item.values, strict=True))
        kept = [(number, value) for number, value in pairs if place.series[number] is not None]
        message = f"expected at most {most} series of one device"
        beyond = tuple(
            ("too_many_series", message, "/".join(item.channel.series[number]))
            for number, _ in pairs
            if place.series[number] is None
        )
        return ForeignReading(
            item.channel,
            item.raw,
            item.at,
            tuple(value for _, value in kept),
            tuple(number for number, _ in kept),
            item.epoch,
            item.number,
            (*item.refused, *beyond),
        )

    def _columns(self, owners: int) -> tuple[Columns, Ints]:
        """The rows of the messages that count, each value a group of its own, and their flags."""
        counts = np.array([len(item.values) for item, _, _ in self._taken], np.int64)
        group = [place.series[number] for item, place, _ in self._taken for number in item.which]
        found = [series for series in group if series is not None]
        assert len(found) == len(group)
        at = np.array([item.at for item, _, _ in self._taken], np.int64)
        value: Floats = np.array([value for item, _, _ in self._taken for value in item.values], np.float64)
        unnumbered = np.array([seq == UNNUMBERED for _, _, seq in self._taken], bool)
        owner = np.repeat(np.arange(owners, owners + len(counts), dtype=np.int64), counts)
        columns = Columns(
            np.repeat(at, counts),
            value,
            np.ones(len(found), np.int64),
            np.arange(len(found) + 1, dtype=np.int64),
            owner,
            found,
            np.array([series.slot for series in found], np.int64),
            np.array([series.series_id for series in found], np.int64),
        )
        return columns, np.where(np.repeat(unnumbered, counts), int(Flag.UNNUMBERED), 0)

    def _hear(self) -> None:
        """Note that devices without streams are there; not with every message of theirs."""
        before = self._memory.foreign.heard
        newest = {
            place.device.device_id: item.raw.received_at
            for item, place, seq in self._taken
            if seq == UNNUMBERED
        }
        # A clock that was set back has heard nothing lately.
        self._heard = {
            device: at for device, at in newest.items() if not 0 <= at - before.get(device, 0) < _HEARD_MS
        }
        if self._heard:
            foreign_repo.hear(self._connection, self._heard)
