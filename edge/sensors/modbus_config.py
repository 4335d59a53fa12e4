"""The configuration of sensors on Modbus: lines, the sensors on each, and what stands in which register.

Addresses are those of the protocol, from 0 (a data sheet's 40001 is ``holding`` 0, its 30001 ``input`` 0).
Source: MODBUS Application Protocol Specification V1.1b3, sections 4.4 and 6.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from common.runtime.config import Settings
from common.wire.metrics import UNIT_OF
from edge.settings import Name, Seconds

Table = Literal["holding", "input", "coil", "discrete"]
Type = Literal["uint16", "int16", "uint32", "int32", "float32"]
#: In which order the bytes of a value come: ``a`` is the most significant. 16 bits are ``ab`` or ``ba``.
Order = Literal["abcd", "cdab", "badc", "dcba"]
MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$", description="a–z, 0–9 and _")]

PROFILES: Final = Path(__file__).parent / "profiles"
BIT_TABLES: Final = ("coil", "discrete")
_LAST_ADDRESS: Final = 65_535


def _not_zero(scale: float) -> float:
    if scale == 0:
        raise ValueError("expected a factor other than 0: it would make every value the same")
    return scale


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise ValueError(f"expected the lower limit first, got {limits[0]:g} and {limits[1]:g}")
    return limits


Scale = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_not_zero)]
Offset = Annotated[float, Field(allow_inf_nan=False)]


class CounterSettings(Settings):
    """A register that counts up for ever and begins again at 0 after its highest number (a tipping bucket).

    ``amount`` is what was added since the turn before, ``per_hour`` how fast it grew over the last ``over_s``. More
    than ``most_per_hour`` between two turns means that the counter was set back (a power cut at the sensor): from
    there it is counted anew, and nothing is said of what fell in between.
    """

    amount: MetricName | None = None
    per_hour: MetricName | None = None
    over_s: Annotated[float, Field(ge=1, le=3600)] = 300.0
    most_per_hour: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    wraps_at: Annotated[int, Field(ge=2, le=1 << 32, description="how many numbers it has")] | None = None


class RegisterSettings(Settings):
    """One value: where it stands, how it is written there, and what it means.

    What stands there times ``scale`` plus ``offset`` is the value, in the unit of the metric. Outside of ``valid``,
    and where one of the numbers ``no_value`` stands, there is none.
    """

    metric: MetricName
    table: Table = "holding"
    address: Annotated[int, Field(ge=0, le=_LAST_ADDRESS)]
    type: Type = "uint16"
    order: Order = "abcd"
    bit: Annotated[int, Field(ge=0, le=15, description="of a word of flags; 0 is the lowest")] | None = None
    scale: Scale = 1.0
    offset: Offset = 0.0
    unit: str = ""
    valid: Annotated[tuple[float, float], AfterValidator(_ascending)] | None = None
    no_value: tuple[int, ...] = ()
    counter: CounterSettings | None = None
    resultant: Annotated[MetricName, Field(description="of two axes together, in degrees")] | None = None

    @property
    def words(self) -> int:
        """How many registers, or bits, it takes."""
        return 2 if self.type in {"uint32", "int32", "float32"} else 1

    @field_validator("type")
    @classmethod
    def _fits_table(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("table") in BIT_TABLES and value != "uint16":
            raise ValueError(f"expected no type: a {info.data['table']} is one bit")
        last = _LAST_ADDRESS if value in {"uint16", "int16"} else _LAST_ADDRESS - 1
        if info.data.get("address", 0) > last:
            raise ValueError(
                f"expected room for two registers from the address on, the last is {_LAST_ADDRESS}"
            )
        return value

    @field_validator("bit")
    @classmethod
    def _of_a_word(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and (
            info.data.get("table") in BIT_TABLES or info.data.get("type") not in {"uint16", None}
        ):
            raise ValueError("expected a bit of a uint16 in a holding or input register")
        return value

    @field_validator("unit")
    @classmethod
    def _is_the_metrics(cls, value: str, info: ValidationInfo) -> str:
        metric = info.data.get("metric")
        if metric in UNIT_OF and value != UNIT_OF[metric]:
            raise ValueError(
                f"expected {UNIT_OF[metric]!r}, in which {metric} is told; let scale and offset make it so"
            )
        return value

    @field_validator("counter")
    @classmethod
    def _counts_whole(cls, value: CounterSettings | None, info: ValidationInfo) -> CounterSettings | None:
        if value is None:
            return value
        if info.data.get("table") in BIT_TABLES or info.data.get("type") not in {"uint16", "uint32", None}:
            raise ValueError("expected a counter in a uint16 or uint32")
        if value.wraps_at is not None and info.data.get("type") == "uint16" and value.wraps_at > 1 << 16:
            raise ValueError("expected it to begin again at 65536 or before: it has 16 bits")
        return value


class AdjustSettings(Settings):
    """What the place adds to a sensor: its value times ``scale`` plus ``offset`` (a gauge's height over the road)."""

    scale: Scale = 1.0
    offset: Offset = 0.0


@lru_cache
def profiles() -> tuple[str, ...]:
    """The names of the register maps that ship."""
    return tuple(sorted(path.stem for path in PROFILES.glob("*.yaml")))


def _of_profile(value: Any) -> Any:
    """A profile's registers in the place of its name."""
    if not isinstance(value, str):
        return value
    if value not in profiles():
        near = difflib.get_close_matches(value, profiles(), n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(
            f"expected a list of registers, or one of {', '.join(profiles())}, got {value!r}{meant}"
        )
    return yaml.safe_load((PROFILES / f"{value}.yaml").read_text(encoding="utf-8"))["registers"]


def told_by(registers: Iterable[RegisterSettings]) -> list[str]:
    """The metrics that registers tell, in their order; a resultant once."""
    told: list[str] = []
    for one in registers:
        counted = (one.counter.amount, one.counter.per_hour) if one.counter else ()
        told += [metric for metric in (one.metric, *counted) if metric]
    return told + list(dict.fromkeys(one.resultant for one in registers if one.resultant))


def _metrics_differ(registers: tuple[RegisterSettings, ...]) -> tuple[RegisterSettings, ...]:
    told = told_by(registers)
    doubled = sorted({metric for metric in told if told.count(metric) > 1})
    if doubled:
        raise ValueError(f"expected each metric of a sensor once, got twice: {', '.join(doubled)}")
    for resultant in {one.resultant for one in registers if one.resultant}:
        axes = sum(one.resultant == resultant for one in registers)
        if axes != 2:
            raise ValueError(f"expected {resultant} to be the resultant of two registers, got {axes}")
    return registers


class ModbusSensorSettings(Settings):
    """One sensor on a line. ``registers`` is the name of a profile, or a list."""

    name: Name
    unit_id: Annotated[int, Field(ge=0, le=255, description="its address on the line")]
    every_s: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    registers: Annotated[
        tuple[RegisterSettings, ...],
        Field(min_length=1, max_length=64),
        BeforeValidator(_of_profile),
        AfterValidator(_metrics_differ),
    ]
    adjust: dict[MetricName, AdjustSettings] = Field(default_factory=dict)

    @field_validator("registers")
    @classmethod
    def _often_enough(
        cls, value: tuple[RegisterSettings, ...], info: ValidationInfo
    ) -> tuple[RegisterSettings, ...]:
        every_s = info.data.get("every_s", 0.0)
        for one in value:
            if one.counter is not None and one.counter.over_s < every_s:
                raise ValueError(
                    f"expected {one.metric} to be asked at least every {one.counter.over_s:g} s, its over_s; "
                    f"every_s is {every_s:g}"
                )
        return value

    @field_validator("adjust")
    @classmethod
    def _of_its_registers(
        cls, value: dict[str, AdjustSettings], info: ValidationInfo
    ) -> dict[str, AdjustSettings]:
        registers = info.data.get("registers")
        if registers is None:
            return value
        known = [one.metric for one in registers]
        for metric in value:
            if metric not in known:
                raise ValueError(f"expected metrics of this sensor ({', '.join(known)}), got {metric!r}")
        return value


def _addressable(sensors: tuple[ModbusSensorSettings, ...]) -> tuple[ModbusSensorSettings, ...]:
    for sensor in sensors:
        if not 1 <= sensor.unit_id <= 247:
            raise ValueError(
                f"expected addresses from 1 to 247 on a serial line, {sensor.name} has {sensor.unit_id}"
            )
    return sensors


Sensors = Annotated[tuple[ModbusSensorSettings, ...], Field(min_length=1, max_length=64)]


class _LineSettings(Settings):
    """What both kinds of line have.

    ``timeout_s`` is how long an answer may take, ``pause_s`` how long the line rests between two questions.
    """

    timeout_s: Annotated[float, Field(ge=0.02, le=30)] = 1.0
    pause_s: Annotated[float, Field(ge=0, le=5)] = 0.0
    reconnect_s: Seconds = 1.0
    longest_reconnect_s: Seconds = 60.0


class TcpLineSettings(_LineSettings):
    """A controller or a serial server on the network; ``rtu_over_tcp`` is for serial servers that only pass bytes."""

    transport: Literal["tcp", "rtu_over_tcp"]
    host: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^\S+$")]
    port: Annotated[int, Field(ge=1, le=65_535)] = 502
    sensors: Sensors

    @property
    def where(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"


class SerialLineSettings(_LineSettings):
    """An RS-485 or RS-232 line at this box."""

    transport: Literal["rtu"]
    port: Annotated[str, Field(min_length=1, max_length=200, description="such as /dev/ttyUSB0")]
    baud: Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    echo: bool = False
    """Whether the adapter gives back what the box itself sends (two-wire adapters without an automatic switch)."""
    pause_s: Annotated[float, Field(ge=0, le=5)] = 0.02
    sensors: Annotated[Sensors, AfterValidator(_addressable)]

    @property
    def where(self) -> str:
        """The port and its parameters, as in ``/dev/ttyUSB0 9600 8N1``."""
        return f"{self.port} {self.baud} 8{self.parity[0].upper()}{self.stop_bits}"


LineSettings = TcpLineSettings | SerialLineSettings


def _lines_differ(lines: tuple[LineSettings, ...]) -> tuple[LineSettings, ...]:
    places = [line.where if isinstance(line, TcpLineSettings) else line.port for line in lines]
    doubled = sorted({place for place in places if places.count(place) > 1})
    if doubled:
        raise ValueError(f"expected each line once with all of its sensors, got twice: {', '.join(doubled)}")
    return lines


ModbusSettings = Annotated[
    tuple[Annotated[LineSettings, Field(discriminator="transport")], ...],
    Field(max_length=16),
    AfterValidator(_lines_differ),
]
