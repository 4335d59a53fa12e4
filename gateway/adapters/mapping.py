"""``firmware_configs/foreign/<mapping>.yaml``: which foreign devices there are, where they speak and what it means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from common.runtime.config import Fault, InvalidConfigError, load_config, parse_config
from common.runtime.settings import Location, Settings, Wrong, nearest, texts, twice
from common.wire.topics import is_name
from gateway.adapters.topics import Pattern, parse_pattern
from gateway.adapters.units import Line, Unit, UnitError, conversion, find
from gateway.config import Name
from gateway.metrics_catalogue import Metric, catalogue

#: A JSON pointer (``/data/0/t``, RFC 6901) or keys with dots between them (``data.t``).
Path_ = Annotated[str, Field(min_length=1, max_length=200)]
_MODULUS_BITS = Annotated[int, Field(ge=8, le=48)]


@dataclass(slots=True)
class Surroundings:
    """What a mapping file is checked against: the declared metrics, and the topics of the files before it."""

    metrics: Mapping[str, Metric] = field(default_factory=catalogue)
    taken: list[tuple[Pattern, str]] = field(default_factory=list)
    devices: dict[tuple[str, str], str] = field(default_factory=dict)


class UnitEntry(Settings):
    """A unit of one's own: ``scale * x + offset`` is in the unit ``to``."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_/%-]{0,31}$")]
    to: str
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0

    @field_validator("scale")
    @classmethod
    def _not_flat(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("expected a scale other than 0, or every value would be the same")
        return scale

    @field_validator("to")
    @classmethod
    def _known(cls, to: str) -> str:
        find(to)
        return to


class ForeignDevice(Settings):
    """One device: what it calls itself in the topic (``id``), what we call it, where it stands (WGS-84 degrees)."""

    name: Name
    id: Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^/+#\x00-\x1f]+$")] | None = None
    title_zh: Annotated[str, Field(max_length=100)] = ""
    title_en: Annotated[str, Field(max_length=100)] = ""
    lon: Annotated[float, Field(ge=-180, le=180)]
    lat: Annotated[float, Field(ge=-90, le=90)]
    silent_after_s: Annotated[int, Field(ge=30, le=30 * 86_400)] | None = None

    @property
    def said_as(self) -> str:
        """What stands for it in topics."""
        return self.name if self.id is None else self.id


class TimeField(Settings):
    """Where a payload says when it was measured. Without one the time of receipt counts."""

    path: Path_
    format: Literal["epoch_s", "epoch_ms", "rfc3339"]


class CounterField(Settings):
    """Where a payload counts its messages, modulo ``2**bits``; ``session`` names the counter's life, if it is said."""

    path: Path_
    bits: _MODULUS_BITS = 32
    session: Path_ | None = None
    window: Annotated[int, Field(ge=1, le=64)] = 32


class ValueEntry(Settings):
    """One quantity: its sensor (``{part}`` takes a part of the topic), metric, unit as the device says it.

    ``range`` is what is physically possible, in the metric's unit; else that of the metric's declaration. ``words``
    are numbers for texts and truth values that stand for them.
    """

    sensor: Annotated[
        str, Field(pattern=r"^(?:[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?|\{[a-z][a-z0-9_]{0,31}\})$")
    ]
    metric: str
    unit: str | None = None
    range: tuple[float, float] | None = None
    words: Annotated[dict[str, float], Field(max_length=64)] = Field(default_factory=dict)

    @field_validator("range")
    @classmethod
    def _range_in_order(cls, range_: tuple[float, float] | None) -> tuple[float, float] | None:
        if range_ is not None and not (math.isfinite(sum(range_)) and range_[0] < range_[1]):
            raise ValueError("expected [low, high], finite and low first")
        return range_


class PathValue(ValueEntry):
    """A quantity at a place of a JSON payload; one that is not there is left out."""

    path: Path_


class UplinkValue(PathValue):
    """A quantity at a place of an uplink's decoded ``object``, of all ports or of some."""

    ports: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(max_length=32)] = ()


