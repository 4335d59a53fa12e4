"""A stream event and its form on the wire. Pure.

Source: WHATWG HTML, section 9.2, server-sent events.
"""

from __future__ import annotations

from dataclasses import dataclass

HEARTBEAT = b": still here\n\n"


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Something that changed; ``payload`` is JSON on one line."""

    event_id: int
    kind: str
    payload: str

    def encoded(self) -> bytes:
        """As a browser's EventSource reads it."""
        return f"id: {self.event_id}\nevent: {self.kind}\ndata: {self.payload}\n\n".encode()


def reset(event_id: int) -> bytes:
    """Tell a browser that events it missed are gone: it should load its page anew and go on from here."""
    return f'id: {event_id}\nevent: reset\ndata: {{"event_id": {event_id}}}\n\n'.encode()
