"""TCP ports of the loopback address: which are free, who was given which, and a server's own for its life."""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path

from local.processes import ServiceError

_LOOPBACK = "127.0.0.1"
_ATTEMPTS = 5
#: What this process was given by `free_port`, each held by a socket of the kernel's namespace until it ends.
_CLAIMS: list[socket.socket] = []


class PortTakenError(ServiceError):
    """A server was to listen where another program does."""

    def __init__(self, port: int, service: str, way_out: str = "choose another port") -> None:
        super().__init__(
            "service.port_taken",
            f"port {port} of {_LOOPBACK} is taken, and {service} was to listen there",
            f"end the program that listens on it (`ss -ltnp` shows which), or {way_out}",
        )


class ServicePort:
    """The port of one server: the given one, or one chosen at its first start and kept from then on.

    Args:
        service: the server, as a message names it.
        given: the port it has to have; None chooses a free one.
    """

    def __init__(self, service: str, given: int | None) -> None:
        self._service = service
        self._number = given
        self._may_change = given is None

    @property
    def number(self) -> int:
        """The port; raises ServiceError before the first start where none was given."""
        if self._number is None:
            raise ServiceError(
                "service.not_started", f"{self._service} has no port before its first start", "start it"
            )
        return self._number

    def start(self, launch: Callable[[int], None]) -> None:
        """Let `launch` start the server on the port; on another where that may be and the first was taken meanwhile.

        Args:
            launch: given the port; returns once the server listens, raises PortTakenError where it cannot.

        Raises:
            PortTakenError: the port is taken and may not be changed, or so was every other one tried.
            ServiceError: what else `launch` raises, or this account may not listen there.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            if self._number is None:
                self._number = free_port()
            try:
                require_free(self._number, self._service)
                launch(self._number)
            except PortTakenError:
                if not self._may_change or attempt == _ATTEMPTS:
                    raise
                self._number = None  # somebody else's program took it in between: choose again
            else:
                # Clients hold the address now: a restart must come back to it.
                self._may_change = False
                return


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on, and that no other process is given while this one lives.

    Between the choice and the server's start, and while a killed server is down, nobody listens: so the port is
    claimed by an abstract Unix socket of its number, see unix(7), which goes with the process and counts for
    whoever shares the loopback address.

    Taken from below the kernel's ephemeral range: a client that reconnects in a loop to a stopped server on an
    ephemeral port may be given that very port as its own and so connect to itself, and the server cannot return.
    """
    limits = Path("/proc/sys/net/ipv4/ip_local_port_range")
    ephemeral = int(limits.read_text(encoding="ascii").split()[0]) if limits.exists() else 32768
    chooser = random.SystemRandom()
    for _ in range(200):
        port = chooser.randrange(min(20000, ephemeral - 5000), ephemeral)
        if _binding_error(port) is None and _claim(port):
            return port
    raise ServiceError(
        "service.no_port", "no free TCP port found on 127.0.0.1", "end some of the running servers"
    )


def require_free(port: int, service: str, way_out: str = "choose another port") -> None:
    """See that `service` can listen on `port` of 127.0.0.1.

    Raises:
        PortTakenError: another program does; `way_out` ends its hint.
        ServiceError: this account may not.
    """
    error = _binding_error(port)
    if error == errno.EADDRINUSE:
        raise PortTakenError(port, service, way_out)
    if error is not None:
        raise ServiceError(
            "service.port_refused",
            f"{service} may not listen on port {port}: {os.strerror(error)}",
            way_out,
        )


def _claim(port: int) -> bool:
    """Whether the port is this process's from now on."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0drumtower-port-{port}")
    except OSError as error:
        claim.close()
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    _CLAIMS.append(claim)
    return True


def _binding_error(port: int) -> int | None:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((_LOOPBACK, port))
            tried.listen(1)
        except OSError as error:
            return error.errno
    return None
