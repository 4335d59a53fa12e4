"""A batch's readings as the rules see them: columns, and what each lane of a measure gets of them. Pure.

A *slot* is a series among the rules, dense from 0. A *lane* is one measured rule over one series.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.rules.machine import Origin

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: Records of a measure, one a lane.
Records = NDArray[Any]


class Ping(NamedTuple):
    """A sign of life without a reading (a status), between two packets of a batch.

    ``before`` is how many readings packets of the batch came before it; ``device`` the registry's id; ``at`` is held
    to the time of receipt like a reading's, ms since the Unix epoch.
    """

    before: int
    device: int
    at: int


@dataclass(frozen=True, slots=True)
class Groups:
    """A batch's readings: group ``g`` is rows ``offset[g]`` … ``offset[g + 1] - 1``, of series ``slot[g]``.

    Groups stand in the order in which their packets are committed; ``packet`` numbers those from 0, never falling.
    ``at`` is capture time held to at most the time of receipt, ms since the Unix epoch.
    """

    slot: Ints
    offset: Ints
    at: Ints
    value: Floats
    packet: Ints
    origin: Callable[[int], Origin]
    pings: Sequence[Ping] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Summary:
    """What each group of a batch comes to.

    ``ordered``: its readings are each later than the one before; ``first`` is its first value.
    """

    earliest: Ints
    latest: Ints
    least: Floats
    greatest: Floats
    first: Floats
    ordered: Bools

    @classmethod
    def of(cls, groups: Groups) -> Summary:
        """Of a batch that has readings."""
        starts = groups.offset[:-1]
        ordered = np.ones(len(starts), bool)
        stops = groups.at[1:] <= groups.at[:-1]
        stops[starts[1:] - 1] = False  # from one group to the next
        inside = np.flatnonzero(stops)
        if len(inside):
            ordered[np.searchsorted(starts, inside, side="right") - 1] = False
        return cls(
            np.minimum.reduceat(groups.at, starts),
            np.maximum.reduceat(groups.at, starts),
            np.minimum.reduceat(groups.value, starts),
            np.maximum.reduceat(groups.value, starts),
            groups.value[starts],
            ordered,
        )


@dataclass(frozen=True, slots=True)
class LaneGroups:
    """The groups of each lane in a batch, as they came.

    ``lanes`` are those that have any, ascending, ``rule`` the place of each one's rule among its kind; lane
    ``lanes[k]`` has groups ``group[starts[k]]`` … ``group[ends[k] - 1]``, and ``rank`` is k for each. ``ordered`` says of
    a lane whether all of its readings are later than those before.
    """

    lanes: Ints
    rule: Ints
    starts: Ints
    ends: Ints
    rank: Ints
    group: Ints
    ordered: Bools


@dataclass(frozen=True, slots=True)
class LaneRows:
    """The readings of each lane in a batch, oldest first, each later than the one before it.

    As ``LaneGroups``, with readings in the place of groups: ``group`` is the group that each came in.
    """

    lanes: Ints
    rule: Ints
    starts: Ints
    ends: Ints
    rank: Ints
    at: Ints
    value: Floats
    group: Ints


def lane_groups(
    groups: Groups, summary: Summary, *, first: Ints, count: Ints, rule: Ints, clock: Ints
) -> LaneGroups | None:
    """What the lanes of a measure get of a batch; None when nothing.

    Args:
        groups: the batch.
        summary: what its groups come to.
        first: per slot, its first lane.
        count: per slot, how many lanes it has, one after the other.
        rule: per lane, the place of its rule among its kind.
        clock: per lane, the capture time it stands at; readings up to there are too late for it.
    """
    chosen = np.flatnonzero(count[groups.slot])
    if not len(chosen):
        return None
    lanes_of = count[groups.slot[chosen]]
    group = np.repeat(chosen, lanes_of)
    lane = first[groups.slot[group]] + _count_up(lanes_of)
    order = np.argsort(lane, kind="stable")
    group, lane = group[order], lane[order]
    begins = _begins(lane)
    starts = np.flatnonzero(begins)
    lanes = lane[starts]
    before = np.empty_like(lane)
    before[1:] = summary.latest[group[:-1]]
    before[starts] = clock[lanes]
    in_order = summary.ordered[group] & (summary.earliest[group] > before)
    return LaneGroups(
        lanes,
        rule[lanes],
        starts,
        np.append(starts[1:], len(lane)),
        np.cumsum(begins) - 1,
        group,
        np.logical_and.reduceat(in_order, starts),
    )


def lane_rows(groups: Groups, lanes: LaneGroups, chosen: Bools, clock: Ints) -> LaneRows | None:
    """The readings of some lanes; None when all of them come too late.

    Args:
        groups: the batch.
        lanes: what lanes get of it.
        chosen: which of ``lanes.lanes``.
        clock: per such lane, the capture time it stands at.
    """
    wanted = chosen[lanes.rank]
    group, rank = lanes.group[wanted], lanes.rank[wanted]
    lengths = groups.offset[group + 1] - groups.offset[group]
    row = np.repeat(groups.offset[group], lengths) + _count_up(lengths)
    rank, group = np.repeat(rank, lengths), np.repeat(group, lengths)
    at, value = groups.at[row], groups.value[row]
    if not lanes.ordered[chosen].all():
        begins = _begins(rank)
        kept = _forward(at, begins, clock[rank[begins]])
        if not kept.any():
            return None
        rank, at, value, group = rank[kept], at[kept], value[kept], group[kept]
    begins = _begins(rank)
    starts = np.flatnonzero(begins)
    mine = rank[starts]
    ends = np.append(starts[1:], len(at))
    return LaneRows(
        lanes.lanes[mine], lanes.rule[mine], starts, ends, np.cumsum(begins) - 1, at, value, group
    )


def _count_up(lengths: Ints) -> Ints:
    """0, 1, … for each length, one after the other."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _begins(lane: Ints) -> Bools:
    begins = np.ones(len(lane), bool)
    begins[1:] = lane[1:] != lane[:-1]
    return begins


