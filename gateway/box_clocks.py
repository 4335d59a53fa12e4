"""How wrong the boxes' clocks are, as far as one batch knows, and what that lets a gateway believe of old times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.batch import Columns, Device
from gateway.decode import DecodedPacket, DecodedStatus
from gateway.rows import Ints


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
            self._behind[device.device_id] = item.raw.received_at - item.status.at

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
