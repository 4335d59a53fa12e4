"""Taking the port of the web interface."""

from __future__ import annotations

import errno
import socket

from common.runtime.errors import DrumtowerError


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 chooses a free one.

    Raises:
        DrumtowerError: the address or port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    # Inherited by what it accepts. Without it the body waits for the acknowledgement of the head: 40 ms on each answer.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(512)
    except OSError as error:
        listening.close()
        reason = {
            errno.EADDRINUSE: "is taken by another program",
            errno.EACCES: "may not be used by this account",
            errno.EADDRNOTAVAIL: "is not an address of this machine",
        }.get(error.errno or 0, f"cannot be used: {error.strerror}")
        raise DrumtowerError(
            "cloud.port_taken", f"{host}:{port} {reason}", "choose another: drumtower cloud run --port 8081"
        ) from error
    return listening
