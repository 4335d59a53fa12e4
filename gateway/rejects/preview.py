"""A reject's bytes as something a person can look at, whatever they are. Pure.

Nothing of a foreign message reaches the terminal but printable characters: escape sequences are shown, not obeyed.
"""

from __future__ import annotations

from typing import Final

from common.wire.codec import WireError, decode_packet, decode_status
from common.wire.messages import Abandoned, Events, Readings
from common.wire.topics import parse_up

_ROW: Final = 16
#: So much of other characters makes it binary: it is shown as hexadecimal.
_ODD_SHARE: Final = 0.25


def preview(payload: bytes, limit: int) -> list[str]:
    """The first ``limit`` bytes as lines: text with what cannot be printed escaped, or hexadecimal beside text."""
    shown = payload[:limit]
    text = shown.decode("utf-8", "replace")
    odd = sum(1 for one in text if not (one.isprintable() or one in "\n\r\t")) + text.count(
        "\N{REPLACEMENT CHARACTER}"
    )
    lines = (
        _hexadecimal(shown) if odd > _ODD_SHARE * len(text) else [printable(line) for line in _lines(shown)]
    )
    if len(payload) > limit:
        lines.append(f"… {len(payload) - limit} bytes more")
    return lines


def printable(text: str) -> str:
    """Text in which whatever a terminal could act on is spelled out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def content(topic: str, payload: bytes) -> str:
    """What the message says, in one line, as far as it can be read."""
    try:
        address, kind = parse_up(topic)
        if kind == "status":
            status = decode_status(payload, address)
            return printable(f"status {status.state} of {address}, version {status.version or 'unknown'}")
        packet = decode_packet(payload, address)
    except (WireError, ValueError) as error:
        return f"cannot be read: {printable(str(error))}"
    data = packet.data
    if isinstance(data, Readings):
        names = sorted({f"{one.sensor}/{one.metric}" for one in data.series})
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        said = f"{sum(len(one.at) for one in data.series)} readings of {', '.join(names[:5])}{more}"
    elif isinstance(data, Events):
        seen = sorted({f"{one.category} ({one.phase})" for one in data.observations})
        said = f"{len(data.observations)} observations: {', '.join(seen[:5])}"
    else:
        assert isinstance(data, Abandoned)
        said = f"{len(data.ranges)} ranges of epoch {data.epoch} given up: {data.reason}"
    return printable(f"packet {packet.epoch:x}-{packet.seq} with {said}")


def _lines(payload: bytes) -> list[str]:
    return payload.decode("utf-8", "backslashreplace").splitlines() or ["(empty)"]


def _hexadecimal(payload: bytes) -> list[str]:
    lines = []
    for at in range(0, len(payload), _ROW):
        row = payload[at : at + _ROW]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:08x}  {row.hex(' '):<{3 * _ROW}} {text}")
    return lines
