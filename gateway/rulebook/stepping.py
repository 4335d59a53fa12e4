"""The rules' part of one transaction: what they have to know, what they do, and what is written of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from gateway.rulebook import repo
from gateway.rules.columns import Bools, Groups, Ints, Ping
from gateway.rules.machine import Origin
from gateway.rules.stepping import Outcome
from gateway.rules.watch import Watch

#: Rules see no reading further ahead of its receipt than this: a fast clock must not silence them later.
RULE_AHEAD_MS: Final = 10_000
#: How often what a measured rule remembers of a series is written down, in seconds.
KEEP_EVERY_S: Final = 60.0
#: Of so many series at once, lest it all falls into one batch.
_KEPT_AT_ONCE: Final = 500
_NOBODY: Final = Origin("", "", 0, 0)


class RuleMemory:
    """The rules of a connection, and when what they remember was last written down."""

    def __init__(self, watch: Watch, version: int) -> None:
        self.watch = watch
        self.version = version
        self.kept_at = np.zeros(0)


class RulesOfBatch:
    """The rules of one attempt at a batch."""

    def __init__(
        self,
        connection: repo.Connection,
        memory: RuleMemory,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._memory = memory
        self._monotonic = monotonic
        self._outcome: Outcome | None = None
        self._kept: Ints = np.zeros(0, np.int64)
        #: Processor time spent here, in seconds.
        self.seconds = 0.0

    def step(self, groups: Groups, received_at: int, new: set[int]) -> Outcome:
        """Step the rules and write down where they stand.

        Args:
            groups: the readings and pings.
            received_at: when the newest of it came, ms since the Unix epoch.
            new: slots of series that were made in this transaction.
        """
        began = time.thread_time()
        self._learn(groups, received_at, new)
        outcome = self._memory.watch.evaluate(groups)
        if outcome.states:
            repo.save_series_states(self._connection, outcome.states)
        if outcome.device_states:
            repo.save_device_states(self._connection, outcome.device_states)
        if outcome.records:
            self._keep(outcome)
        self._outcome = outcome
        self.seconds += time.thread_time() - began
        return outcome

    def remember(self) -> None:
        """Take over what was done, now that it is committed."""
        if self._outcome is None:
            return
        began = time.thread_time()
        self._memory.watch.apply(self._outcome)
        self._memory.kept_at[self._kept] = self._monotonic()
        self.seconds += time.thread_time() - began

    def _learn(self, groups: Groups, received_at: int, new: set[int]) -> None:
        """Rules go on from the newest reading in the store, which is where whoever stepped them last stood."""
        watch = self._memory.watch
        unknown = watch.unknown(groups.slot, [ping.device for ping in groups.pings])
        if not unknown:
            return
        asked = {watch.members[slot].series: slot for slot in unknown if slot not in new}
        until = received_at + RULE_AHEAD_MS
        newest = repo.newest_captures(self._connection, list(asked), until) if asked else {}
        for slot in unknown:
            watch.start_clock(slot, newest.get(watch.members[slot].series, 0))
        measured = {
            series: slot for series, slot in asked.items() if newest.get(series) and watch.reach(slot)
        }
        if measured:
            self._recall(watch, measured)

    def _recall(self, watch: Watch, measured: dict[int, int]) -> None:
        kept = repo.records(self._connection, measured)
        since = {series: watch.restore(slot, kept.get(series, {})) for series, slot in measured.items()}
        past = repo.history(self._connection, since, RULE_AHEAD_MS)
        if past:
            watch.recall(
                Groups(
                    np.array([measured[series] for series, _, _ in past], np.int64),
                    np.cumsum([0, *(len(at) for _, at, _ in past)]),
                    np.concatenate([np.array(at, np.int64) for _, at, _ in past]),
                    np.concatenate([np.array(values, np.float64) for _, _, values in past]),
                    np.zeros(len(past), np.int64),
                    lambda _: _NOBODY,
                )
            )

    def _keep(self, outcome: Outcome) -> None:
        """Write down what measured rules remember, of the series whose turn it is."""
        memory, now = self._memory, self._monotonic()
        size = len(memory.watch.members)
        if len(memory.kept_at) < size:
            # Spread over the first minute, so that they do not all come together ever after.
            fresh = now - np.arange(len(memory.kept_at), size) * 0.618 % 1 * KEEP_EVERY_S
            memory.kept_at = np.concatenate((memory.kept_at, fresh))
        slots = memory.watch.measured(outcome)
        due = slots[memory.kept_at[slots] <= now - KEEP_EVERY_S][:_KEPT_AT_ONCE]
        if not len(due):
            return
        chosen: Bools = np.zeros(size, bool)
        chosen[due] = True
        repo.save_records(self._connection, memory.watch.kept(outcome, chosen))
        self._kept = due


def pings_of(statuses: Iterable[tuple[int, int, int, int]]) -> list[Ping]:
    """Statuses as signs of life: (packets before it, device, said at, received at); its clock is held as a reading's."""
    return [
        Ping(before, device, min(said_at, received_at + RULE_AHEAD_MS))
        for before, device, said_at, received_at in statuses
    ]
