"""The mapping files, compiled: from a topic straight to the function that reads its payloads. Pure.

Reasons of rejects besides those of the readers: ``wrong_topic`` (a part that cannot name a sensor) and
``unknown_device`` (a device that no mapping file lists).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from common.wire.topics import Address
from gateway.adapters.channel import Channel, Numbering
from gateway.adapters.mapping import (
    AnyTopic,
    ForeignDevice,
    JsonTopic,
    MappingFile,
    NumberTopic,
    PathValue,
    UplinkValue,
    ValueEntry,
    topic_sensor,
)
from gateway.adapters.payloads import Place, Reader, json_reader, number_reader, uplink_reader
from gateway.adapters.topics import Pattern, parse_pattern
from gateway.adapters.values import Quantity, finder, shown
from gateway.decode import ForeignReading, RawMessage, Rejected
from gateway.metrics_catalogue import Metric

_CACHED_TOPICS: Final = 50_000
_BOXES: Final = "dt/"
#: Times that are kept apart from repeats; a stream of them has a range for each, so not many.
_TIMES: Final = 16
_UPLINKS: Final = Numbering(1 << 32, 32)


class _WrongTopicError(ValueError):
    """A topic that fits a pattern but names nothing we know."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Entry:
    """One topic entry of one mapping file."""

    file: MappingFile
    pattern: Pattern
    topic: AnyTopic
    #: As they call themselves in the topic, folded.
    devices: Mapping[str, ForeignDevice]
    metrics: Mapping[str, Metric]

    def reader(self, name: str, parts: Mapping[str, str]) -> Reader:
        """What reads the messages of a topic that fits.

        Raises:
            _WrongTopicError: when it names nothing we know.
        """
        device = self._device(parts)
        quantities = [self._quantity(value, parts) for value in self.topic.quantities()]
        channel = Channel(
            self.file.mapping,
            name,
            Address(self.file.site, device.name),
            tuple((quantity.sensor, quantity.metric) for quantity in quantities),
            self._numbering(),
        )
        topic = self.topic
        if isinstance(topic, NumberTopic):
            return number_reader(channel, quantities[0])
        places = [
            Place(
                quantity,
                value.path,
                finder(value.path),
                frozenset(value.ports) if isinstance(value, UplinkValue) else frozenset(),
            )
            for quantity, value in zip(quantities, topic.quantities(), strict=True)
            if isinstance(value, PathValue)
        ]
        if isinstance(topic, JsonTopic):
            return json_reader(channel, places, topic.time, topic.counter)
        return uplink_reader(channel, places, device.said_as)

    def _device(self, parts: Mapping[str, str]) -> ForeignDevice:
        said = self.topic.device
        if said is not None:
            return next(device for device in self.file.devices if device.name == said)
        device = self.devices.get(parts["device"].casefold())
        if device is None or (not self._folds() and device.said_as != parts["device"]):
            raise _WrongTopicError(
                "unknown_device",
                f"expected a device that mapping {self.file.mapping!r} lists, got {shown(parts['device'])}",
            )
        return device

    def _folds(self) -> bool:
        """Whether upper and lower case are the same: hexadecimal numbers are written both ways."""
        return self.topic.payload == "chirpstack"

    def _quantity(self, value: ValueEntry, parts: Mapping[str, str]) -> Quantity:
        sensor = topic_sensor(value, parts)
        if sensor is None:
            raise _WrongTopicError(
                "wrong_topic",
                "expected a sensor's name of 1–48 characters a–z, 0–9 and inner hyphens for"
                f" {value.sensor}, got {shown(parts.get(value.sensor[1:-1]))}",
            )
        metric = self.metrics[value.metric]
        line = self.file.line_of(value, metric)
        low, high = value.range or (metric.low, metric.high)
        return Quantity(sensor, value.metric, line.scale, line.offset, low, high, value.words)

    def _numbering(self) -> Numbering | None:
        topic = self.topic
        if isinstance(topic, NumberTopic):
            return None
        if not isinstance(topic, JsonTopic):
            return _UPLINKS
        if topic.counter:
            return Numbering(1 << topic.counter.bits, topic.counter.window)
        return Numbering(0, _TIMES) if topic.time else None


class Adapters:
    """Reads what foreign devices say. Keeps nothing but what it worked out of topics.

    Args:
        files: the mapping files, checked against each other and ``metrics``.
        metrics: the declared metrics by name.
    """

    def __init__(self, files: Iterable[MappingFile], metrics: Mapping[str, Metric]) -> None:
        self.files = tuple(files)
        self._entries = [
            _Entry(
                file,
                parse_pattern(topic.topic),
                topic,
                {device.said_as.casefold(): device for device in file.devices},
                metrics,
            )
            for file in self.files
            for topic in file.topics
        ]
        self._readers: dict[str, Reader] = {}

    def decode(self, raw: RawMessage) -> ForeignReading | Rejected | None:
        """What a message says; None when its topic is not that of a foreign device. Never raises."""
        reader = self._readers.get(raw.topic)
        if reader is not None:
            return reader(raw)
        return self._decode_new(raw)

    def filters(self, partition: str) -> frozenset[str]:
        """What the gateway of a partition subscribes to."""
        return frozenset(
            entry.pattern.filter() for entry in self._entries if entry.file.partition == partition
        )

    def _decode_new(self, raw: RawMessage) -> ForeignReading | Rejected | None:
        if raw.topic.startswith(_BOXES):
            return None
        for entry in self._entries:
            parts = entry.pattern.match(raw.topic)
            if parts is None:
                continue
            try:
                reader = entry.reader(raw.topic, parts)
            except _WrongTopicError as error:
                return Rejected(error.reason, str(error), raw)
            if len(self._readers) >= _CACHED_TOPICS:
                self._readers.clear()
            self._readers[raw.topic] = reader
            return reader(raw)
        return None
