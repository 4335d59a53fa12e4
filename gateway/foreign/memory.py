"""What a gateway remembers of foreign devices between batches; it only changes after a commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.adapters.channel import Channel
from gateway.adapters.numbering import Seen
from gateway.batch import Device, Series, StreamKey

_MAX_PLACES: Final = 100_000
_MAX_STREAMS: Final = 50_000


@dataclass(slots=True)
class Place:
    """A channel's device and the rows of its series, in the channel's order; None where there is none yet."""

    device: Device
    series: list[Series | None]


class ForeignMemory:
    """Channels that were looked up, digests of the newest messages, when presence was last written."""

    def __init__(self) -> None:
        self.places: dict[Channel, Place] = {}
        self.heard: dict[int, int] = {}
        self._seen: dict[StreamKey, Seen] = {}

    def forget_places(self) -> None:
        """The registry was read again: devices may have come, gone or moved."""
        self.places.clear()

    def keep_place(self, channel: Channel, place: Place) -> None:
        """Remember where a channel belongs."""
        if len(self.places) >= _MAX_PLACES:
            self.places.clear()
        self.places[channel] = place

    def seen(self, key: StreamKey) -> Seen | None:
        """The newest messages of a stream, if any are remembered."""
        return self._seen.get(key)

    def note(self, key: StreamKey, newer: Seen, window: int) -> None:
        """Remember a stream's newest messages."""
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= _MAX_STREAMS:
                del self._seen[next(iter(self._seen))]
            seen = self._seen[key] = Seen()
        seen.add(newer, window)
