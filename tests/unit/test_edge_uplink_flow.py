"""What is sent next: the window, its patience, the pace of a replay, and that nothing is ever forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.runtime.clock import ManualClock
from common.wire.codec import decode_packet
from common.wire.messages import Readings, Receipt
from edge.flow import Flow, Pace, Window
from edge.packets import PacketId
from edge.ranges import runs
from tests.fixtures.edge_memory_outbox import MemoryOutbox
from tests.fixtures.edge_messages import ADDRESS, events, readings, receipt

EPOCH = 7


def packet(seq: int) -> PacketId:
    return PacketId(EPOCH, seq)


def make_flow(**window: float) -> tuple[ManualClock, MemoryOutbox, Flow]:
    clock = ManualClock()
    outbox = MemoryOutbox(ADDRESS, clock, fresh_s=60)
    return clock, outbox, Flow(outbox, Window(**window), Pace(10, 10))  # type: ignore[arg-type]


def send(flow: Flow, now: float, limit: int = 1000) -> list[int]:
    chosen = flow.choose(now, limit)
    for one in chosen:
        flow.window.sent(one, now)
    return [one.seq for one in chosen]


def test_an_acknowledgement_leaves_a_packet_in_the_window_and_a_receipt_takes_it_out() -> None:
    window = Window(limit=2)
    window.sent(packet(1), 0)
    window.sent(packet(2), 0)
    window.acknowledged(packet(1), 1)
    assert (window.room, window.in_flight, window.unacknowledged) == (0, 2, 1)
    window.receipted(receipt(EPOCH, 1))
    assert (window.room, list(window.occupied)) == (1, [packet(2)])


def test_a_receipt_that_does_not_come_frees_the_packet_and_each_wait_is_longer() -> None:
    window = Window(resend_after_s=30, longest_wait_s=100)
    for began, wait in ((0, 30), (1000, 60), (2000, 100), (3000, 100)):
        window.sent(packet(1), began)
        window.acknowledged(packet(1), began)
        assert window.expire(began + wait - 1) == 0
        assert window.expire(began + wait) == 1
    window.receipted(receipt(EPOCH, 0))
    window.sent(packet(2), 4000)
    window.acknowledged(packet(2), 4000)
    assert window.expire(4030) == 1


def test_without_an_acknowledgement_the_patience_is_double() -> None:
    window = Window(resend_after_s=30)
    window.sent(packet(1), 0)
    assert window.expire(59) == 0
    assert window.expire(60) == 1


def test_what_the_broker_refuses_waits_before_it_is_tried_again() -> None:
    window = Window(refused_wait_s=60)
    window.sent(packet(1), 0)
    window.refused(packet(1), 0)
    assert (window.in_flight, packet(1) in window.occupied) == (0, True)
    window.expire(60)
    assert packet(1) not in window.occupied


def test_what_nobody_heard_is_sent_again_soon_and_then_ever_later() -> None:
    window = Window(unheard_wait_s=2)
    now = 0.0
    for wait in (2, 4, 8, 16, 32, 60, 60):
        window.sent(packet(1), now)
        window.unheard(packet(1), now)
        window.expire(now + wait - 0.1)
        assert packet(1) in window.occupied
        now += wait
        window.expire(now)
        assert packet(1) not in window.occupied


def test_no_more_than_the_window_is_under_way() -> None:
    _, outbox, flow = make_flow(limit=3)
    for n in range(5):
        outbox.append(readings(n))
    assert send(flow, 0) == [1, 2, 3]
    assert send(flow, 0) == []
    flow.receipt(receipt(outbox.epoch, 2))
    assert send(flow, 0) == [4, 5]


def test_an_outage_is_replayed_at_its_pace_while_live_packets_go_at_once() -> None:
    clock, outbox, flow = make_flow()
    for n in range(50):
        outbox.append(readings(n))
    clock.advance(600)
    assert send(flow, 0) == list(range(50, 40, -1))
    outbox.append(readings())
    outbox.append(events())
    assert send(flow, 0) == [52, 51]
    assert send(flow, 0.5) == [40, 39, 38, 37, 36]
    assert send(flow, 0.5) == []


def test_what_was_sent_and_is_missed_goes_again_at_once_behind_fresh_alarms_only() -> None:
    clock, outbox, flow = make_flow()
    for n in range(30):
        outbox.append(readings(n))
    assert len(send(flow, 0)) == 30
    clock.advance(600)
    outbox.append(readings())
    outbox.append(events())
    flow.receipt(receipt(outbox.epoch, 2, highest=30, gaps=[(3, 20)]))
    assert send(flow, 600) == [32, *range(3, 21), 31]


def test_a_gap_that_is_only_the_rest_of_a_replay_does_not_hurry_it() -> None:
    clock, outbox, flow = make_flow()
    for n in range(50):
        outbox.append(readings(n))
    clock.advance(600)
    assert send(flow, 0) == list(range(50, 40, -1))
    flow.receipt(receipt(outbox.epoch, 0, highest=50, gaps=[(1, 40)]))
    assert send(flow, 0) == []
    assert send(flow, 0.3) == [40, 39, 38]


def test_a_replay_larger_than_the_window_goes_on_although_its_oldest_packet_comes_last() -> None:
    clock, outbox, flow = make_flow(limit=4)
    for n in range(20):
        outbox.append(readings(n))
    clock.advance(600)
    sent: set[int] = set()
    for second in range(1, 6):
        sent |= set(send(flow, float(second)))
        gap = [(1, min(sent) - 1)] if min(sent) > 1 else []
        flow.receipt(receipt(outbox.epoch, 0 if gap else 20, highest=20, gaps=gap))
    assert sent == set(range(1, 21))
    assert outbox.stats().unreceipted == 0


def test_a_lost_connection_frees_everything() -> None:
    _, outbox, flow = make_flow()
    outbox.append(readings())
    outbox.append(readings())
    assert send(flow, 0) == [1, 2]
    flow.disconnected()
    assert send(flow, 1) == [1, 2]


def test_what_counts_as_settled_is_sent_again_on_a_new_connection() -> None:
    _, outbox, flow = make_flow()
    for n in range(3):
        outbox.append(readings(n))
    assert send(flow, 0) == [1, 2, 3]
    flow.receipt(receipt(outbox.epoch, 1, highest=3))
    flow.disconnected()
    flow.expire(1)
    assert send(flow, 1) == [2, 3]


def test_what_counts_as_settled_is_sent_again_when_no_further_receipt_comes_each_time_later() -> None:
    _, outbox, flow = make_flow(resend_after_s=30)
    for n in range(3):
        outbox.append(readings(n))
    assert send(flow, 0) == [1, 2, 3]
    now = 0.0
    for wait in (30, 60, 120):
        flow.receipt(receipt(outbox.epoch, 1, highest=3))
        flow.expire(now)
        flow.expire(now + wait - 1)
        assert send(flow, now + wait - 1) == []
        now += wait
        flow.expire(now)
        assert send(flow, now) == [2, 3]
    # Receipts that go on make it as patient as at first.
    flow.receipt(receipt(outbox.epoch, 2, highest=3))
    flow.expire(now)
    flow.expire(now + 30)
    assert send(flow, now + 30) == [3]


def test_further_receipts_put_off_sending_settled_packets_again() -> None:
    _, outbox, flow = make_flow(resend_after_s=30)
    for n in range(3):
        outbox.append(readings(n))
    send(flow, 0)
    for now in range(0, 200, 20):
        flow.receipt(receipt(outbox.epoch, 1, highest=3))
        flow.expire(float(now))
        assert send(flow, float(now)) == []


def test_a_forked_epoch_makes_what_is_under_way_count_for_nothing() -> None:
    _, outbox, flow = make_flow()
    outbox.append(readings())
    send(flow, 0)
    old = outbox.epoch
    flow.receipt(receipt(old, 50))
    assert outbox.epoch != old
    assert send(flow, 0) == [1]
    assert next(iter(flow.window.occupied)).epoch == outbox.epoch


def test_the_pace_never_saves_up_more_than_its_burst() -> None:
    pace = Pace(per_s=10, burst=5)
    assert pace.available(0) == 5
    for _ in range(5):
        pace.take()
    assert pace.available(0.1) == 1
    assert pace.available(1000) == 5


@dataclass
class Store:
    """A gateway's memory: what was committed, by epoch."""

    incarnation: str = "store-0"
    committed: dict[int, set[int]] = field(default_factory=dict)
    values: set[float] = field(default_factory=set)
    ever: set[PacketId] = field(default_factory=set)

    def commit(self, payload: bytes) -> None:
        decoded = decode_packet(payload, ADDRESS)
        self.committed.setdefault(decoded.epoch, set()).add(decoded.seq)
        self.ever.add(PacketId(decoded.epoch, decoded.seq))
        if isinstance(decoded.data, Readings):
            self.values.add(decoded.data.series[0].value[0])

    def receipts(self, young: bool = False) -> list[Receipt]:
        """What it would say; gaps that are still young are not told of."""
        return [self._receipt(epoch, seqs, young) for epoch, seqs in self.committed.items() if seqs]

    def copy(self, incarnation: str) -> Store:
        committed = {epoch: set(seqs) for epoch, seqs in self.committed.items()}
        return Store(incarnation, committed, set(self.values), self.ever)

    def _receipt(self, epoch: int, seqs: set[int], young: bool) -> Receipt:
        highest = max(seqs)
        upto = next(n for n in range(highest + 1) if n + 1 not in seqs)
        gaps = [] if young else runs(sorted(set(range(1, highest)) - seqs))
        return receipt(epoch, upto, highest=highest, gaps=gaps, incarnation=self.incarnation)


