"""A connection to the broker as bytes that never block, with TLS or without.

TLS runs over memory: what the socket has is taken in one call and all its records are opened after that, where a
socket wrapped in TLS would give one record a call, and with it the interpreter away each time.
"""

from __future__ import annotations

import socket
import ssl
from typing import Final

from common.runtime.sockets import send_at_once
from gateway.config import BrokerAddress
from gateway.trust import telling_what_is_unreadable

READ_BYTES: Final = 256 * 1024
_RECORD: Final = 16 * 1024 + 256


class Transport:
    """An open connection; raises OSError (ssl.SSLError is one) when it breaks.

    Args:
        broker: where it is, and whom to trust.
        timeout_s: for the connection, and again for the handshake.
    """

    def __init__(self, broker: BrokerAddress, timeout_s: float) -> None:
        self._unsent = b""
        self._socket = socket.create_connection((broker.host, broker.port), timeout_s)
        self._tls: ssl.SSLObject | None = None
        try:
            send_at_once(self._socket)
            if broker.tls:
                self._shake_hands(broker)
        except OSError:
            self._socket.close()
            raise
        self._buffer = bytearray(READ_BYTES + _RECORD)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def read(self) -> memoryview:
        """What has come, possibly nothing; it counts until the next call.

        Raises:
            ConnectionError: when the broker has closed.
            OSError: when the connection broke.
        """
        view = memoryview(self._buffer)
        try:
            if self._tls is None:
                size = self._socket.recv_into(view, READ_BYTES)
                if not size:
                    raise ConnectionResetError("the broker closed the connection")
                return view[:size]
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return view[:0]
        if not data:
            raise ConnectionResetError("the broker closed the connection")
        self._incoming.write(data)
        return view[: self._open_records(self._tls, view)]

    def write(self, data: bytes) -> None:
        """Send this after what waits to be sent; ``wants_to_write`` says whether all went."""
        if self._tls is not None:
            if data:
                self._tls.write(data)
            data = self._outgoing.read()
        self._unsent += data
        if not self._unsent:
            return
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return

    def wants_to_write(self) -> bool:
        """Whether ``write(b"")`` is to be called when the socket has room again."""
        return bool(self._unsent)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _shake_hands(self, broker: BrokerAddress) -> None:
        with telling_what_is_unreadable(broker.ca_file):
            context = ssl.create_default_context(cafile=str(broker.ca_file) if broker.ca_file else None)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=broker.host)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._socket.sendall(self._outgoing.read())
                data = self._socket.recv(READ_BYTES)
                if not data:
                    raise ConnectionResetError("the broker closed the connection in the handshake") from None
                self._incoming.write(data)
            except ssl.SSLError:
                self._socket.sendall(self._outgoing.read())  # the alert that says why
                raise
            else:
                self._socket.sendall(self._outgoing.read())
                return

    def _open_records(self, tls: ssl.SSLObject, view: memoryview) -> int:
        size = 0
        try:
            while size < len(view):
                got = tls.read(READ_BYTES, view[size:])
                if not got:
                    break
                size += int(got)
        except ssl.SSLWantReadError:
            return size  # what came is opened
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        if not size:
            raise ConnectionResetError("the broker closed the connection")
        return size  # its last words first: the next read finds the end again
