"""Identifiers: UUIDv7 for things that are made in time order, random epochs for outboxes.

Source: RFC 9562 section 5.7 (UUIDv7) and 5.5 (name-based UUIDs).
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable

OBSERVATION_NAMESPACE = uuid.UUID("6f1d8f0e-6f0b-5d2a-9c39-0d6a3c1f7a10")
MAX_EPOCH = (1 << 62) - 1
MAX_SEQ = (1 << 62) - 1


def uuid7(now_ms: int, random_bits: Callable[[int], int] = secrets.randbits) -> uuid.UUID:
    """A UUIDv7: 48 bits of milliseconds since the Unix epoch, then 74 random bits.

    Args:
        now_ms: the instant it carries, ms since the Unix epoch.
        random_bits: source of randomness; a seeded one in tests.
    """
    if not 0 <= now_ms < 1 << 48:
        raise ValueError(f"expected milliseconds that fit 48 bits, got {now_ms}")
    value = now_ms << 80 | 0x7 << 76 | random_bits(12) << 64 | 0b10 << 62 | random_bits(62)
    return uuid.UUID(int=value)


def new_epoch(random_bits: Callable[[int], int] = secrets.randbits) -> int:
    """The number of one life of an outbox: random, 1 to 2**62-1, so that two never meet."""
    return random_bits(62) or 1


def packet_id(epoch: int, seq: int) -> str:
    """The CloudEvents id of a packet: ``{epoch}-{seq}``, the epoch in hexadecimal."""
    return f"{epoch:x}-{seq}"


def parse_packet_id(text: str) -> tuple[int, int]:
    """The epoch and sequence number inside a packet id.

    Raises:
        ValueError: when the text is not ``{hexadecimal epoch}-{decimal sequence}`` within range.
    """
    head, dash, tail = text.partition("-")
    # isdecimal() alone would let other alphabets' digits through; int() alone '+1' and '1_0'.
    if not dash or not tail.isascii() or not tail.isdecimal() or not head.isascii() or not head.isalnum():
        raise ValueError(f"expected an id like 'a1b2c3-42', got {text[:60]!r}")
    epoch, seq = int(head, 16), int(tail)
    if not (1 <= epoch <= MAX_EPOCH and 1 <= seq <= MAX_SEQ) or tail != str(seq) or head != f"{epoch:x}":
        raise ValueError(
            f"expected epoch and sequence from 1 to 2**62-1 in canonical form, got {text[:60]!r}"
        )
    return epoch, seq


def observation_id(device: str, source: str, epoch: int, seq: int) -> uuid.UUID:
    """The id of an observation that the gateway derives from readings: the same whoever derives it.

    Args:
        device: ``site/device``.
        source: the rule and the sensor that it watched.
        epoch: the epoch of the packet that started it; of a silence, when it was found.
        seq: that packet's sequence number; of a silence, when it was last heard.
    """
    return uuid.uuid5(OBSERVATION_NAMESPACE, f"{device}|{source}|{epoch:x}|{seq}")