class TopicEntry(Settings):
    """Where devices speak: a topic with ``{device}`` in it, or with ``device`` saying whose it is."""

    topic: str
    device: Name | None = None

    @field_validator("topic")
    @classmethod
    def _a_topic(cls, topic: str) -> str:
        parse_pattern(topic)
        return topic

    def cross_faults(self) -> Iterator[Wrong]:
        """It is known whose a message is, and sensors are named by parts that the topic has."""
        if not self.right("topic"):
            return
        names = parse_pattern(self.topic).names
        if self.right("device") and ("device" in names) == (self.device is not None):
            yield Wrong(
                ("topic",), "expected either a part {device} in the topic, or `device:` saying whose it is"
            )
        for place, value in self.placed():
            if value.right("sensor") and value.sensor.startswith("{") and value.sensor[1:-1] not in names:
                yield Wrong((*place, "sensor"), f"{value.sensor}: the topic has no such part")

    def placed(self) -> Iterator[tuple[Location, ValueEntry]]:
        """What its messages bring, each with its place."""
        yield from ((("values", number), value) for number, value in enumerate(self.quantities()))

    def quantities(self) -> tuple[ValueEntry, ...]:
        """What its messages bring."""
        return ()


class NumberTopic(TopicEntry):
    """A payload that is one number as text."""

    payload: Literal["number"]
    value: ValueEntry

    def placed(self) -> Iterator[tuple[Location, ValueEntry]]:
        """The one value."""
        yield ("value",), self.value

    def quantities(self) -> tuple[ValueEntry, ...]:
        """The one value."""
        return (self.value,)


class JsonTopic(TopicEntry):
    """A payload that is a JSON object or array. Repeats are known by the counter, else by the time, else not."""

    payload: Literal["json"]
    time: TimeField | None = None
    counter: CounterField | None = None
    values: Annotated[tuple[PathValue, ...], Field(min_length=1, max_length=64)]

    def quantities(self) -> tuple[ValueEntry, ...]:
        """The values."""
        return self.values


class ChirpstackTopic(TopicEntry):
    """Uplinks as ChirpStack 4 publishes them in JSON, decoded by the codec of the device's profile."""

    payload: Literal["chirpstack"]
    values: Annotated[tuple[UplinkValue, ...], Field(min_length=1, max_length=64)]

    def quantities(self) -> tuple[ValueEntry, ...]:
        """The values."""
        return self.values


AnyTopic = Annotated[NumberTopic | JsonTopic | ChirpstackTopic, Field(discriminator="payload")]


class MappingFile(Settings):
    """Foreign devices of one site. ``accounts`` says who signs in at the broker: each device, or one for all."""

    mapping: Name
    site: Name
    partition: Name = "default"
    accounts: Literal["device", "one"] = "device"
    silent_after_s: Annotated[int, Field(ge=30, le=30 * 86_400)] = 3600
    units: tuple[UnitEntry, ...] = ()
    devices: Annotated[tuple[ForeignDevice, ...], Field(min_length=1)]
    topics: Annotated[tuple[AnyTopic, ...], Field(min_length=1, max_length=100)]

    def cross_faults(self) -> Iterator[Wrong]:
        """Names and ids stand once, topics can be told apart, and devices that topics name are there."""
        names = list(texts(device.name for device in self.devices))
        yield from twice((("devices", number, "name"), name) for number, name in names)
        said = [
            (number, device.said_as.casefold())
            for number, device in enumerate(self.devices)
            if device.right("name", "id")
        ]
        yield from twice((("devices", number, "id"), name) for number, name in said)
        for number, entry in enumerate(self.topics):
            if isinstance(entry.device, str) and entry.device not in {name for _, name in names}:
                yield Wrong(
                    ("topics", number, "device"), f"is not one of the file's devices, got {entry.device!r}"
                )
        for number, entry in enumerate(self.topics):
            yield from twice(
                (("topics", number, *place, "sensor"), f"{value.sensor}/{value.metric}")
                for place, value in entry.placed()
                if value.right("sensor", "metric") and not getattr(value, "ports", ())
            )

    def own_units(self) -> dict[str, Unit]:
        """The file's own units by name."""
        made = {}
        for entry in self.units:
            base = find(entry.to)
            made[entry.name] = Unit(
                base.kind, entry.scale * base.scale, entry.offset * base.scale + base.offset
            )
        return made

    def line_of(self, value: ValueEntry, metric: Metric) -> Line:
        """How a value becomes one in its metric's unit.

        Raises:
            UnitError: when it cannot.
        """
        return Line() if value.unit is None else conversion(value.unit, metric.unit, self.own_units())


