"""What the reason codes of MQTT say. Source: MQTT 5.0 (OASIS, 2019), section 2.4; MQTT 3.1.1, table 3.1."""

from __future__ import annotations

from typing import Final

NORMAL: Final = 0x00
PROTOCOL_ERROR: Final = 0x82
UNSUPPORTED_VERSION: Final = 0x84
TAKEN_OVER: Final = 0x8E
#: How a broker that knows only 3.1.1 refuses a newer client.
UNSUPPORTED_LEVEL: Final = 0x01

_SAYS: Final = {
    0x00: "normal disconnection",
    0x01: "unsupported protocol level",
    0x02: "client identifier refused",
    0x03: "server unavailable",
    0x04: "wrong user name or password",
    0x05: "not authorized",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "unsupported protocol version",
    0x85: "client identifier not valid",
    0x86: "wrong user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "wrong authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter not valid",
    0x90: "topic name not valid",
    0x91: "packet identifier in use",
    0x93: "receive maximum exceeded",
    0x94: "topic alias not valid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format not valid",
    0x9A: "retain not supported",
    0x9B: "quality of service not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}


def says(reason: int) -> str:
    """A reason code in words."""
    return _SAYS.get(reason, f"reason {reason:#04x}")
