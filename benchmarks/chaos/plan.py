"""What happens to whom and when, drawn from a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

What = Literal["kill", "cut", "freeze", "slow", "fill", "set clock", "void"]
#: How often each kind of part is killed, of those that are counted.
_SHARES: Final = {"box": 8, "gateway": 5, "broker": 3, "database": 4}
#: Seconds that a killed part stays away, at most.
_LONGEST_AWAY: Final = {"box": 4.0, "gateway": 4.0, "broker": 3.0, "database": 2.0, "centre": 3.0}
_HOUR_S: Final = 3600.0
_JUMPS: Final = (_HOUR_S, -_HOUR_S, 24 * _HOUR_S, -24 * _HOUR_S)
#: Mean seconds between what is done beside the kills.
_BAD_LINK_EVERY_S: Final = 10.0
_WRONG_CLOCK_EVERY_S: Final = 25.0
_FULL_DISK_EVERY_S: Final = 75.0
_VOID_EVERY_S: Final = 6.0


@dataclass(frozen=True, slots=True, order=True)
class Act:
    """One thing that is done to one part.

    Attributes:
        at_s: seconds after the beginning.
        target: a part, link, disk or clock, as the town names them.
        what: what is done.
        for_s: how long it stays so; of a kill, until it is started again.
        amount: bytes a second of a slow link, seconds of a clock.
    """

    at_s: float
    target: str
    what: What
    for_s: float
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Cast:
    """Who there is, by the names of the town.

    ``links`` may be cut; ``disks`` are those of boxes that can be full, each with the link of its box.
    """

    boxes: Sequence[str]
    gateways: Sequence[str]
    links: Sequence[str]
    disks: Sequence[tuple[str, str]]
    clocks: Sequence[str]


def draw(seed: int, kills: int, every_s: float, cast: Cast) -> list[Act]:
    """The acts in order of time.

    Args:
        seed: the same seed, the same acts.
        kills: how many parts are killed, ticket centres not counted.
        every_s: mean seconds between two kills.
        cast: who there is.
    """
    chance = random.Random(seed)
    killing = list(_kills(chance, kills, every_s, cast))
    length = max(act.at_s for act in killing)
    acts = [*killing, *_centre_kills(chance, length, kills), *_bad_links(chance, length, cast)]
    acts += [*_full_disks(chance, length, cast), *_wrong_clocks(chance, length, cast)]
    acts += [Act(at, "person", "void", 0.0) for at in _moments(chance, length, _VOID_EVERY_S)]
    return sorted(acts)


def _kills(chance: random.Random, kills: int, every_s: float, cast: Cast) -> Iterator[Act]:
    kinds = list(_SHARES)
    chance.shuffle(kinds)  # whatever else comes, each kind is among the first
    kinds += chance.choices(list(_SHARES), list(_SHARES.values()), k=max(kills - len(kinds), 0))
    at = 0.0
    for kind in kinds[:kills]:
        at += every_s * chance.uniform(0.3, 1.7)
        names = {"box": cast.boxes, "gateway": cast.gateways}.get(kind, (kind,))
        yield Act(at, chance.choice(names), "kill", chance.uniform(0.1, _LONGEST_AWAY[kind]))


def _centre_kills(chance: random.Random, length: float, kills: int) -> Iterator[Act]:
    for _ in range(max(kills // 10, 1)):
        target = chance.choice(("centre", "worker"))
        yield Act(chance.uniform(0, length), target, "kill", chance.uniform(0.1, _LONGEST_AWAY["centre"]))


def _bad_links(chance: random.Random, length: float, cast: Cast) -> Iterator[Act]:
    for at in _moments(chance, length, _BAD_LINK_EVERY_S):
        what: What = chance.choice(("cut", "freeze", "slow"))
        pace = 10 ** chance.uniform(3.3, 4.7) if what == "slow" else 0.0
        yield Act(at, chance.choice(cast.links), what, chance.uniform(1.0, 15.0), pace)


def _full_disks(chance: random.Random, length: float, cast: Cast) -> Iterator[Act]:
    """A disk is full while its box hears nothing: only then is there something to give up that nobody has."""
    for disk, link in cast.disks:
        for at in _moments(chance, length, _FULL_DISK_EVERY_S):
            lasts = min(chance.uniform(20.0, 35.0), max(length, 8.0))
            yield Act(at, disk, "fill", lasts)
            yield Act(at, link, "cut", lasts)


def _wrong_clocks(chance: random.Random, length: float, cast: Cast) -> Iterator[Act]:
    for at in _moments(chance, length, _WRONG_CLOCK_EVERY_S):
        yield Act(
            at, chance.choice(cast.clocks), "set clock", chance.uniform(5.0, 25.0), chance.choice(_JUMPS)
        )


def _moments(chance: random.Random, length: float, every_s: float) -> Iterator[float]:
    """One at least."""
    at = chance.uniform(0.0, min(every_s, length / 2))
    while at < length:
        yield at
        at += every_s * chance.uniform(0.4, 1.6)
