"""What every connection of ours is set to."""

from __future__ import annotations

import socket


def send_at_once(connection: socket.socket) -> None:
    """Let small messages go out without waiting for the last one's confirmation.

    Otherwise an alarm behind readings lies here until the other side's kernel has confirmed those, up to 40 ms
    (Nagle's algorithm, RFC 896, against delayed acknowledgement, RFC 1122 section 4.2.3.2).
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
