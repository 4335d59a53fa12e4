"""From registers to values, and which registers to ask for in one go. Pure.

A register holds 16 bits, the higher byte first (MODBUS Application Protocol V1.1b3, section 4.2). How a value of 32
bits is put into two of them is every maker's own affair: ``order`` tells.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edge.sensors.modbus_config import BIT_TABLES, AdjustSettings, RegisterSettings, Table
from edge.sensors.port import SensorError

_MOST_REGISTERS: Final = 125
_MOST_BITS: Final = 2000
_FORMATS: Final = {"uint16": ">H", "int16": ">h", "uint32": ">I", "int32": ">i", "float32": ">f"}


@dataclass(frozen=True, slots=True)
class Block:
    """Registers, or bits, that stand side by side and are asked for at once."""

    table: Table
    start: int
    count: int

    def __contains__(self, register: object) -> bool:
        """Whether a register is among them."""
        return (
            isinstance(register, RegisterSettings)
            and register.table == self.table
            and self.start <= register.address
            and register.address + register.words <= self.start + self.count
        )

    def __str__(self) -> str:
        """As in ``holding 4–5``."""
        last = self.start + self.count - 1
        return f"{self.table} {self.start}" + (f"–{last}" if self.count > 1 else "")


def plan(registers: Iterable[RegisterSettings]) -> tuple[Block, ...]:
    """The fewest questions that get all of them.

    Only what stands side by side is asked for at once: many devices refuse a question that also covers an address
    they do not have. What belongs to one value is never torn apart.
    """
    blocks: list[Block] = []
    for one in sorted(registers, key=lambda one: (one.table, one.address, one.words)):
        most = _MOST_BITS if one.table in BIT_TABLES else _MOST_REGISTERS
        if blocks and blocks[-1].table == one.table:
            last = blocks[-1]
            count = max(last.count, one.address + one.words - last.start)
            if one.address <= last.start + last.count and count <= most:
                blocks[-1] = Block(one.table, last.start, count)
                continue
        blocks.append(Block(one.table, one.address, one.words))
    return tuple(blocks)


def raw_of(register: RegisterSettings, words: Sequence[int]) -> int | float:
    """What stands there, before it means anything.

    Args:
        register: how it is written.
        words: its one or two registers (0…65535), or its bit.

    Raises:
        SensorError: ``modbus.no_value`` when the sensor says that it has none.
    """
    if register.table in BIT_TABLES:
        return int(words[0])
    encoded = b"".join(word.to_bytes(2, "big") for word in words)
    if register.order in {"badc", "dcba"}:
        encoded = b"".join(
            encoded[at + 1 : at + 2] + encoded[at : at + 1] for at in range(0, len(encoded), 2)
        )
    if register.order in {"cdab", "dcba"}:
        encoded = encoded[2:] + encoded[:2] if len(encoded) == 4 else encoded
    raw: int | float = struct.unpack(_FORMATS[register.type], encoded)[0]
    if int.from_bytes(encoded, "big") in register.no_value or raw in register.no_value or raw != raw:  # noqa: PLR0124 - NaN
        raise SensorError(
            "modbus.no_value",
            f"expected a value for {register.metric}, the sensor says that it has none ({shown(words)})",
            "is its probe connected, and has it warmed up?",
        )
    return raw if register.bit is None else int(raw) >> register.bit & 1


def value_of(register: RegisterSettings, raw: float) -> float:
    """What it means, in the metric's unit.

    Raises:
        SensorError: ``modbus.out_of_range`` when it lies outside of what the sensor can measure, or is infinite.
    """
    value = round(raw * register.scale + register.offset, 9)
    if not math.isfinite(value):
        raise SensorError(
            "modbus.out_of_range",
            f"expected a finite {register.metric}, got {value:g}",
            "is the sensor sound, and are type, order and scale those of its data sheet?",
        )
    if register.valid is not None and not register.valid[0] <= value <= register.valid[1]:
        raise SensorError(
            "modbus.out_of_range",
            f"expected {register.metric} between {register.valid[0]:g} and {register.valid[1]:g} {register.unit}, "
            f"got {value:g}",
            "is the sensor sound, and are type, order and scale those of its data sheet?",
        )
    return value


def adjusted(register: RegisterSettings, by: AdjustSettings | None) -> RegisterSettings:
    """The register with what its place adds to it."""
    if by is None:
        return register
    limits = None
    if register.valid is not None:
        low, high = sorted(limit * by.scale + by.offset for limit in register.valid)
        limits = (round(low, 9), round(high, 9))
    return register.model_copy(
        update={
            "scale": register.scale * by.scale,
            "offset": register.offset * by.scale + by.offset,
            "valid": limits,
        }
    )


def resultant(x: float, y: float) -> float:
    """How far an axis that leans by ``x`` and by ``y`` (degrees, each below 90) in planes at right angles leans in all."""
    return round(math.degrees(math.atan(math.hypot(math.tan(math.radians(x)), math.tan(math.radians(y))))), 6)


def shown(words: Sequence[int]) -> str:
    """Registers as people compare them with a data sheet."""
    return " ".join(f"0x{word:04X}" for word in words)
