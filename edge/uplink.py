"""The box's line to its district: numbered packets up by MQTT, receipts down.

One thread does it all, so that nothing here needs a lock: it waits for the socket, for a wake-up or for a
moment, lets the session read and write, and asks :mod:`edge.flow` what to send. A packet is done by its
*receipt*; the broker's PUBACK proves nothing, since the broker may lose all it holds.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from typing import Final

from common.runtime.clock import Clock
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.wire.topics import Address
from edge.database import DiskFullError
from edge.flow import Flow, Pace, Window
from edge.packets import Outbox
from edge.session import Counters, Session, UplinkError, UplinkFacts
from edge.settings import Broker, UplinkSettings

_LONGEST_TURN_S: Final = 0.25
_TRIM_EVERY_S: Final = 60.0
_STEADY_S: Final = 20.0
_UPLOAD_TURN: Final = 100
_log = get_logger("uplink")


class Unheard:
    """Notices, once a connection, that packets go and no receipt ever comes back.

    Mosquitto grants a subscription that it will never serve, and with MQTT 3.1.1 it acknowledges what it throws
    away (OASIS MQTT 3.1.1 section 3.3.5): rights that are too narrow then show in nothing but this silence.

    Args:
        receipts: how many had come when the connection began.
    """

    def __init__(self, receipts: int = 0) -> None:
        self._receipts = receipts
        self._said = False

    def noticed(self, late: int, receipts: int) -> bool:
        """Whether it is to be said now; ``late`` packets have just waited too long, ``receipts`` came so far."""
        if self._said or not late or receipts != self._receipts:
            return False
        self._said = True
        return True


class Uplink:
    """Sends what the outbox holds until every packet has its receipt.

    Args:
        address: whose packets.
        outbox: where they wait.
        broker: where to send them and as whom.
        settings: window, pace and patience.
        clock: wall time for status, monotonic time for waiting.
        counters: asked for what each status is to carry.
    """

    def __init__(
        self,
        address: Address,
        outbox: Outbox,
        broker: Broker,
        *,
        settings: UplinkSettings,
        clock: Clock,
        counters: Callable[[], Counters],
    ) -> None:
        self.facts = UplinkFacts()
        self._address = address
        self._outbox = outbox
        self._broker = broker
        self._settings = settings
        self._clock = clock
        self._counters = counters
        self._flow = Flow(
            outbox,
            Window(settings.window, settings.resend_after_s),
            Pace(settings.replay_per_s, max(settings.replay_per_s, 1.0)),
        )
        self._alarms_waiting = False
        self._unheard = Unheard()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    def wake(self) -> None:
        """Say that something was accepted; may be called from any thread."""
        try:
            self._wake_write.send(b"\0")
        except (BlockingIOError, OSError):
            return  # it is awake already, or gone

    def alarms_waiting(self) -> bool:
        """Whether an alarm is still to be sent that the broker would take; evidence waits for that."""
        if self.facts.connected:
            return self._alarms_waiting
        first = self._outbox.pending(1)
        return bool(first) and first[0].kind != "readings"

    def run(self, stop: Stop) -> None:
        """Connect, send, connect again; when stopped, wait for receipts a while and say farewell."""
        attempt = 0
        while not stop.is_set():
            began = self._clock.monotonic()
            try:
                self._converse(stop)
            except UplinkError as error:
                _log.warning(error.code, message=error.message, hint=error.hint)
            attempt = 0 if self._clock.monotonic() - began > _STEADY_S else attempt + 1
            ceiling = min(self._settings.reconnect_s * 2**attempt, self._settings.longest_reconnect_s)
            # Full jitter: ten thousand boxes must not come back in step.
            stop.wait(random.uniform(0.0, ceiling))
        self._wake_read.close()
        self._wake_write.close()

    def _converse(self, stop: Stop) -> None:
        session = Session(
            self._address,
            self._broker,
            settings=self._settings,
            clock=self._clock,
            flow=self._flow,
            facts=self.facts,
        )
        try:
            session.open()
            self._serve(session, stop)
            session.farewell(self._outbox.epoch, self._counters())
        finally:
            session.close()
            self._flow.disconnected()
            self.facts.connected = False

    def _serve(self, session: Session, stop: Stop) -> None:
        """Until the connection is lost (UplinkError), or stopped and drained."""
        status_due = trim_due = 0.0
        self._unheard = Unheard(self.facts.receipts)
        leave_at: float | None = None
        while True:
            now = self._clock.monotonic()
            if now >= status_due:
                session.say("online", self._outbox.epoch, self._counters())
                status_due = now + self._settings.status_every_s
            if now >= trim_due:
                self._trim()
                trim_due = now + _TRIM_EVERY_S
            self._expire(now)
            self._send(session, now)
            if stop.is_set():
                if leave_at is None:
                    leave_at = now + self._settings.drain_s
                    # No time left for patience: whatever has no receipt goes out once more before the box does.
                    self._flow.disconnected()
                if now >= leave_at or self._outbox.stats().unreceipted == 0:
                    return
            session.turn(_LONGEST_TURN_S, self._wake_read)

    def _send(self, session: Session, now: float) -> None:
        while chosen := self._flow.choose(now, min(session.quota, _UPLOAD_TURN)):
            for packet in chosen:
                held = self._outbox.payload(packet)
                if held is not None:
                    kind, payload = held
                    session.publish(packet, "readings" if kind == "readings" else "events", payload)
                    self._flow.window.sent(packet, now)
                    self.facts.sent += 1
        left = self._outbox.pending(1, self._flow.window.occupied)
        self._alarms_waiting = bool(left) and left[0].kind != "readings"

    def _expire(self, now: float) -> None:
        try:
            late = self._flow.expire(now)
        except DiskFullError as error:
            _log.error(error.code, message=error.message, hint=error.hint)
            return
        if late:
            self.facts.resent += late
            _log.info("uplink.receipts_late", packets=late)
        if self._unheard.noticed(late, self.facts.receipts):
            own = self._address.up("#")
            _log.error(
                "uplink.no_receipts",
                packets=late,
                hint="the broker took these packets and no receipt came: either no gateway runs, or the broker's rights"
                f" keep {self._address} from reading {self._address.down('receipt')} or, with MQTT 3.1.1, from"
                f" publishing {own}; packets are kept and sent again",
            )

    def _trim(self) -> None:
        try:
            self._outbox.trim()
        except DiskFullError as error:
            _log.error(error.code, message=error.message, hint=error.hint)
