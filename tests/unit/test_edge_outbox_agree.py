"""The outbox on disk and the plain one in memory, whatever happens to both."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from common.runtime.clock import ManualClock
from edge.database import Database
from edge.outbox import SqliteOutbox
from tests.fixtures.edge_memory_outbox import MemoryOutbox
from tests.fixtures.edge_messages import ADDRESS, events, readings, receipt


class OutboxesAgree(RuleBasedStateMachine):
    """Whatever happens, the outbox on disk says what the plain one in memory says."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.temporary = tempfile.TemporaryDirectory()
        self.database = Database(Path(self.temporary.name))
        self.real = SqliteOutbox(self.database, ADDRESS, self.clock, keep_receipted_s=300)
        self.plain = MemoryOutbox(ADDRESS, self.clock, keep_receipted_s=300)
        self.store = "store-1"

    @rule(alarm=st.booleans(), value=st.floats(-1e6, 1e6))
    def append(self, alarm: bool, value: float) -> None:
        data = events(1) if alarm else readings(value)
        assert self.real.append(data).seq == self.plain.append(data).seq

    @rule(upto=st.integers(0, 12), beyond=st.integers(0, 6), data=st.data())
    def receipt(self, upto: int, beyond: int, data: st.DataObject) -> None:
        issued = self.plain.stats().numbered
        upto = min(upto, issued)
        highest = min(upto + beyond, issued)
        gaps = []
        if highest > upto + 1:
            first = data.draw(st.integers(upto + 1, highest))
            gaps = [(first, data.draw(st.integers(first, highest)))]
        ours, theirs = (
            outbox.receipt(receipt(outbox.epoch, upto, highest=highest, gaps=gaps, incarnation=self.store))
            for outbox in (self.real, self.plain)
        )
        assert (ours.packets, ours.forked, ours.restored) == (theirs.packets, theirs.forked, theirs.restored)
        assert ours.missed == theirs.missed

    @rule()
    def restore_the_store(self) -> None:
        self.store += "x"

    @rule()
    def find_a_fork(self) -> None:
        for outbox in (self.real, self.plain):
            outbox.receipt(receipt(outbox.epoch, 10_000, incarnation=self.store))

    @rule(every=st.booleans())
    def unsettle(self, every: bool) -> None:
        epochs = (None, None) if every else (self.real.epoch, self.plain.epoch)
        assert self.real.unsettle(epochs[0]) == self.plain.unsettle(epochs[1])

    @rule(seconds=st.sampled_from([1, 50, 100, 400]), jump=st.sampled_from([0, 0, 0, 59, 5000]))
    def wait(self, seconds: float, jump: float) -> None:
        self.clock.advance(seconds)
        self.clock.jump(jump)
        assert self.real.trim() == self.plain.trim()

    @invariant()
    def they_agree(self) -> None:
        ours, theirs = self.real.stats(), self.plain.stats()
        assert (ours.numbered, ours.receipted, ours.unreceipted, ours.abandoned) == (
            theirs.numbered,
            theirs.receipted,
            theirs.unreceipted,
            theirs.abandoned,
        )
        assert ours.oldest_unreceipted_ms == theirs.oldest_unreceipted_ms
        assert [(packet.id.seq, packet.fresh) for packet in self.real.pending(1000)] == [
            (packet.id.seq, packet.fresh) for packet in self.plain.pending(1000)
        ]

    def teardown(self) -> None:
        self.database.close()
        self.temporary.cleanup()


TestOutboxesAgree = OutboxesAgree.TestCase
TestOutboxesAgree.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