def _faults_around(loaded: MappingFile, around: Surroundings) -> Iterator[Wrong]:
    """What a file must agree with besides itself: the declared metrics, and the files before it."""
    for number, device in enumerate(loaded.devices):
        owner = around.devices.get((loaded.site, device.name))
        if owner:
            yield Wrong(
                ("devices", number, "name"), f"{device.name!r} is a device of mapping {owner!r} already"
            )
    taken = list(around.taken)
    for number, entry in enumerate(loaded.topics):
        if not entry.right("topic"):
            continue
        pattern = parse_pattern(entry.topic)
        for other, mapping in taken:
            if pattern.overlaps(other):
                said = f"a topic can match this and {other.text!r} of mapping {mapping!r}; tell them apart"
                yield Wrong(("topics", number, "topic"), said)
                break
        taken.append((pattern, loaded.mapping))
    for number, entry in enumerate(loaded.topics):
        for place, value in entry.placed():
            for fault in _faults_of_value(loaded, value, around.metrics):
                yield fault.within(("topics", number, *place))


def _faults_of_value(
    loaded: MappingFile, value: ValueEntry, metrics: Mapping[str, Metric]
) -> Iterator[Wrong]:
    if not value.right("metric"):
        return
    metric = metrics.get(value.metric)
    if metric is None:
        names = sorted(metrics)
        said = f"unknown metric{nearest(value.metric, names)}; declared: {', '.join(names)}"
        yield Wrong(("metric",), said)
    elif value.right("unit") and loaded.right("units"):
        try:
            loaded.line_of(value, metric)
        except UnitError as error:
            yield Wrong(("unit",), str(error))


def load_mapping(path: Path, around: Surroundings | None = None) -> MappingFile:
    """Read one mapping file, which is named after its mapping.

    Raises:
        InvalidConfigError: with every fault found.
    """
    where = around or Surroundings()
    return _settled(path, load_config(path, MappingFile, lambda one: _faults_around(one, where)), where)


def parse_mapping(text: str, path: Path, around: Surroundings | None = None) -> MappingFile:
    """Read a mapping from its text; ``path`` only names it."""
    where = around or Surroundings()
    return _settled(
        path, parse_config(text, path, MappingFile, lambda one: _faults_around(one, where)), where
    )


def load_mappings(folder: Path, metrics: Mapping[str, Metric]) -> tuple[MappingFile, ...]:
    """All mapping files of a folder, which may be missing or empty.

    Raises:
        InvalidConfigError: with the faults of all files at once.
    """
    around = Surroundings(metrics)
    loaded: list[MappingFile] = []
    faults: list[Fault] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            loaded.append(load_mapping(path, around))
        except InvalidConfigError as error:
            faults += error.faults
    if faults:
        raise InvalidConfigError(faults)
    return tuple(loaded)


def _settled(path: Path, loaded: MappingFile, around: Surroundings) -> MappingFile:
    """A file that is right by itself: its name is looked at, and its topics and devices are taken."""
    if loaded.mapping != path.stem:
        message = f"expected {path.stem!r} as the file is named, got {loaded.mapping!r}"
        raise InvalidConfigError([Fault(path, 1, "mapping", message)])
    around.taken += [(parse_pattern(entry.topic), loaded.mapping) for entry in loaded.topics]
    around.devices.update({(loaded.site, device.name): loaded.mapping for device in loaded.devices})
    return loaded


def topic_sensor(value: ValueEntry, parts: Mapping[str, str]) -> str | None:
    """The sensor of a value for a topic with these parts; None when the topic's part cannot name one."""
    if not value.sensor.startswith("{"):
        return value.sensor
    named = parts.get(value.sensor[1:-1], "").lower()
    return named if is_name(named) else None
