"""Who rides: persons on two-wheelers, told from persons beside them, and where their heads are. Geometry alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from edge.vision.tracker import Track

Box = tuple[float, float, float, float]

#: Shares of the person's box, found on street photos with two detectors: where the head's middle lies, and
#: its size as a share of the geometric mean of the box's sides (boxes of the near and cut off are squat).
_HEAD_X, _HEAD_Y, _HEAD_SIZE = 0.5, 0.11, 0.53


def on_vehicle(person: Box, vehicle: Box) -> bool:
    """Whether a person's box and a two-wheeler's stand to each other as a rider's and a mount's.

    The person's middle is above the vehicle, the seat is lower than the head and the feet no lower than the
    wheels: whoever stands before a parked one reaches further down, whoever passes behind it is higher up.
    """
    left, top, right, bottom = person
    tall, across = bottom - top, right - left
    v_left, v_top, v_right, v_bottom = vehicle
    shared = min(right, v_right) - max(left, v_left)
    middle = (left + right) / 2
    slack = 0.15 * (v_right - v_left)
    return (
        tall > 0
        and shared >= 0.4 * min(across, v_right - v_left)
        and v_left - slack <= middle <= v_right + slack
        and v_bottom - v_top <= 2 * tall
        and top < v_top + 0.15 * tall
        and v_top + 0.05 * (v_bottom - v_top) < bottom <= v_bottom + 0.12 * tall
    )


def riders(tracks: Sequence[Track], vehicles: Iterable[str], at_ms: int) -> list[Track]:
    """The persons among the tracks seen now that sit on a two-wheeler seen now."""
    kinds = frozenset(vehicles)
    now = [track for track in tracks if track.last_seen_ms == at_ms]
    mounts = [track.xyxy for track in now if track.label in kinds]
    return [
        track
        for track in now
        if track.label == "person" and any(on_vehicle(track.xyxy, mount) for mount in mounts)
    ]


def head_of(person: Box) -> Box:
    """Where a rider's head is: a square round helmet or hair, in pixels."""
    left, top, right, bottom = person
    across, down = right - left, bottom - top
    half = _HEAD_SIZE * math.sqrt(max(across * down, 0.0)) / 2
    x, y = left + _HEAD_X * across, top + _HEAD_Y * down
    return x - half, y - half, x + half, y + half
