"""A gateway's time with a partition: from taking the lease to giving it up or losing it.

The intake's thread brings messages in, one thread decodes, and some *committers* work through the batches, each
with a connection of its own. A device always belongs to the same committer, so its packets stay in order and no
two transactions want the same rows; what one committer computes, another's database work overlaps. The caller's
thread sends receipts. Every hand-over is bounded, so what cannot be committed stays with the broker.
"""

from __future__ import annotations

import queue
import threading
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from common.runtime.clock import Clock
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.wire.codec import encode_receipt
from common.wire.messages import Readings
from common.wire.topics import Address
from gateway.adapters.adapters import Adapters
from gateway.backlog import Backlog, Batch, Turns
from gateway.batch import BatchResult
from gateway.config import GatewaySettings, IntakeSettings
from gateway.decode import Decoded, DecodedPacket, Decoder, ForeignDecoder, ForeignReading, columns_of
from gateway.intake import Delivery, Intake
from gateway.lease import Lease, LeaseLostError
from gateway.metrics import GatewayMetrics
from gateway.receipts import ReceiptBook
from gateway.store import StoppedError, Store

_IDLE_SECONDS: Final = 0.1
#: Results are taken in this much at a time: looking after every commit for due receipts of all boxes costs as much as
#: decoding a quarter of what was committed.
_TOGETHER_SECONDS: Final = 0.05
#: How often the registry is looked at (through the store) while no message comes.
_REFRESH_SECONDS: Final = 2.0
#: A batch under way when the gateway is told to stop may take so long.
_STOP_SECONDS: Final = 5.0
_CACHED_ADDRESSES: Final = 50_000
#: Messages decoded before they are handed over.
_AT_ONCE: Final = 128
_BYTES_A_ROW: Final = 30
_log = get_logger("tenure")


class Committer:
    """Commits and acknowledges the batches of its share of the devices."""

    def __init__(
        self,
        store: Store,
        intake: Intake,
        backlog: Backlog,
        *,
        turns: Turns,
        metrics: GatewayMetrics,
        clock: Clock,
    ) -> None:
        self.backlog = backlog
        self._turns = turns
        self.store = store
        self._intake = intake
        self._metrics = metrics
        self._clock = clock
        self.committed_at = clock.monotonic()

    def commit_until(self, ended: threading.Event, results: queue.Queue[BatchResult]) -> None:
        """Commit what comes; with nothing to do, keep the registry fresh."""
        refreshed_at = self._clock.monotonic()
        while not ended.is_set():
            if not self.backlog.wait(_IDLE_SECONDS):
                if self._clock.monotonic() - refreshed_at > _REFRESH_SECONDS:
                    self.store.commit([])
                    self.committed_at = refreshed_at = self._clock.monotonic()
                continue
            batch = self.backlog.take()
            began = self._clock.monotonic()
            result = self.store.commit(batch.items, partial(self._turn, batch))
            self.committed_at = self._clock.monotonic()
            self._intake.acknowledge(batch.deliveries)
            self._metrics.batch_seconds.observe(self._clock.monotonic() - began)
            results.put(result)

    def _turn(self, batch: Batch) -> AbstractContextManager[None]:
        return self._turns.turn(self.backlog.patience_s(batch))


