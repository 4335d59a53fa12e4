"""Which series a batch's readings belong to: found, made, or refused."""

from __future__ import annotations

from collections.abc import Sequence

from common.wire.messages import Readings
from common.wire.messages import Series as WireSeries
from gateway import repo
from gateway.batch import Columns, Device, Flat, Series, SeriesKey, flatten, series_reject, with_series
from gateway.decode import DecodedPacket, Rejected
from gateway.memory import Memory


class SeriesOfBatch:
    """The series of one transaction's readings packets; ``made`` and ``refused`` say what was new."""

    def __init__(
        self, connection: repo.Connection, memory: Memory, readings: list[tuple[Device, DecodedPacket]]
    ) -> None:
        self._connection = connection
        self._memory = memory
        self._readings = readings
        self.made: dict[SeriesKey, Series] = {}
        self.refused: list[tuple[int, Rejected]] = []

    def columns(self, prepared: Flat | None) -> Columns:
        """The new readings with their series, which are made where missing."""
        if prepared is not None and prepared.packets == len(self._readings):
            flat = prepared  # every readings packet of the batch is new, as nearly always
        else:
            flat = flatten(packet for _, packet in self._readings)
        found = self._find_series(flat)
        if None in found:
            self._create_series()
            found = self._find_series(flat)
        return with_series(flat, found)

    def _find_series(self, flat: Flat) -> list[Series | None]:
        known = [device.series for device, _ in self._readings]
        found = [
            known[owner].get((wire.sensor, wire.metric))
            for owner, wire in zip(flat.owner.tolist(), flat.series, strict=True)
        ]
        if self.made:  # made in this transaction, so not in memory yet
            for group, series in enumerate(found):
                if series is None:
                    device, wire = self._readings[int(flat.owner[group])][0], flat.series[group]
                    found[group] = self.made.get((device.device_id, wire.sensor, wire.metric))
        return found

    def _create_series(self) -> None:
        """Rows for series seen for the first time; the metrics that nobody declared become rejects."""
        missing: dict[SeriesKey, Device] = {}
        for device, packet in self._readings:
            refused: dict[str, list[WireSeries]] = {}
            assert isinstance(packet.data, Readings)
            for wire in packet.data.series:
                if (wire.sensor, wire.metric) in device.series:
                    continue
                key = (device.device_id, wire.sensor, wire.metric)
                if wire.metric not in self._memory.metrics:
                    refused.setdefault("unknown_metric", []).append(wire)
                elif key in missing:
                    continue
                elif self._has_room(device, missing):
                    missing[key] = device
                else:
                    refused.setdefault("too_many_series", []).append(wire)
            for reason, series in refused.items():
                self._refuse_series(device, packet, reason, series)
        if not missing:
            return
        for (device_id, sensor, metric), series_id in repo.create_series(
            self._connection, sorted(missing)
        ).items():
            key = (device_id, sensor, metric)
            self.made[key] = self._memory.place(missing[key], sensor, metric, series_id)

    def _has_room(self, device: Device, missing: dict[SeriesKey, Device]) -> bool:
        new = sum(key[0] == device.device_id for key in missing)
        return len(device.series) + new < self._memory.series_per_device

    def _refuse_series(
        self, device: Device, packet: DecodedPacket, reason: str, series: Sequence[WireSeries]
    ) -> None:
        names = ", ".join(sorted({f"{wire.sensor}/{wire.metric}" for wire in series}))
        if reason == "unknown_metric":
            message = (
                f"expected metrics that are declared, got {names}; declare them under metrics in gateway.yaml"
            )
        else:
            message = (
                f"expected at most {self._memory.series_per_device} series of one device, got {names} beyond"
            )
        self.refused.append((device.device_id, series_reject(packet, reason, message, series)))
