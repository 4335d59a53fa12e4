"""A gateway as ``drumtower gateway run`` puts it together, but for its intake: messages come through a pipe.

Everything behind the intake's port is the real thing: decoding, batches, committers, transactions, rejects, receipts. Only
what it remembers is smaller, so that all of it is full long before the half of a run: what grows then grows for ever.
Standard input carries frames (``pack``); standard output one JSON line now and then with how many messages are
acknowledged and how much memory the process has.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Final

from common.runtime.clock import SystemClock
from common.runtime.config import load_config
from common.runtime.log import configure_logging
from common.runtime.stop import Stop
from common.wire.codec import MAX_PACKET_BYTES
from gateway import decode, memory, receipts, tenure, transaction
from gateway.adapters import adapters
from gateway.adapters.mapping import load_mappings
from gateway.app import Gateway
from gateway.config import GatewaySettings, read_environment
from gateway.decode import KEPT_OF_OVERSIZED, RawMessage
from gateway.foreign import memory as foreign
from gateway.foreign.cli import folder_of
from gateway.intake import Delivery, Intake
from gateway.lease import Lease

_FRAME: Final = struct.Struct("<II")
_MOST_WAITING: Final = 4000
_TELL_EVERY_S: Final = 0.25
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_REMEMBERS: Final[tuple[tuple[ModuleType, str, float], ...]] = (
    (transaction, "_REMEMBERED", 4096),
    (decode, "_CACHED_TOPICS", 1000),
    (decode, "_CACHED_NAMES", 2000),
    (decode, "_CACHED_SHAPE_NAMES", 2000),
    (tenure, "_CACHED_ADDRESSES", 1000),
    (adapters, "_CACHED_TOPICS", 1000),
    (memory, "_KNOWN_STREAMS", 500),
    (memory, "_KNOWN_CATEGORIES", 20),
    (foreign, "_MAX_STREAMS", 100),
    (receipts, "_IDLE_SECONDS", 20.0),
)


def pack(topic: str, payload: bytes) -> bytes:
    """A message as a frame."""
    name = topic.encode("utf-8", "surrogatepass")
    return _FRAME.pack(len(name), len(payload)) + name + payload


class PipeIntake:
    """The intake's port over a pipe; a full queue holds the sender back.

    Args:
        source: of frames.
        stop: set when the pipe has ended and everything is acknowledged.
    """

    def __init__(self, source: BinaryIO, stop: Stop) -> None:
        self._source = source
        self._stop = stop
        self._clock = SystemClock()
        self._queue: deque[Delivery] = deque()
        self._changed = threading.Condition()
        self._taken = self.acknowledged = 0
        self._thread = threading.Thread(target=self._read, name="pipe", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()
        threading.Thread(target=self._tell, name="teller", daemon=True).start()

    def poll(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Up to ``limit`` messages; waits for the first one at most that long."""
        with self._changed:
            if not self._queue:
                self._changed.wait(timeout_s)
            taken = [self._queue.popleft() for _ in range(min(limit, len(self._queue)))]
            self._changed.notify_all()
            return taken

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Count them."""
        count = sum(1 for _ in deliveries)
        with self._changed:
            self.acknowledged += count

    def publish(self, topic: str, payload: bytes) -> bool:  # noqa: ARG002 - nobody listens
        """Receipts go nowhere."""
        return True

    def listen_to(self, *_: Any) -> None:
        """Everything is heard anyway."""

    def is_connected(self) -> bool:
        """Always."""
        return True

    def has_ended(self) -> bool:
        """Never by itself."""
        return False

    def has_died(self) -> bool:
        """Never."""
        return False

    def waiting(self) -> int:
        """How many messages are queued."""
        return len(self._queue)

    def shed(self) -> int:
        """Nothing is: the sender waits."""
        return 0

    def close(self) -> None:
        """Nothing to close."""

    def _read(self) -> None:
        while head := self._source.read(_FRAME.size):
            name, size = _FRAME.unpack(head)
            topic = self._source.read(name).decode("utf-8", "surrogatepass")
            payload = self._source.read(size) if size else b""
            self._put(RawMessage(topic, kept_of(payload), False, self._clock.now_ms(), size))
        while self.acknowledged < self._taken:
            time.sleep(0.05)
        self._stop.set("the pipe ended")

    def _put(self, raw: RawMessage) -> None:
        with self._changed:
            while len(self._queue) >= _MOST_WAITING:
                self._changed.wait()
            self._taken += 1
            self._queue.append(Delivery(raw, 0, self._taken, 1))
            self._changed.notify_all()

    def _tell(self) -> None:
        while True:
            time.sleep(_TELL_EVERY_S)
            print(
                json.dumps({"acknowledged": self.acknowledged, "rss_mb": round(resident_mb(), 2)}), flush=True
            )


def kept_of(payload: bytes) -> bytes:
    """What is kept of a payload: of one that is too large only the beginning."""
    return payload if len(payload) <= MAX_PACKET_BYTES else payload[:KEPT_OF_OVERSIZED]


def resident_mb() -> float:
    """Resident memory of this process in MiB (Linux)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE / 2**20


class PipedGateway(Gateway):
    """The gateway with the pipe."""

    def intake_from(self, source: BinaryIO, stop: Stop) -> None:
        """Say where messages come from."""
        self._pipe = PipeIntake(source, stop)

    def _intake(self, lease: Lease) -> Intake:
        lease.listening(connected=True)
        return self._pipe


def main() -> None:
    """Run until standard input ends: CONFIG."""
    configure_logging("gateway", level="error")
    for module, name, size in _REMEMBERS:
        assert getattr(module, name) > size, f"{module.__name__}.{name} is another now"
        setattr(module, name, size)
    stop = Stop().on_signals()
    config = Path(sys.argv[1])
    settings = load_config(config, GatewaySettings)
    mappings = load_mappings(folder_of(config), settings.catalogue())
    gateway = PipedGateway(settings, read_environment(), foreign=mappings)
    gateway.intake_from(sys.stdin.buffer, stop)
    gateway.start(stop)
    gateway.run(stop)


if __name__ == "__main__":
    main()
