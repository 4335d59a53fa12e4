"""How wrong the boxes' clocks are, as far as one batch knows, and what that lets a gateway believe of old times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.batch import Columns, Device
from gateway.decode import DecodedPacket, DecodedStatus
from gateway.rows import Ints

#: What a box calls its own measure (edge/clock_offset.py), and from where on it is no number of anything real.
OFFSET_COUNTER: Final = "clock_offset_ms"
_UNREAL_MS: Final = 1e15


def behind_ms(waited_ms: int, offset: object) -> int:
    """How far behind ours a box's clock was when it said its status.

    The broker may have kept a status for days while no gateway ran, and its age then looks like a slow clock. The box
    itself measures its clock by the receipts and goes on with its monotonic clock when none come, so what it says
    holds however late it is heard. Nothing is heard before it is said, though: its clock is at most so far behind as
    the status is old, whatever it says.

    A box that lies of this gains nothing that it could not have by lying of the time at which it says its status.

    Args:
        waited_ms: when the status came by our clock, less when it was said by the box's.
        offset: what the box says would have to be added to its clock; None before its first receipt.
    """
    if isinstance(offset, int | float) and abs(offset) < _UNREAL_MS:
        return min(round(offset), waited_ms)
    return waited_ms


class ClocksOfBatch:
    """The clocks of one attempt at a batch.

    Args:
        future_ms: how far ahead of ours a clock may be and still count as right.
        past_ms: how far behind.
        replay_ms: how long a box may have kept what it sends now.
    """

    def __init__(self, *, future_ms: int, past_ms: int, replay_ms: int) -> None:
        self._future_ms = future_ms
        self._past_ms = past_ms
        self._replay_ms = replay_ms
        self._behind: dict[int, int] = {}

    def compare(self, device: Device, item: DecodedStatus) -> None:
        """What a box says right now tells its clock; what the broker kept of it does so only for want of better."""
        known = self._behind.get(device.device_id, device.clock_behind_ms)
        if item.status.state == "online" and (known is None or not item.raw.retain):
            self._behind[device.device_id] = behind_ms(
                item.raw.received_at - item.status.at, item.status.counters.get(OFFSET_COUNTER)
            )

    def past_of(self, device: Device, packet: DecodedPacket, at: int) -> int | None:
        """How far back something may lie: further than usual when a box with a right clock kept it till now."""
        return self._replay_ms if at <= packet.sent_at and self._is_right(device) else None

    def believe_replay(
        self,
        senders: Sequence[tuple[Device, DecodedPacket]],
        columns: Columns,
        captured: Ints,
        received: Ints,
        wild: NDArray[np.bool_],
    ) -> tuple[Ints, NDArray[np.bool_]]:
        """Of the readings from long ago, let those be that a box with a right clock kept through an outage.

        Args:
            senders: the packets with their devices, as ``columns.owner`` counts them.
            columns: their readings.
            captured: capture times (ms), held to their receipt.
            received: when they came (ms).
            wild: which had to be held.

        Returns:
            The capture times, and which of them are wild still.
        """
        rights = np.array([self._is_right(device) for device, _ in senders], bool)
        numbered = np.array([packet.sent_at for _, packet in senders], np.int64)
        claimed, owner = columns.claimed_at, columns.owner
        replayed = (
            wild
            & np.repeat(rights[owner], columns.lengths)
            & (claimed <= np.repeat(numbered[owner], columns.lengths))
            & (claimed <= received)
            & (claimed >= received - self._replay_ms)
        )
        return np.where(replayed, claimed, captured), wild & ~replayed

    def remember(self, devices: Iterable[Device]) -> None:
        """Take over what was learned, now that it is committed."""
        for device in devices if self._behind else ():
            device.clock_behind_ms = self._behind.get(device.device_id, device.clock_behind_ms)

    def _is_right(self, device: Device) -> bool:
        behind = self._behind.get(device.device_id, device.clock_behind_ms)
        return behind is not None and -self._future_ms <= behind <= self._past_ms