class NothingIsForgotten(RuleBasedStateMachine):
    """Packets cross a broker that loses, a store that forgets and a network that reorders."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.outbox = MemoryOutbox(ADDRESS, self.clock, fresh_s=60)
        self.flow = Flow(self.outbox, Window(limit=4, resend_after_s=30), Pace(1, 2))
        self.store = Store()
        self.saved = self.store.copy("")
        self.restores = 0
        self.wire: list[tuple[PacketId, bytes]] = []
        self.said: list[Receipt] = []
        self.appended: set[float] = set()

    @rule(alarm=st.booleans(), count=st.integers(1, 4))
    def accept(self, alarm: bool, count: int) -> None:
        for _ in range(count):
            value = float(len(self.appended))
            self.outbox.append(readings(value))
            self.appended.add(value)
        if alarm:
            self.outbox.append(events())

    @rule()
    def pump(self) -> None:
        for chosen in self.flow.choose(self.clock.monotonic()):
            held = self.outbox.payload(chosen)
            assert held is not None
            self.flow.window.sent(chosen, self.clock.monotonic())
            self.wire.append((chosen, held[1]))

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        chosen, _ = data.draw(st.sampled_from(self.wire))
        self.flow.window.acknowledged(chosen, self.clock.monotonic())

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        chosen, _ = self.wire.pop(data.draw(st.integers(0, len(self.wire) - 1)))
        self.flow.window.refused(chosen, self.clock.monotonic())

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def nobody_hears(self, data: st.DataObject) -> None:
        chosen, _ = self.wire.pop(data.draw(st.integers(0, len(self.wire) - 1)))
        self.flow.window.unheard(chosen, self.clock.monotonic())

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), again=st.booleans())
    def commit(self, data: st.DataObject, again: bool) -> None:
        chosen = data.draw(st.sets(st.integers(0, len(self.wire) - 1), min_size=1))
        for position in sorted(chosen, reverse=True):
            self.store.commit(self.wire[position][1])
            if not again:
                self.wire.pop(position)

    @rule()
    def the_broker_forgets(self) -> None:
        self.wire.clear()
        self.flow.disconnected()

    @rule()
    def the_connection_breaks(self) -> None:
        self.flow.disconnected()

    @rule(young=st.booleans())
    def receipts_arrive(self, young: bool) -> None:
        for one in self.store.receipts(young):
            self.flow.receipt(one)

    @rule(young=st.booleans())
    def receipts_are_held_up(self, young: bool) -> None:
        self.said += self.store.receipts(young)

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def an_old_receipt_arrives(self, data: st.DataObject) -> None:
        self.flow.receipt(self.said.pop(data.draw(st.integers(0, len(self.said) - 1))))

    @rule()
    def back_up_the_store(self) -> None:
        self.saved = self.store.copy("")

    @rule()
    def restore_the_store(self) -> None:
        self.restores += 1
        self.store = self.saved.copy(f"store-{self.restores}")
        # A restored store does not speak with its old voice.
        self.said.clear()

    @rule(seconds=st.sampled_from([1, 29, 31, 100]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.flow.expire(self.clock.monotonic())

    @invariant()
    def the_window_keeps_its_limit(self) -> None:
        assert self.flow.window.in_flight <= 4

    @invariant()
    def what_counts_as_receipted_was_committed(self) -> None:
        stats = self.outbox.stats()
        assert stats.numbered == stats.receipted + stats.unreceipted
        done = {held.id for held in self.outbox._held if held.receipted_at is not None}
        assert done <= self.store.ever

    def teardown(self) -> None:
        """Once the world behaves, everything is receipted before long."""
        if not hasattr(self, "clock"):
            return
        if self.store.incarnation != self.outbox._incarnation:
            # A box that says nothing more hears no more either, and so not of a restored store.
            self.accept(alarm=False, count=1)
        for _ in range(8):
            # Of all that goes one packet is lost, and the gateway is killed before it tells of the gap.
            self.clock.advance(2)
            self.pump()
            for _, payload in self.wire[1:]:
                self.store.commit(payload)
            self.wire.clear()
            for one in self.store.receipts(young=True):
                self.flow.receipt(one)
        for _ in range(40 + 2 * self.outbox.stats().numbered):
            self.clock.advance(61)
            self.flow.expire(self.clock.monotonic())
            self.pump()
            answers = {chosen.epoch for chosen, _ in self.wire}
            while self.wire:
                self.store.commit(self.wire.pop()[1])
            # Of what it is not sent, the store says nothing: not of gaps it knew before either.
            for one in self.store.receipts():
                if int(one.epoch, 16) in answers:
                    self.flow.receipt(one)
        assert self.outbox.stats().unreceipted == 0
        assert self.store.values >= self.appended


TestNothingIsForgotten = NothingIsForgotten.TestCase
TestNothingIsForgotten.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
