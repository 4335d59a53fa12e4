"""What to send next: the window of packets under way, and the pace of what an outage left behind.

No sockets and no clock of its own: time is handed in, in monotonic seconds.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from common.wire.messages import Receipt
from edge.packets import Outbox, PacketId, Receipted
from edge.ranges import Range


@dataclass(slots=True)
class _Flight:
    sent_at: float
    acknowledged_at: float | None = None


class Window:
    """Packets that were sent and have no receipt yet.

    A packet leaves it by a receipt alone. The broker's acknowledgement only starts the wait for one; when
    that takes too long the packet is free to be sent again, each time after a longer wait, because a gateway
    that is away finds everything sent twice in its queue.

    Args:
        limit: packets under way at most, the only back-pressure a box feels.
        resend_after_s: first wait for a receipt.
        longest_wait_s: the wait does not double beyond this.
        refused_wait_s: when to try again what the broker refused.
        unheard_wait_s: first wait before sending again what the broker dropped because nobody had subscribed.
    """

    def __init__(
        self,
        limit: int = 1000,
        resend_after_s: float = 30.0,
        longest_wait_s: float = 960.0,
        refused_wait_s: float = 60.0,
        unheard_wait_s: float = 2.0,
    ) -> None:
        self._limit = limit
        self._resend_after_s = resend_after_s
        self._longest_wait_s = longest_wait_s
        self._refused_wait_s = refused_wait_s
        self._unheard_wait_s = unheard_wait_s
        self._wait_s = resend_after_s
        self._deaf_s = unheard_wait_s
        self._deaf_until = 0.0
        self._flights: dict[PacketId, _Flight] = {}
        self._refused: dict[PacketId, float] = {}

    @property
    def patience(self) -> tuple[float, float]:
        """The first and the longest wait for a receipt, in seconds."""
        return self._resend_after_s, self._longest_wait_s

    @property
    def in_flight(self) -> int:
        """Packets under way."""
        return len(self._flights)

    @property
    def unacknowledged(self) -> int:
        """Packets under way that the broker has not acknowledged."""
        return sum(1 for flight in self._flights.values() if flight.acknowledged_at is None)

    @property
    def room(self) -> int:
        """How many more may be sent."""
        return max(self._limit - len(self._flights), 0)

    @property
    def occupied(self) -> Collection[PacketId]:
        """What is not to be sent now: under way, or refused a short while ago."""
        return self._flights.keys() | self._refused.keys() if self._refused else self._flights.keys()

    def sent(self, packet: PacketId, now: float) -> None:
        """It went onto the wire."""
        self._flights[packet] = _Flight(now)

    def acknowledged(self, packet: PacketId, now: float) -> None:
        """The broker has it; that is not a receipt."""
        if packet in self._flights:
            self._flights[packet].acknowledged_at = now

    def refused(self, packet: PacketId, now: float) -> None:
        """The broker will not take it now."""
        if self._flights.pop(packet, None) is not None:
            self._refused[packet] = now + self._refused_wait_s

    def unheard(self, packet: PacketId, now: float) -> None:
        """The broker dropped it, for nobody had subscribed: a gateway that comes back finds nothing of it."""
        if now >= self._deaf_until:
            self._deaf_until = now + self._deaf_s
            self._deaf_s = min(self._deaf_s * 2, self._refused_wait_s)
        if self._flights.pop(packet, None) is not None:
            self._refused[packet] = self._deaf_until

    def receipted(self, receipt: Receipt) -> None:
        """The store has what the receipt speaks of, but for its gaps (those are :meth:`free_within`)."""
        self._wait_s = self._resend_after_s
        self._deaf_s = self._unheard_wait_s
        epoch = int(receipt.epoch, 16)
        done = [
            packet
            for packet in self._flights
            if packet.epoch == epoch
            and packet.seq <= max(receipt.upto, receipt.highest)
            and not any(first <= packet.seq <= last for first, last in receipt.gaps)
        ]
        for packet in done:
            del self._flights[packet]

    def free_within(self, epoch: int, ranges: Collection[Range]) -> list[PacketId]:
        """The store misses what was sent of these numbers: it may be sent again at once."""
        found = [
            packet
            for packet in self._flights
            if packet.epoch == epoch and any(first <= packet.seq <= last for first, last in ranges)
        ]
        for packet in found:
            del self._flights[packet]
        return found

    def clear(self) -> None:
        """The connection is gone, or the numbers are: nothing is under way."""
        self._flights.clear()
        self._refused.clear()

    def expire(self, now: float) -> int:
        """Free what has waited too long; how many packets."""
        self._refused = {packet: until for packet, until in self._refused.items() if until > now}
        late = [
            packet
            for packet, flight in self._flights.items()
            # Without an acknowledgement the connection itself is in doubt: twice the patience.
            if now - (flight.acknowledged_at or flight.sent_at)
            >= self._wait_s * (1 if flight.acknowledged_at is not None else 2)
        ]
        for packet in late:
            del self._flights[packet]
        if late:
            self._wait_s = min(self._wait_s * 2, self._longest_wait_s)
        return len(late)


class Pace:
    """A token bucket: so many a second, and a short burst.

    Args:
        per_s: tokens a second.
        burst: tokens at most, and at first.
    """

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._last: float | None = None

    def available(self, now: float) -> int:
        """Whole tokens there are now."""
        if self._last is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._last) * self._per_s)
        self._last = now
        return int(self._tokens)

    def take(self) -> None:
        """Use one."""
        self._tokens -= 1


@dataclass(slots=True)
class _News:
    """What the last receipt of an epoch said, and until when another is waited for."""

    upto: int
    wait_s: float
    due: float | None = None  # None: it came after the last look at the clock


class Flow:
    """Joins outbox, window and pace: asked what to send, told what became of it.

    Args:
        outbox: what waits.
        window: what is under way.
        replay: the pace of what an outage left behind; live packets do not wait for it.
    """

    def __init__(self, outbox: Outbox, window: Window, replay: Pace) -> None:
        self._outbox = outbox
        self._replay = replay
        self._missed: dict[PacketId, None] = {}
        self._news: dict[int, _News] = {}
        self._unsettle_all = False
        self.window = window

    def choose(self, now: float, limit: int = 100) -> list[PacketId]:
        """What to send now, the most urgent first; :meth:`Window.sent` is to be called for each.

        Fresh alarms, then what was sent and yet is missed by the store, then fresh readings, then old packets
        as far as the pace allows.
        """
        room = min(self.window.room, limit)
        if room <= 0:
            return []
        skip = {*self.window.occupied, *self._missed}
        fresh = self._outbox.pending(room, skip, fresh_only=True)
        chosen = [waiting.id for waiting in fresh if waiting.kind != "readings"]
        chosen += [packet for packet in self._missed if packet not in self.window.occupied]
        chosen += [waiting.id for waiting in fresh if waiting.kind == "readings"]
        chosen = chosen[:room]
        for packet in chosen:
            self._missed.pop(packet, None)
        old = min(room - len(chosen), self._replay.available(now))
        if old > 0:
            chosen += self._replayed(old, {*skip, *chosen})
        return chosen

    def receipt(self, receipt: Receipt) -> Receipted:
        """Take in a receipt: outbox first, then what is under way.

        Raises:
            DiskFullError: not all of it could be written down; what is under way stays so until the next one.
        """
        changed = self._outbox.receipt(receipt)
        if changed.forked or changed.restored:
            # Numbers were issued anew, or the store forgot what it had: all that is under way counts for nothing.
            self.disconnected()
        epoch = int(receipt.epoch, 16)
        self.window.receipted(receipt)
        self._note_news(epoch, receipt.upto)
        # A gap names also what waits for its turn in a replay; only what was sent already need not wait again.
        missed = self.window.free_within(epoch, changed.missed)
        self._missed.update(dict.fromkeys(missed))
        return changed

    def _replayed(self, limit: int, skip: Collection[PacketId]) -> list[PacketId]:
        """Old packets, each for a token."""
        old = [waiting.id for waiting in self._outbox.pending(limit, skip) if not waiting.fresh]
        for _ in old:
            self._replay.take()
        return old

    def disconnected(self) -> None:
        """Nothing is under way any more; all that has no receipt is sent again from the next expiry on."""
        self.window.clear()
        self._missed.clear()
        self._news.clear()
        self._unsettle_all = True

    def expire(self, now: float) -> int:
        """Free what has waited too long for a receipt, or for a second word; how many packets were under way.

        The age of a gap is known to one gateway alone, and only in memory. When that one dies before it tells
        of the gap, or what it said is lost, a packet that counts as settled may be the gap itself. So without
        news of its epoch it is sent again; each time after a longer wait, as long as the receipts stand still.

        Raises:
            DiskFullError: what waits again could not be written down; the next call tries it again.
        """
        late = self.window.expire(now)
        if self._unsettle_all:
            self._outbox.unsettle()
            self._unsettle_all = False
        for epoch, news in list(self._news.items()):
            if news.due is None:
                news.due = now + news.wait_s
            elif now >= news.due:
                self._outbox.unsettle(epoch)
                news.due = math.inf
        return late

    def _note_news(self, epoch: int, upto: int) -> None:
        first_wait_s, longest_wait_s = self.window.patience
        known = self._news.get(epoch)
        if known is None or upto > known.upto:
            self._news[epoch] = _News(upto, first_wait_s)
        elif known.due == math.inf:
            self._news[epoch] = _News(known.upto, min(known.wait_s * 2, longest_wait_s))
        else:
            known.due = None
