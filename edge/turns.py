"""Whose turn it is: one detector, many cameras, nobody kept waiting for others' sake; pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Turns(Generic[T]):
    """Gives the next turn to whoever had his longest ago, so that too much work costs all the same.

    Args:
        deadline_s: who waits longer with something to show counts as late.
    """

    def __init__(self, deadline_s: float = 0.5) -> None:
        self._deadline_s = deadline_s
        self._had: dict[T, int] = {}
        self._ready_at: dict[T, float] = {}
        self._late: dict[T, int] = {}
        self._turns = 0

    def late(self, one: T) -> int:
        """Turns that came later than the deadline."""
        return self._late.get(one, 0)

    def next(self, ready: Iterable[T], now: float) -> T | None:
        """Who is next of those that have something to show; None when nobody has.

        Args:
            ready: in any order; who is left out has nothing to show any more.
            now: monotonic seconds.
        """
        self._ready_at = {one: self._ready_at.get(one, now) for one in ready}
        if not self._ready_at:
            return None
        # Who never had a turn comes first; of several such, who asked first.
        chosen = min(self._ready_at, key=lambda one: (self._had.get(one, -1), self._ready_at[one]))
        if now - self._ready_at.pop(chosen) > self._deadline_s:
            self._late[chosen] = self.late(chosen) + 1
        self._turns += 1
        self._had[chosen] = self._turns
        return chosen
