"""What tells who somebody is: labels read with doubt, squares that leave no gap, spots that grow, persons as a net."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.vision.blur import conceal
from models.accuracy.privacy import count
from models.data.privacy import heads_that_are_riders, maps_of
from models.privacy import Private, squares, widened
from tests.fixtures.vision import detections


@given(st.integers(16, 2000), st.integers(16, 2000), st.sampled_from([1.0, 0.57, 0.3]))
def test_squares_cover_the_whole_picture(width: int, height: int, share: float) -> None:
    covered = np.zeros((height, width), np.bool_)
    looked = squares(width, height, share)
    for left, top, side in looked:
        assert 0 <= left < width
        assert 0 <= top < height
        covered[top : top + side, left : left + side] = True
    assert covered.all()
    assert len(looked) <= 36


def test_a_spot_grows_with_its_size_and_never_shrinks() -> None:
    mask = np.zeros((200, 200), np.bool_)
    mask[20:24, 20:24] = True
    mask[80:160, 80:160] = True
    wider = widened(mask)
    assert (wider | mask == wider).all()
    assert wider[19, 22]
    assert not wider[14, 22]
    assert wider[73, 120]
    assert not wider[65, 120]


def test_a_box_that_holds_another_head_or_fills_a_rider_is_no_head() -> None:
    heads = np.array(
        [[0.1, 0.1, 0.6, 0.9], [0.3, 0.12, 0.4, 0.25], [0.7, 0.1, 0.9, 0.9], [0.8, 0.5, 0.84, 0.56]]
    )
    riders = np.array([[0.68, 0.1, 0.92, 0.95]])
    assert heads_that_are_riders(heads, riders).tolist() == [True, False, True, False]
    assert heads_that_are_riders(heads[:0], riders).tolist() == []


def test_a_head_fills_an_ellipse_a_plate_its_box_and_what_is_tiny_is_not_asked_for() -> None:
    heads, plates = np.array([[40.0, 40, 104, 104], [200, 8, 203, 11]]), np.array([[120.0, 200, 160, 216]])
    truth, weight = maps_of([heads, plates], 256)
    assert truth.shape == weight.shape == (2, 64, 64)
    assert truth[0].sum() * 16 == pytest.approx(np.pi * 32**2, rel=0.05)
    assert truth[1].sum() * 16 == pytest.approx(40 * 16, rel=0.01)
    assert weight[0, 2, 50] < 1
    assert weight[1].min() == 1


def test_what_counts_as_hidden_is_the_ellipse_in_a_heads_box() -> None:
    box = np.array([[0.25, 0.25, 0.5, 0.5], [0.9, 0.9, 0.95, 0.95]])
    mask = np.zeros((100, 100), np.bool_)
    mask[25:50, 25:50] = True
    mask[25:29, 25:29] = False
    hidden = count("a", box, mask, round_=True)
    assert len(hidden.shares) == 1
    assert 0.96 < hidden.shares[0] < 1.0
    assert hidden.area == 25 * 25 - 16
    assert hidden.meant == pytest.approx(25 * 25 + 5 * 5, abs=12)


def test_a_person_whose_head_was_found_is_not_hidden_any_further() -> None:
    heads = np.zeros((240, 320), np.bool_)
    heads[52:70, 108:130] = True
    found = Private(heads, np.zeros_like(heads))
    persons = detections((100, 50, 140, 150), (220, 50, 260, 150))
    hidden = conceal(found, persons, 320, 240)
    assert (hidden[:, :180] == heads[:, :180]).all()
    assert hidden[60, 240]


def test_plates_are_hidden_as_they_are() -> None:
    plates = np.zeros((240, 320), np.bool_)
    plates[200:210, 100:140] = True
    hidden = conceal(Private(np.zeros_like(plates), plates), detections(), 320, 240)
    assert (hidden == plates).all()
