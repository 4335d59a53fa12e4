"""When each box is told what is committed of its packets. No I/O: progress in, due receipts out.

A receipt is due after a number of packets or some seconds, at once after an event, at once for a stream that this
gateway has not told of yet, or forgot as it was quiet (it may have waited through an outage), and when missing ranges
turn old. Repeats make receipts due as well: whoever sends again does not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from common.wire.messages import Receipt
from common.wire.topics import Address
from gateway.batch import Progress

#: A stream that is quiet for so long, and for twice the times below, is forgotten: what comes after those is told of at
#: once anyway, and a box that begins one stream after the other shall not fill the memory.
_IDLE_SECONDS: Final = 60.0
#: Ranges in one receipt; the rest follows when these are filled.
_MAX_GAPS: Final = 500


@dataclass(slots=True)
class _Account:
    upto: int = 0
    highest: int = 0
    packets: int = 0
    urgent: bool = True
    told_at: float = 0.0
    noted_at: float = 0.0
    gap_seen_at: dict[tuple[int, int], float] = field(default_factory=dict)
    told_gaps: tuple[tuple[int, int], ...] = ()


class ReceiptBook:
    """What is to be receipted, by device and epoch.

    Args:
        every_packets: packets after which a receipt is due.
        every_s: seconds after which one is due, if there was any packet.
        gap_s: how old a missing range must be to be told of (out-of-order packets fill younger ones).
    """

    def __init__(self, *, every_packets: int = 100, every_s: float = 10.0, gap_s: float = 10.0) -> None:
        self._every_packets = every_packets
        self._every_s = every_s
        self._gap_s = gap_s
        self._idle_s = max(_IDLE_SECONDS, 2 * every_s, 2 * gap_s)
        self._accounts: dict[tuple[Address, int], _Account] = {}
        self._incarnation = ""

    def __len__(self) -> int:
        """How many streams are remembered."""
        return len(self._accounts)

    def note(self, progress: Iterable[Progress], incarnation: str, now: float) -> None:
        """Take in what a commit came to; ``now`` in monotonic seconds."""
        if incarnation and incarnation != self._incarnation:
            # Another store: how far the one before had come says nothing of this one.
            self._accounts.clear()
            self._incarnation = incarnation
        for one in progress:
            account = self._accounts.get((one.address, one.epoch))
            if account is None:
                account = self._accounts[one.address, one.epoch] = _Account()
            account.upto, account.highest = one.upto, one.highest
            account.packets += one.packets
            account.urgent = account.urgent or one.urgent
            account.noted_at = now
            account.gap_seen_at = _aged(account.gap_seen_at, one.gaps[:_MAX_GAPS], now)

    def due(self, now: float, now_ms: int) -> list[tuple[Address, Receipt]]:
        """The receipts to send now; say ``sent`` of those that went out."""
        found = []
        for key, account in list(self._accounts.items()):
            gaps = self._old_gaps(account, now)
            if account.packets or account.urgent:
                late = now - account.told_at >= self._every_s
                wanted = account.urgent or late or account.packets >= self._every_packets
            else:
                wanted = bool(gaps) and gaps != account.told_gaps
            if wanted:
                found.append((key[0], self._receipt(key[1], account, gaps, now_ms)))
            elif now - account.noted_at > self._idle_s:
                del self._accounts[key]
        return found

    def sent(self, address: Address, receipt: Receipt, now: float) -> None:
        """A receipt went out."""
        account = self._accounts.get((address, int(receipt.epoch, 16)))
        if account is not None:
            account.packets = 0
            account.urgent = False
            account.told_at = now
            account.told_gaps = tuple(receipt.gaps)

    def _receipt(
        self, epoch: int, account: _Account, gaps: tuple[tuple[int, int], ...], now_ms: int
    ) -> Receipt:
        return Receipt(
            epoch=f"{epoch:x}",
            upto=account.upto,
            highest=account.highest,
            gaps=list(gaps),
            incarnation=self._incarnation,
            at=now_ms,
        )

    def _old_gaps(self, account: _Account, now: float) -> tuple[tuple[int, int], ...]:
        if not account.gap_seen_at:
            return ()
        return tuple(gap for gap, seen_at in account.gap_seen_at.items() if now - seen_at >= self._gap_s)


def _aged(
    known: dict[tuple[int, int], float], gaps: tuple[tuple[int, int], ...], now: float
) -> dict[tuple[int, int], float]:
    """When each missing range was first seen; what is left of one that was partly filled keeps its age."""
    if not gaps:
        return {}
    old = sorted(known.items())
    at = 0
    ages = {}
    for first, last in gaps:
        while at < len(old) and old[at][0][1] < first:
            at += 1
        covered = at < len(old) and old[at][0][0] <= first
        ages[first, last] = old[at][1] if covered else now
    return ages
