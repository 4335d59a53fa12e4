"""What is wrong with a message besides what the codec sees: a reason and words for it, or None. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from common.wire import ids
from common.wire.codec import MAX_PACKET_BYTES, Data
from common.wire.messages import Abandoned, Events, Readings, Status

#: What may come on a topic of each kind; statuses besides.
KINDS: Final[dict[str, tuple[type[Data], ...]]] = {"readings": (Readings,), "events": (Events, Abandoned)}
#: The reason of a reject, and its message.
Fault = tuple[str, str]
_encoder: Final = msgspec.json.Encoder()


def outside(size: int, kind: str) -> Fault | None:
    """What is wrong with a message of so many bytes on a topic of this kind, before anybody looks inside."""
    if size > MAX_PACKET_BYTES:
        return "too_large", f"expected at most {MAX_PACKET_BYTES} bytes, got {size}"
    if kind != "status" and kind not in KINDS:
        return "unsupported_kind", f"expected readings, events or status, got {kind}"
    return None


def of_data(data: Data, kind: str) -> Fault | None:
    """What is wrong with what a packet on a topic of this kind holds."""
    if not isinstance(data, KINDS[kind]):
        return "wrong_topic", f"expected {kind} on this topic, got {type(data).__name__.lower()}"
    if isinstance(data, Readings):
        return None
    return _of_text(data) or (None if isinstance(data, Events) else _of_ranges(data))


def of_status(status: Status) -> Fault | None:
    """What is wrong with a status."""
    texts = [status.version, *status.counters, *map(str, status.counters.values())]
    if any("\0" in text for text in texts):
        return "null_character", "expected text without U+0000, got one inside a string"
    return _of_text(status) or _of_epoch(status.epoch)


def _of_text(data: Events | Abandoned | Status) -> Fault | None:
    """JSON can spell half of a surrogate pair, which no UTF-8 text and so no store can hold."""
    try:
        _encoder.encode(data)
    except (ValueError, OverflowError) as error:
        return "not_text", f"expected text that UTF-8 can hold and numbers of 64 bits: {error}"
    return None


def _of_ranges(data: Abandoned) -> Fault | None:
    if fault := _of_epoch(data.epoch):
        return fault
    for first, last in data.ranges:
        if not 1 <= first <= last <= ids.MAX_SEQ:
            message = f"expected ranges of sequence numbers from 1 on, first before last, got {first}–{last}"
            return "wrong_shape", message
    return None


def _of_epoch(epoch: str | None) -> Fault | None:
    if epoch is None or int(epoch, 16) <= ids.MAX_EPOCH:
        return None
    return "wrong_shape", f"expected an epoch up to {ids.MAX_EPOCH:x}, got {epoch}"
