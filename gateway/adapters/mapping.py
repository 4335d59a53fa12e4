"""``firmware_configs/foreign/<mapping>.yaml``: which foreign devices there are, where they speak and what it means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from common.runtime.config import Fault, InvalidConfigError, Settings, load_config, nearest, parse_config
from common.wire.topics import is_name
from gateway.adapters.topics import Pattern, parse_pattern
from gateway.adapters.units import Line, Unit, UnitError, conversion, find
from gateway.config import Name
from gateway.metrics_catalogue import Metric, catalogue

#: A JSON pointer (``/data/0/t``, RFC 6901) or keys with dots between them (``data.t``).
Path_ = Annotated[str, Field(min_length=1, max_length=200)]
_MODULUS_BITS = Annotated[int, Field(ge=8, le=48)]
_Where = tuple[str | int, ...]


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

    @model_validator(mode="after")
    def _one_device(self) -> Self:
        names = parse_pattern(self.topic).names
        if ("device" in names) == (self.device is not None):
            raise ValueError("expected either a part {device} in the topic, or `device:` saying whose it is")
        for value in self.quantities():
            if value.sensor.startswith("{") and value.sensor[1:-1] not in names:
                raise ValueError(f"sensor {value.sensor}: the topic has no such part")
        return self

    def quantities(self) -> tuple[ValueEntry, ...]:
        """What its messages bring."""
        return ()


class NumberTopic(TopicEntry):
    """A payload that is one number as text."""

    payload: Literal["number"]
    value: ValueEntry

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

    @model_validator(mode="after")
    def _fits(self, info: ValidationInfo) -> Self:
        around = info.context if isinstance(info.context, Surroundings) else Surroundings()
        faults = [
            *self._faults_of_devices(around),
            *self._faults_of_topics(around),
            *self._faults_of_values(around),
        ]
        if faults:
            raise ValidationError.from_exception_data(
                "MappingFile",
                [
                    # The text is no template, so its braces are data.
                    InitErrorDetails(
                        type=PydanticCustomError("value_error", "{said}", {"said": said}),
                        loc=where,
                        input=given,
                    )
                    for where, said, given in faults
                ],
            )
        around.taken += [(parse_pattern(entry.topic), self.mapping) for entry in self.topics]
        around.devices.update({(self.site, device.name): self.mapping for device in self.devices})
        return self

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

    def _faults_of_devices(self, around: Surroundings) -> Iterator[tuple[_Where, str, Any]]:
        names: set[str] = set()
        said: set[str] = set()
        for number, device in enumerate(self.devices):
            other = around.devices.get((self.site, device.name))
            if device.name in names:
                yield ("devices", number, "name"), "stands twice; keep one", device.name
            elif other:
                yield ("devices", number, "name"), f"is a device of mapping {other!r} already", device.name
            if device.said_as.casefold() in said:
                yield ("devices", number, "id"), "stands twice; keep one", device.said_as
            names.add(device.name)
            said.add(device.said_as.casefold())
        for number, entry in enumerate(self.topics):
            if entry.device is not None and entry.device not in names:
                yield ("topics", number, "device"), "is not one of the file's devices", entry.device

    def _faults_of_topics(self, around: Surroundings) -> Iterator[tuple[_Where, str, Any]]:
        taken = list(around.taken)
        for number, entry in enumerate(self.topics):
            pattern = parse_pattern(entry.topic)
            for other, mapping in taken:
                if pattern.overlaps(other):
                    said = (
                        f"a topic can match this and {other.text!r} of mapping {mapping!r}; tell them apart"
                    )
                    yield ("topics", number, "topic"), said, entry.topic
                    break
            taken.append((pattern, self.mapping))

    def _faults_of_values(self, around: Surroundings) -> Iterator[tuple[_Where, str, Any]]:
        for number, entry in enumerate(self.topics):
            seen: set[tuple[str, str]] = set()
            for place, value in enumerate(entry.quantities()):
                where: _Where = ("topics", number, "value")
                if not isinstance(entry, NumberTopic):
                    where = ("topics", number, "values", place)
                metric = around.metrics.get(value.metric)
                if metric is None:
                    names = sorted(around.metrics)
                    close = nearest(value.metric, names)
                    yield (
                        (*where, "metric"),
                        f"unknown metric{close}; declared: {', '.join(names)}",
                        value.metric,
                    )
                    continue
                if (value.sensor, value.metric) in seen and not getattr(value, "ports", ()):
                    yield (
                        (*where, "sensor"),
                        f"{value.sensor}/{value.metric} stands twice; keep one",
                        value.sensor,
                    )
                seen.add((value.sensor, value.metric))
                try:
                    self.line_of(value, metric)
                except UnitError as error:
                    yield (*where, "unit"), str(error), value.unit


def load_mapping(path: Path, around: Surroundings | None = None) -> MappingFile:
    """Read one mapping file, which is named after its mapping.

    Raises:
        InvalidConfigError: with every fault found.
    """
    return _named(path, load_config(path, MappingFile, context=around or Surroundings()))


def parse_mapping(text: str, path: Path, around: Surroundings | None = None) -> MappingFile:
    """Read a mapping from its text; ``path`` only names it."""
    return _named(path, parse_config(text, path, MappingFile, context=around or Surroundings()))


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


def _named(path: Path, loaded: MappingFile) -> MappingFile:
    if loaded.mapping != path.stem:
        message = f"expected {path.stem!r} as the file is named, got {loaded.mapping!r}"
        raise InvalidConfigError([Fault(path, 1, "mapping", message)])
    return loaded


def topic_sensor(value: ValueEntry, parts: Mapping[str, str]) -> str | None:
    """The sensor of a value for a topic with these parts; None when the topic's part cannot name one."""
    if not value.sensor.startswith("{"):
        return value.sensor
    named = parts.get(value.sensor[1:-1], "").lower()
    return named if is_name(named) else None
