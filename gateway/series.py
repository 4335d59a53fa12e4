"""Which series a batch's readings belong to: found, made, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway import repo
from gateway.batch import (
    Columns,
    Device,
    Layout,
    Series,
    SeriesKey,
    flatten,
    series_reject,
    with_layouts,
    with_series,
)
from gateway.decode import DecodedPacket, Rejected, Shape
from gateway.memory import Memory

#: Shapes of one device that are remembered; a box has few, unless its sensors are read at different times.
_CACHED_LAYOUTS: Final = 16


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

    def columns(self) -> Columns:
        """The new readings with their series, which are made where missing."""
        flat = flatten([packet for _, packet in self._readings])
        layouts = self._layouts(flat.shapes)
        if layouts is not None:  # nothing is new, as nearly always
            return with_layouts(flat, layouts)
        self._create_series(flat.shapes)
        found = [
            device.series.get(name) or self.made.get((device.device_id, *name))
            for (device, _), shape in zip(self._readings, flat.shapes, strict=True)
            for name in shape.names
        ]
        return with_series(flat, found)

    def _layouts(self, shapes: Sequence[Shape]) -> list[Layout] | None:
        """The series of each packet; None when some of them are not in memory yet."""
        watch = self._memory.rules.watch
        found = []
        for (device, _), shape in zip(self._readings, shapes, strict=True):
            layout = device.layouts.get(shape)
            if layout is None or layout.watch is not watch:
                group = [device.series.get(name) for name in shape.names]
                known = [series for series in group if series is not None]
                if len(known) < len(group):
                    return None
                if len(device.layouts) >= _CACHED_LAYOUTS:
                    device.layouts.clear()
                layout = device.layouts[shape] = Layout.of(watch, known)
            found.append(layout)
        return found

    def _create_series(self, shapes: Sequence[Shape]) -> None:
        """Rows for series seen for the first time; the metrics that nobody declared become rejects."""
        missing: dict[SeriesKey, Device] = {}
        for (device, packet), shape in zip(self._readings, shapes, strict=True):
            refused: dict[str, list[tuple[str, str]]] = {}
            for name in shape.names:
                if name in device.series:
                    continue
                key = (device.device_id, *name)
                if name[1] not in self._memory.metrics:
                    refused.setdefault("unknown_metric", []).append(name)
                elif key in missing:
                    continue
                elif self._has_room(device, missing):
                    missing[key] = device
                else:
                    refused.setdefault("too_many_series", []).append(name)
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
        self, device: Device, packet: DecodedPacket, reason: str, series: Sequence[tuple[str, str]]
    ) -> None:
        names = ", ".join(sorted({f"{sensor}/{metric}" for sensor, metric in series}))
        if reason == "unknown_metric":
            message = (
                f"expected metrics that are declared, got {names}; declare them under metrics in gateway.yaml"
            )
        else:
            message = (
                f"expected at most {self._memory.series_per_device} series of one device, got {names} beyond"
            )
        self.refused.append((device.device_id, series_reject(packet, reason, message, series)))
