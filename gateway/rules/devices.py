"""What the devices of a batch did, in the order in which it came. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gateway.rules.columns import Groups, Ints
from gateway.rules.stepping import Moment


class Event(NamedTuple):
    """A packet (with its groups) or a ping of one device; ``at`` is the newest capture time in it."""

    moment: Moment
    at: int
    groups: tuple[int, ...]


def newest(groups: Groups, device: Ints, pings: Sequence[int], known: Ints) -> Ints:
    """The newest capture time of every device after the batch.

    Args:
        groups: the batch.
        device: per group, its device's number.
        pings: per ping, its device's number; -1 where nobody knows it.
        known: per device, the newest before the batch.
    """
    reached = known.copy()
    if len(device):
        np.maximum.at(reached, device, np.maximum.reduceat(groups.at, groups.offset[:-1]))
    for ping, number in zip(groups.pings, pings, strict=True):
        if number >= 0:
            reached[number] = max(int(reached[number]), ping.at)
    return reached


def events(
    groups: Groups, device: Ints, pings: Sequence[int], chosen: Iterable[int]
) -> dict[int, list[Event]]:
    """What some devices did, in order."""
    wanted = sorted(chosen)
    found: dict[int, list[Event]] = {number: [] for number in wanted}
    if not wanted:
        return found
    latest = np.maximum.reduceat(groups.at, groups.offset[:-1]) if len(device) else groups.at
    by_packet: dict[tuple[int, int], list[int]] = {}
    for group in np.flatnonzero(np.isin(device, wanted)).tolist():
        by_packet.setdefault((int(device[group]), int(groups.packet[group])), []).append(group)
    for (number, packet), mine in by_packet.items():
        at = max(int(latest[group]) for group in mine)
        found[number].append(Event(Moment.of_packet(packet), at, tuple(mine)))
    for place, (ping, number) in enumerate(zip(groups.pings, pings, strict=True)):
        if number in found:
            found[number].append(Event(Moment(ping.before, place), ping.at, ()))
    for mine_events in found.values():
        mine_events.sort(key=lambda event: event.moment)
    return found
