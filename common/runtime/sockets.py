"""What every connection of ours is set to."""

from __future__ import annotations

import socket


def send_at_once(connection: object) -> None:
    """Let small messages go out without waiting for the last one's confirmation.

    Otherwise an alarm behind readings lies here until the other side's kernel has confirmed those, up to 40 ms
    (Nagle's algorithm, RFC 896, against delayed acknowledgement, RFC 1122 section 4.2.3.2). What is no TCP
    socket itself, as MQTT over WebSockets, stays as it is.
    """
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
