"""Acknowledgements in the order in which messages came, whoever is done with them first. Pure; not thread-safe.

The standard wants that order (MQTT 5.0, 4.6), and a broker finds a message at once when it is the oldest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable


class Arrivals:
    """The QoS 1 messages of one connection that are not acknowledged, by their packet ids."""

    def __init__(self) -> None:
        self._arrived: deque[int] = deque()
        self._in_hand: set[int] = set()

    def came(self, packet_ids: Collection[int]) -> None:
        """These came, in this order."""
        self._arrived.extend(packet_ids)
        self._in_hand.update(packet_ids)

    def done_with(self, packet_ids: Iterable[int]) -> list[int]:
        """These need not come again; which can be acknowledged now, in order."""
        self._in_hand.difference_update(packet_ids)
        arrived, in_hand = self._arrived, self._in_hand
        ready = []
        while arrived and arrived[0] not in in_hand:
            ready.append(arrived.popleft())
        return ready

    def clear(self) -> None:
        """The connection is gone, and its packet ids with it."""
        self._arrived.clear()
        self._in_hand.clear()
