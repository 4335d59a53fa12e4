"""A gateway's time with a partition: from taking the lease to giving it up or losing it.

Three threads: paho's brings messages in, one decodes the next batch, and the caller's commits the present one,
acknowledges it and sends receipts. Both hand-overs are bounded, so what cannot be committed stays with the broker.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from common.runtime.clock import Clock
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.wire.codec import encode_receipt
from common.wire.messages import Readings
from gateway.batch import Flat, flatten
from gateway.config import GatewaySettings, IntakeSettings
from gateway.decode import Decoded, DecodedPacket, Decoder
from gateway.intake import Delivery, Intake
from gateway.lease import Lease, LeaseLostError
from gateway.metrics import GatewayMetrics
from gateway.receipts import ReceiptBook
from gateway.store import StoppedError, Store

_IDLE_SECONDS: Final = 0.1
#: How often the registry is looked at (through the store) while no message comes.
_REFRESH_SECONDS: Final = 2.0
_log = get_logger("tenure")


@dataclass(slots=True)
class Batch:
    """Messages that go into one transaction."""

    items: list[Decoded]
    deliveries: list[Delivery]
    flat: Flat | None = None


class Tenure:
    """Takes messages in until stopped, until the lease is lost, or until the broker's session is taken over."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        lease: Lease,
        intake: Intake,
        store: Store,
        metrics: GatewayMetrics,
        clock: Clock,
        look_beside: Callable[[], None] = lambda: None,
    ) -> None:
        """``look_beside`` is called now and then and raises what went wrong in the process's other threads."""
        self._look_beside = look_beside
        self._settings = settings
        self._lease = lease
        self._intake = intake
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._receipts = ReceiptBook(
            every_packets=settings.receipts.every_packets,
            every_s=settings.receipts.every_s,
            gap_s=settings.receipts.gap_s,
        )
        self._batches: queue.Queue[Batch] = queue.Queue(maxsize=1)
        self._ended = threading.Event()
        self._refreshed_at = clock.monotonic()

    def run(self, stop: Stop) -> str:
        """Why it ended: ``stopped``, ``lease lost`` or ``session taken over``."""
        try:
            self._store.commit([])  # reads registry, series and rule states
            self._intake.listen_to(self._store.sites())
            self._intake.start()
            with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
                decoding = pool.submit(self._decode)
                try:
                    return self._commit_until(stop, decoding)
                finally:
                    self._ended.set()
        except LeaseLostError as error:
            self._lease.mark_lost()
            _log.warning(error.message)
            return "lease lost"
        except StoppedError:
            return "stopped"
        finally:
            self._intake.close()
            self._store.close()

    def _commit_until(self, stop: Stop, decoding: Future[None]) -> str:
        while True:
            if decoding.done():
                decoding.result()  # it ends before we do only by a bug, which ends the process
            self._look_beside()
            if stop.is_set():
                return "stopped"
            if self._lease.is_lost():
                return "lease lost"
            if self._intake.has_ended():
                return "session taken over"
            self._commit_one()
            self._send_receipts()
            self._metrics.queue.set(self._intake.waiting())
            self._metrics.shed.set(self._intake.shed())

    def _commit_one(self) -> None:
        try:
            batch = self._batches.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            if self._clock.monotonic() - self._refreshed_at > _REFRESH_SECONDS:
                self._refreshed_at = self._clock.monotonic()
                self._store.commit([])
                self._intake.listen_to(self._store.sites())
            return
        began = self._clock.monotonic()
        result = self._store.commit(batch.items, batch.flat)
        self._intake.acknowledge(batch.deliveries)
        now = self._clock.monotonic()
        self._metrics.batch_seconds.observe(now - began)
        self._metrics.count(result)
        self._receipts.note(result.progress, result.incarnation, now)
        if now - self._refreshed_at > _REFRESH_SECONDS:
            self._refreshed_at = now
            self._intake.listen_to(self._store.sites())

    def _send_receipts(self) -> None:
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        for address, receipt in self._receipts.due(now, now_ms):
            if self._intake.publish(address.down("receipt"), encode_receipt(address, now_ms, receipt)):
                self._receipts.sent(address, receipt, now)
                self._metrics.receipts.inc()

    def _decode(self) -> None:
        decoder = Decoder()
        settings = self._settings.intake
        while not self._ended.is_set():
            deliveries = self._intake.poll(settings.batch_packets, _IDLE_SECONDS)
            if not deliveries:
                continue
            if settings.linger_ms and len(deliveries) < settings.batch_packets // 4:
                # A commit costs the disk's time whatever is in it: a moment's wait makes fewer, fuller ones.
                self._ended.wait(settings.linger_ms / 1000)
                deliveries += self._intake.poll(settings.batch_packets - len(deliveries), 0.0)
            for batch in _batches(decoder, deliveries, settings):
                batch.flat = flatten(batch.items)
                if not self._hand_over(batch):
                    return

    def _hand_over(self, batch: Batch) -> bool:
        while not self._ended.is_set():
            try:
                self._batches.put(batch, timeout=_IDLE_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def _batches(decoder: Decoder, deliveries: list[Delivery], settings: IntakeSettings) -> Iterator[Batch]:
    batch, rows = Batch([], []), 0
    for delivery in deliveries:
        item = decoder.decode(delivery.raw)
        batch.items.append(item)
        batch.deliveries.append(delivery)
        if isinstance(item, DecodedPacket) and isinstance(item.data, Readings):
            rows += sum(len(series.at) for series in item.data.series)
        if rows >= settings.batch_rows:
            yield batch
            batch, rows = Batch([], []), 0
    if batch.items:
        yield batch