def _forward(at: Ints, begins: Bools, clocks: Ints) -> Bools:
    """Which rows are later than their lane's clock and all rows before them."""
    rank = np.cumsum(begins) - 1
    low = min(int(at.min()), int(clocks.min()))
    high = max(int(at.max()), int(clocks.max()))
    # Lanes far apart on one axis: the running maximum never reaches from one into the next.
    axis = rank * (high - low + 1) - low
    reached = np.maximum.accumulate(np.maximum(at, clocks[rank]) + axis)
    before = np.empty_like(reached)
    before[1:] = reached[:-1]
    starts = np.flatnonzero(begins)
    before[starts] = clocks + axis[starts]
    kept: Bools = at + axis > before
    return kept


def grown(array: NDArray[Any], size: int, fill: Any) -> NDArray[Any]:
    """The array with room for at least ``size`` rows, the new ones filled."""
    if size <= len(array):
        return array
    more = np.full((max(size, 2 * len(array), 64) - len(array), *array.shape[1:]), fill, array.dtype)
    return np.concatenate((array, more))


def newest_until(rank: Ints, at: Ints, wanted_rank: Ints, wanted_at: Ints) -> Ints:
    """Where, among keys ascending by (rank, at), the last one stands that is at most (wanted rank, wanted at).

    Returns:
        Positions, -1 for none; the key there may be of a lower rank, which the caller checks.
    """
    base = int(wanted_at.min())
    width = int(wanted_at.max()) - base + 3
    keys = rank * width + np.clip(at - base + 1, 0, width - 1)
    return np.searchsorted(keys, wanted_rank * width + (wanted_at - base + 1), side="right") - 1


def push(ring: NDArray[Any], rank: Ints, new: NDArray[Any]) -> NDArray[Any]:
    """Rings with new items at their right ends, the oldest fallen out at the left.

    Args:
        ring: one row a rank, oldest first.
        rank: whose each new item is, ascending.
        new: the items, each rank's oldest first.
    """
    if not len(new):
        return ring
    size = ring.shape[1]
    counts = np.bincount(rank, minlength=len(ring))
    place = _count_up(counts) - np.repeat(np.maximum(counts - size, 0), counts)
    fits = place >= 0
    taken = np.minimum(counts, size)
    wide = np.empty((len(ring), size + int(taken.max())), ring.dtype)
    wide[:, :size] = ring
    wide[rank[fits], size + place[fits]] = new[fits]
    return np.take_along_axis(wide, np.arange(size) + taken[:, None], axis=1)