class Tenure:
    """Takes messages in until stopped, until the lease is lost, or until the broker's session is taken over."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        lease: Lease,
        intake: Intake,
        stores: Sequence[Store],
        metrics: GatewayMetrics,
        clock: Clock,
        foreign: Adapters | None = None,
    ) -> None:
        """``foreign`` reads what foreign devices say."""
        self._foreign = foreign
        self._topics = frozenset[str]() if foreign is None else foreign.filters(lease.partition)
        self._settings = settings
        self._lease = lease
        self._intake = intake
        self._metrics = metrics
        self._clock = clock
        self._receipts = ReceiptBook(
            every_packets=settings.receipts.every_packets,
            every_s=settings.receipts.every_s,
            gap_s=settings.receipts.gap_s,
        )
        turns = Turns()
        self._committers = [
            Committer(
                store, intake, _backlog(settings.intake, clock), turns=turns, metrics=metrics, clock=clock
            )
            for store in stores
        ]
        # A SimpleQueue waited on with a timeout waits for ever when a signal comes as the time runs out (CPython 3.11: what
        # is left of it is negative then), and it is the thread that signals come to that waits.
        self._results: queue.Queue[BatchResult] = queue.Queue()
        self._strays: set[str] = set()
        self._ended = threading.Event()

    def run(self, stop: Stop) -> str:
        """Why it ended: ``stopped``, ``lease lost``, ``lease not fresh``, ``session taken over`` or ``intake died``."""
        over = threading.Event()
        threading.Thread(target=self._hasten, args=(stop, over), name="hasten", daemon=True).start()
        try:
            for committer in self._committers:
                committer.store.commit([])  # reads registry, series and rule states
                committer.committed_at = self._clock.monotonic()
            self._intake.listen_to(self._sites(), self._topics)
            self._intake.start()
            with ThreadPoolExecutor(1 + len(self._committers), thread_name_prefix="tenure") as pool:
                working = [pool.submit(self._decode)]
                working += [
                    pool.submit(committer.commit_until, self._ended, self._results)
                    for committer in self._committers
                ]
                try:
                    return self._tell_until(stop, working)
                finally:
                    self._ended.set()
        except LeaseLostError as error:
            self._lease.mark_lost()
            _log.warning(error.message)
            return "lease lost"
        except StoppedError:
            return "stopped"
        finally:
            over.set()
            self._intake.close()
            for committer in self._committers:
                committer.store.close()

    def _hasten(self, stop: Stop, over: threading.Event) -> None:
        """End statements that outlive the order to stop: a table may be locked for hours.

        Until all are gone the partition is held, and no other gateway takes it over.
        """
        while not stop.wait(1.0):
            if over.is_set():
                return
        patience = _STOP_SECONDS
        while not over.wait(patience):
            for committer in self._committers:
                committer.store.interrupt()
            patience = 1.0

    def _tell_until(self, stop: Stop, working: list[Future[None]]) -> str:
        refreshed_at = self._clock.monotonic()
        while True:
            for future in working:
                if future.done():
                    future.result()  # none of them ends before we do, except by an error
            if stop.is_set():
                return "stopped"
            if self._lease.is_lost():
                return "lease lost"
            if self._intake.has_ended():
                return self._why_no_intake()
            self._note_results()
            self._send_receipts()
            self._lease.committed(min(committer.committed_at for committer in self._committers))
            self._metrics.commit_age.set(self._lease.working_age_s())
            self._metrics.queue.set(self._intake.waiting())
            self._metrics.shed.set(self._intake.shed())
            if self._clock.monotonic() - refreshed_at > _REFRESH_SECONDS:
                refreshed_at = self._clock.monotonic()
                self._listen()
            stop.wait(_TOGETHER_SECONDS)

    def _why_no_intake(self) -> str:
        if not self._intake.has_died():
            if self._lease.is_lost():
                return "lease lost"
            # It may be fresh again by now: what counts is what the intake was told when it gave up.
            return "lease not fresh" if self._lease.forbade() else "session taken over"
        _log.error(
            "the intake's thread died of a fault of ours; another intake takes over where it was",
            hint="no gateway took anything away: report it, with what stands above as the thread's exception",
        )
        return "intake died"

    def _listen(self) -> None:
        """Hear the sites that are ours now, and no others.

        The broker keeps a session's subscriptions through a gateway's absence, those too of sites that left meanwhile;
        nobody here knows of them but by what they bring. What is listened to first can be left.
        """
        sites = self._sites()
        if self._strays:
            self._intake.listen_to(sites | self._strays, self._topics)
            self._strays.clear()
        self._intake.listen_to(sites, self._topics)

    def _sites(self) -> frozenset[str]:
        return self._committers[0].store.sites()

    def _note_results(self) -> None:
        """Take in what was committed; waits a little for the first."""
        try:
            result = self._results.get(timeout=_IDLE_SECONDS)
            while True:
                self._metrics.count(result)
                self._strays |= result.strays
                self._receipts.note(result.progress, result.incarnation, self._clock.monotonic())
                result = self._results.get_nowait()
        except queue.Empty:
            return

    def _send_receipts(self) -> None:
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        for address, receipt in self._receipts.due(now, now_ms):
            if self._intake.publish(address.down("receipt"), encode_receipt(address, now_ms, receipt)):
                self._receipts.sent(address, receipt, now)
                self._metrics.receipts.inc()

    def _decode(self) -> None:
        share = Sharing(len(self._committers), self._foreign)
        while not self._ended.is_set():
            deliveries = self._intake.poll(_AT_ONCE, _IDLE_SECONDS)
            for number, batch in share.shares(deliveries):
                if not self._hand_over(self._committers[number], batch):
                    return

    def _hand_over(self, committer: Committer, batch: Batch) -> bool:
        while not self._ended.is_set():
            if committer.backlog.put(batch, _IDLE_SECONDS):
                return True
        return False


class Sharing:
    """Decodes messages and shares them out: a device always to the same committer.

    Args:
        shares: how many committers there are.
        foreign: reads what foreign devices say.
    """

    def __init__(self, shares: int, foreign: ForeignDecoder | None = None) -> None:
        self._decoder = Decoder(foreign, columnar=True)
        self._shares = shares
        self._share_of: dict[Address, int] = {}

    def shares(self, deliveries: Sequence[Delivery]) -> Iterator[tuple[int, Batch]]:
        """Messages with the number of their committer, each device's in order."""
        batches = [Batch() for _ in range(self._shares)]
        for delivery in deliveries:
            item = self._decoder.decode(delivery.raw)
            if isinstance(item, ForeignReading):
                number, rows = item.channel.share % self._shares, len(item.values)
            else:
                number, rows = self._share(item.address), rows_of(item)
            batches[number].add(item, delivery, rows)
        for number, batch in enumerate(batches):
            if batch.items:
                yield number, batch

    def _share(self, address: Address | None) -> int:
        if address is None:
            return 0
        number = self._share_of.get(address)
        if number is None:
            if len(self._share_of) >= _CACHED_ADDRESSES:
                self._share_of.clear()
            number = self._share_of[address] = zlib.crc32(str(address).encode()) % self._shares
        return number


def rows_of(item: Decoded) -> int:
    """How many rows a message counts for: its readings, or as many as would take its bytes."""
    if isinstance(item, DecodedPacket) and isinstance(item.data, Readings):
        return len(columns_of(item))
    return 1 + item.raw.size // _BYTES_A_ROW


def _backlog(settings: IntakeSettings, clock: Clock) -> Backlog:
    return Backlog(
        most_rows=settings.batch_rows,
        most_messages=settings.batch_packets,
        linger_s=settings.linger_ms / 1000,
        clock=clock,
    )
