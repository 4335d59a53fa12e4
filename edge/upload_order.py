"""Whose turn it is on the way to the evidence door, where a try failed; pure but for the dice.

One answer does not tell whether the door or the picture is at fault. The next picture tells: where it passes, the door is
well, and whoever failed just before is blamed for it; the more of them there were, the less each, for a door that was away
fails them all. Whoever is to blame for the second time is tried again by itself, less and less often, while all others go
on. It is acquitted when one that failed with it passes after all: that was the door.
"""

from __future__ import annotations

import random
from collections.abc import Set
from dataclasses import dataclass
from typing import Final

_MOST_DOUBLINGS: Final = 16
#: Blame that makes it the picture: to have failed alone between two that passed counts 1, among two a half, and so on.
_TO_BLAME: Final = 1.5


@dataclass(slots=True)
class _Failed:
    """A picture that was not taken.

    ``times``: how often since it is ``alone``, which it is with enough ``blame``.
    """

    times: int = 0
    due: float = 0.0
    blame: float = 0.0

    @property
    def alone(self) -> bool:
        return self.blame >= _TO_BLAME


class UploadOrder:
    """Remembers what failed, in this life of the box; times are monotonic seconds.

    Args:
        first_s: pause after a first failure, about twice as long after each further one.
        longest_s: pause at most.
        dice: for the jitter.
    """

    def __init__(self, first_s: float, longest_s: float, dice: random.Random | None = None) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._dice = dice or random.Random()
        self._failed: dict[str, _Failed] = {}
        self._in_a_row = 0
        self._since_passed: set[str] = set()

    def tried(self) -> Set[str]:
        """Who waits behind those that were not tried yet: everybody who failed, while nobody knows about the door."""
        return self._failed.keys() if self._in_a_row else set[str]()

    def resting(self, now: float) -> Set[str]:
        """Whose turn it is not."""
        return {name for name, failed in self._failed.items() if failed.due > now}

    def rests_s(self, name: str, now: float) -> float:
        """Seconds until it may be tried again."""
        return max(self._failed[name].due - now, 0.0) if name in self._failed else 0.0

    def is_alone(self, name: str) -> bool:
        """Whether others pass where this one fails: it did so before, and nobody else failed since one passed."""
        return self._since_passed == {name} and name in self._failed and self._failed[name].alone

    def taken(self, name: str, now: float) -> None:
        """The district has it: the door is well, and whoever seemed to fail for the door's sake goes on at once."""
        together = self._since_passed
        was_the_door = name in together and len(together) > 1
        self._door_is_well(name)
        for other, failed in self._failed.items():
            if other in together and was_the_door:
                failed.times, failed.blame = 0, 0.0
            if not failed.alone:
                failed.due = now
                failed.blame += 1 / len(together) if other in together and not was_the_door else 0.0

    def put_by(self, name: str) -> None:
        """The district will not have it, which it said in so many words: the door is well."""
        self._door_is_well(name)

    def failed(self, name: str, now: float, *, longest: bool = False) -> float:
        """It was not taken.

        Args:
            name: its SHA-256.
            now: when.
            longest: whether the door will not change its mind soon.

        Returns:
            Seconds to leave the door alone; none where others pass it.
        """
        failed = self._failed.setdefault(name, _Failed())
        self._since_passed.add(name)
        if not failed.alone:
            self._in_a_row += 1
            pause = self._longest_s if longest else self._pause(self._in_a_row)
            failed.due = now + pause
            return pause
        failed.times += 1
        failed.due = now + (self._longest_s if longest else self._pause(failed.times))
        # Nobody passed since another failed: the door may be away. Only its own pause grows, lest two that always fail
        # keep a third from being tried.
        return 0.0 if self.is_alone(name) else self._pause(max(self._in_a_row, 1))

    def forget_but(self, waiting: Set[str]) -> None:
        """Let go of what does not wait any more."""
        self._failed = {name: failed for name, failed in self._failed.items() if name in waiting}

    def _door_is_well(self, name: str) -> None:
        self._in_a_row = 0
        self._since_passed = set()
        self._failed.pop(name, None)

    def _pause(self, failures: int) -> float:
        ceiling = min(self._first_s * 2.0 ** min(failures, _MOST_DOUBLINGS), self._longest_s)
        return self._dice.uniform(ceiling / 2, ceiling)
