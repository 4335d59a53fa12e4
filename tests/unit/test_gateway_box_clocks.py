"""How far behind a box's clock is, by when its status came and by what it measured itself."""

from __future__ import annotations

import pytest

from gateway.box_clocks import behind_ms

DAY = 86_400_000


@pytest.mark.parametrize(
    ("waited", "offset", "behind"),
    [
        (300, None, 300),  # before its first receipt: when it came is all there is
        (3 * DAY, 250, 250),  # the broker kept it
        (3 * DAY, 250.4, 250),
        (3 * DAY, 3 * DAY - 20, 3 * DAY - 20),  # a clock that is slow indeed
        (0, -3 * DAY, -3 * DAY),  # a fast one, kept by the broker for as long
        (100, 3 * DAY, 100),  # nothing is heard before it is said
        (3 * DAY, "soon", 3 * DAY),
        (3 * DAY, 1e300, 3 * DAY),
        (3 * DAY, -(10**40), 3 * DAY),
        (3 * DAY, float("nan"), 3 * DAY),
        (3 * DAY, float("-inf"), 3 * DAY),
        (3 * DAY, [0], 3 * DAY),
    ],
)
def test_a_box_knows_its_clock_better_than_the_way_its_status_took(
    waited: int, offset: object, behind: int
) -> None:
    assert behind_ms(waited, offset) == behind
