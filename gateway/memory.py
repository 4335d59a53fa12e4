"""What a gateway remembers between batches: registry, series, rules, streams, digests.

It only changes after a commit (``Transaction.remember``), so it is right whatever was rolled back, and it is
forgotten with its connection, so it is right whatever database comes back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from common.runtime.clock import Clock
from common.runtime.log import get_logger
from common.wire.topics import Address
from gateway import repo
from gateway.batch import Device, Series, StreamKey
from gateway.decode import Decoded, ForeignReading
from gateway.foreign.memory import ForeignMemory
from gateway.keeping import repo as keeping
from gateway.metrics_catalogue import Metric
from gateway.quarantine import BOUNDS, Bounds
from gateway.rulebook import repo as rulebook
from gateway.rulebook.stepping import RuleMemory
from gateway.rules import Rule, RuleState
from gateway.rules.stepping import Member
from gateway.rules.watch import Watch

_REGISTRY_SECONDS: Final = 10.0
_MISS_SECONDS: Final = 1.0
#: Streams known to have a row; when there are more, all are asked for again.
_KNOWN_STREAMS: Final = 100_000
#: Likewise categories, of which a box may make up its own.
_KNOWN_CATEGORIES: Final = 10_000
_log = get_logger("memory")


class Memory:
    """What a connection's batches have learned: registry, series, rules, streams, digests."""

    def __init__(
        self,
        partition: str,
        rules: Sequence[Rule],
        metrics: dict[str, Metric],
        *,
        series_per_device: int,
        reject_quota: int,
        clock: Clock,
        bounds: Bounds = BOUNDS,
        rules_version: int = 0,
    ) -> None:
        self._clock = clock
        self.partition = partition
        self.metrics = metrics
        self.series_per_device = series_per_device
        self.reject_quota = reject_quota
        self.bounds = bounds
        self.devices: dict[Address, Device] = {}
        self.sites: frozenset[str] = frozenset()
        self.rules = RuleMemory(Watch(rules), rules_version)
        self.streams: set[StreamKey] = set()
        self.restored = False
        self.greeted: set[int] = set()
        self.forgotten: dict[int, tuple[int, int]] = {}
        # Ordered by itself: the first entry of a plain dict is found past all that were deleted before it.
        self.digests: OrderedDict[tuple[int, int, int], tuple[int, ...]] = OrderedDict()
        self.categories: set[str] = set()
        self.foreign = ForeignMemory()
        self._loaded_at = 0.0
        self._moved_by: str | None = None

    def follow_moves(self, connection: repo.Connection, moved_by: str) -> None:
        """Read everything anew if a device came into the partition or left it, in the transaction that counts on it.

        What is remembered of a device that was elsewhere is out of date: another gateway stepped its rules. None can
        move before this transaction ends (docs/adr/0018).

        Args:
            connection: the batch's.
            moved_by: what last moved a device, as ``CHECK_LEASE`` says.
        """
        if moved_by == self._moved_by:
            return
        if self._moved_by is not None:
            _log.info("devices came or left, so all is read anew", partition=self.partition)
        self.load(connection)
        self._moved_by = moved_by  # last, so that it is done again should anything go wrong

    def load(self, connection: repo.Connection) -> None:
        """Read everything anew."""
        self.restored = keeping.was_restored(connection)
        self.devices = {}
        self.foreign = ForeignMemory()
        self.load_devices(connection)
        devices = rulebook.device_states(connection, self.partition)
        self.rules = RuleMemory(Watch(self.rules.watch.rules, devices), self.rules.version)
        states = rulebook.series_states(connection, self.partition)
        by_id = {device.device_id: device for device in self.devices.values()}
        for device_id, behind in repo.clocks(connection, self.partition).items():
            if device_id in by_id:
                by_id[device_id].clock_behind_ms = behind
        for series_id, (device_id, sensor, metric) in repo.series_of(connection, self.partition):
            device = by_id.get(device_id)
            if device is not None and metric in self.metrics:
                device.series[sensor, metric] = self.place(
                    device, sensor, metric, series_id, states.get(series_id)
                )

    def change_rules(self, connection: repo.Connection, rules: Sequence[Rule], version: int) -> None:
        """Go on under other rules, from where the store says that everything stands."""
        before = self.rules.watch
        watch = Watch(rules, rulebook.device_states(connection, self.partition))
        self.rules = RuleMemory(watch, -1)
        states = rulebook.series_states(connection, self.partition)
        for device in self.devices.values():
            for (sensor, metric), old in device.series.items():
                new = self.place(device, sensor, metric, old.series_id, states.get(old.series_id))
                device.series[sensor, metric] = new
                watch.go_on_from(new.slot, before.clock(old.slot))
        self.foreign.forget_places()
        self.rules.version = version  # last, so that it is done again should anything go wrong

    def load_devices(self, connection: repo.Connection) -> None:
        """Read the registry; series known of a device stay known."""
        loaded = {}
        for address, (device_id, partition, quarantined) in repo.devices(connection).items():
            known = self.devices.get(address)
            if known is None or known.device_id != device_id:
                known = Device(device_id, address, partition, quarantined)
            known.partition, known.quarantined = partition, quarantined
            loaded[address] = known
        self.devices = loaded
        self.forgotten = keeping.forgotten_streams(connection)
        self.foreign.forget_places()
        self.sites = frozenset(
            device.address.site for device in loaded.values() if device.partition == self.partition
        )
        self._loaded_at = self._clock.monotonic()

    def know_streams(self, keys: Iterable[StreamKey]) -> None:
        """These streams have a row now."""
        self.streams.update(keys)
        if len(self.streams) > _KNOWN_STREAMS:
            self.streams.clear()

    def know_categories(self, codes: Iterable[str]) -> None:
        """These categories have a row now."""
        self.categories.update(codes)
        if len(self.categories) > _KNOWN_CATEGORIES:
            self.categories.clear()

    def find(self, address: Address | None) -> Device | None:
        """A registered device."""
        return None if address is None else self.devices.get(address)

    def lacks(self, batch: Sequence[Decoded]) -> bool:
        """Whether the registry is to be read again: it is old, or a sender is not in it (at most once a second)."""
        age = self._clock.monotonic() - self._loaded_at
        if age > _REGISTRY_SECONDS:
            return True
        return age > _MISS_SECONDS and not all(map(self._knows, batch))

    def _knows(self, item: Decoded) -> bool:
        if isinstance(item, ForeignReading) and item.channel in self.foreign.places:
            return True
        return item.address is None or item.address in self.devices

    def place(
        self,
        device: Device,
        sensor: str,
        metric: str,
        series_id: int,
        states: dict[str, RuleState] | None = None,
    ) -> Series:
        """A series among the rules."""
        believed = self.metrics[metric]
        member = Member(device.device_id, str(device.address), series_id, sensor, metric)
        slot = self.rules.watch.add(member, states)
        return Series(series_id, slot, sensor, believed.low, believed.high)
