"""Waking a thread that waits for a socket."""

from __future__ import annotations

import socket
import threading


class Waker:
    """A socket beside those that a thread waits for: readable from the first call of ``wake`` until it sleeps again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._awake = False
        self._hears, self._wakes = socket.socketpair()
        self._hears.setblocking(False)
        self._wakes.setblocking(False)

    def fileno(self) -> int:
        """What to wait for."""
        return self._hears.fileno()

    def wake(self) -> None:
        """Any thread's: have the waiting one look at what is to be done."""
        with self._lock:
            if self._awake:
                return
            self._awake = True
            self._wakes.send(b"\0")

    def sleep_again(self) -> None:
        """The waiting thread's, before it looks."""
        with self._lock:
            if not self._awake:
                return
            self._awake = False
            self._hears.recv(16)  # under the lock: a byte sent meanwhile would be taken with the flag left up

    def close(self) -> None:
        """Nobody is there to be woken any more."""
        with self._lock:
            self._awake = True
            self._wakes.close()
            self._hears.close()
