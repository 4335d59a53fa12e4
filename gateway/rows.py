"""A batch's readings as columns, and as the bytes of PostgreSQL's binary COPY. Pure.

A row of fixed width in COPY's binary format is a record of big-endian fields with their lengths between them, so
a whole batch is one numpy array handed over as it lies: no loop over rows.
Source: PostgreSQL 17 documentation, COPY, "Binary Format"; timestamps count microseconds from 2000-01-01 UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

COPY_READINGS: Final = (
    "COPY reading (captured_at, received_at, value, series_id, flags, claimed_at) FROM STDIN (FORMAT binary)"
)
_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, no flags, no extension
_TRAILER: Final = b"\xff\xff"
_POSTGRES_EPOCH_MS: Final = 946_684_800_000

_FIELDS: Final = [
    ("fields", ">i2"),
    *(("captured_length", ">i4"), ("captured_at", ">i8")),
    *(("received_length", ">i4"), ("received_at", ">i8")),
    *(("value_length", ">i4"), ("value", ">f8")),
    *(("series_length", ">i4"), ("series_id", ">i4")),
    *(("flags_length", ">i4"), ("flags", ">i2")),
    ("claimed_length", ">i4"),
]
_PLAIN: Final = np.dtype(_FIELDS)
_CLAIMED: Final = np.dtype([*_FIELDS, ("claimed_at", ">i8")])
_BLANK: Final = np.array([(6, 8, 0, 8, 0, 8, 0.0, 4, 0, 2, 0, -1)], _PLAIN)
_BLANK_CLAIMED: Final = np.array([(6, 8, 0, 8, 0, 8, 0.0, 4, 0, 2, 0, 8, 0)], _CLAIMED)


class Flag(IntFlag):
    """What was odd about a reading; ``reading.flags``."""

    CLOCK = 1  # its capture time was held to the time of receipt; ``claimed_at`` is what it said
    IMPLAUSIBLE = 2  # outside what the catalogue believes of its metric
    LATE = 4  # from before what its rules had already stepped
    UNNUMBERED = 8  # a foreign device's, without counter or time: a repeat of it would be here as well


@dataclass(slots=True)
class ReadingRows:
    """Readings in columns of equal length; instants in ms since the Unix epoch."""

    captured_at: Ints
    received_at: Ints
    value: Floats
    series_id: Ints
    flags: Ints
    claimed_at: Ints  # only counts where ``flags`` has CLOCK

    def __len__(self) -> int:
        """How many rows."""
        return len(self.value)

    def in_order(self, order: Ints) -> ReadingRows:
        """The rows whose places these are, in this order."""
        return ReadingRows(
            self.captured_at[order],
            self.received_at[order],
            self.value[order],
            self.series_id[order],
            self.flags[order],
            self.claimed_at[order],
        )


def order_of_groups(offset: Ints, key: Ints) -> Ints:
    """The places of rows when their groups are put in the order of their keys; equal keys stay as they stand.

    Rows of one series beside each other fall on the same pages of the index, which saves the database a fifth of
    its work on them.

    Args:
        offset: group ``g`` is rows ``offset[g]`` … ``offset[g + 1] - 1``.
        key: one a group.
    """
    order = np.argsort(key, kind="stable")
    lengths = np.diff(offset)[order]
    ends = np.cumsum(lengths)
    return np.repeat(offset[:-1][order] - (ends - lengths), lengths) + np.arange(offset[-1])


def hold_clock(
    claimed: Ints, received: Ints, *, future_ms: int, past_ms: int
) -> tuple[Ints, NDArray[np.bool_] | None]:
    """Capture times with the impossible ones set to the time of receipt, so that no wild clock makes chunks.

    Returns:
        The capture times, and which were set; None when none was.
    """
    wild = (claimed > received + future_ms) | (claimed < received - past_ms)
    if not wild.any():
        return claimed, None
    return np.where(wild, received, claimed), wild


def hold_instant(claimed: int, received: int, *, future_ms: int, past_ms: int) -> int:
    """One capture time, as ``hold_clock`` would set it."""
    return claimed if received - past_ms <= claimed <= received + future_ms else received


def copy_bytes(rows: ReadingRows) -> bytes:
    """The rows as the whole stream of one binary COPY, in the order of ``COPY_READINGS``."""
    wild = (rows.flags & Flag.CLOCK) != 0
    if not wild.any():
        return b"".join((_HEADER, _records(rows, _BLANK, None).tobytes(), _TRAILER))
    plain = _records(rows, _BLANK, ~wild)
    claimed = _records(rows, _BLANK_CLAIMED, wild)
    claimed["claimed_at"] = _microseconds(rows.claimed_at[wild])
    return b"".join((_HEADER, plain.tobytes(), claimed.tobytes(), _TRAILER))


def _records(
    rows: ReadingRows, blank: NDArray[np.void], chosen: NDArray[np.bool_] | None
) -> NDArray[np.void]:
    pick = slice(None) if chosen is None else chosen
    value = rows.value[pick]
    records = np.repeat(blank, len(value))
    records["captured_at"] = _microseconds(rows.captured_at[pick])
    records["received_at"] = _microseconds(rows.received_at[pick])
    records["value"] = value
    records["series_id"] = rows.series_id[pick]
    records["flags"] = rows.flags[pick]
    return records


def _microseconds(at_ms: Ints) -> Ints:
    return (at_ms - _POSTGRES_EPOCH_MS) * 1000
