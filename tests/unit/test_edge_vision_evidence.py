"""Evidence: no head of anybody detected leaves the box unblurred, and the file stays small."""

from __future__ import annotations

from typing import Self

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.runtime.errors import InvalidError
from edge.camera.frame import Frame, Image
from edge.vision.blur import blur_where, conceal, head_regions, without_groups
from edge.vision.detections import Detections
from edge.vision.evidence import EvidenceMaker, EvidenceSettings, Present
from edge.vision.finder import PRIVACY, LateFinder, open_finder
from edge.vision.scenes.scene import SceneEvent, Sighting
from models.manifest import Thresholds
from models.privacy import Private
from tests.fixtures.vision import LABELS, ScriptedDetector, detections, difference, street, track


def _detail(image: Image) -> float:
    """How much neighbouring pixels differ, on average."""
    values = image.astype(np.float64)
    return float(np.abs(np.diff(values, axis=1)).mean() + np.abs(np.diff(values, axis=0)).mean())


def _blurred(picture: Image, persons: NDArray[np.float32]) -> Image:
    """With the heads of these persons hidden, nothing being known but their boxes."""
    found = detections(*(tuple(box) for box in persons.tolist()))
    return blur_where(picture, conceal(None, found, picture.shape[1], picture.shape[0]))


_PERSON = st.tuples(st.floats(-20, 300), st.floats(-20, 220), st.floats(6, 90), st.floats(12, 200))


@settings(max_examples=60)
@given(st.lists(_PERSON, min_size=1, max_size=6))
def test_the_head_of_every_person_loses_its_detail_and_the_original_keeps_it(
    rows: list[tuple[float, float, float, float]],
) -> None:
    picture = street()
    before = picture.copy()
    persons = np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32)
    blurred = _blurred(picture, persons)
    assert (picture == before).all()
    assert blurred.shape == picture.shape
    for left, top, right, bottom in persons:
        # The upper fifth of the box in its middle half: there the head of a standing figure is.
        x1, x2 = left + (right - left) / 4, right - (right - left) / 4
        y1, y2 = top, top + (bottom - top) / 5
        head = blurred[max(0, int(y1)) : max(0, int(y2)), max(0, int(x1)) : max(0, int(x2))]
        if head.shape[0] >= 4 and head.shape[1] >= 4:
            assert _detail(head) < 0.35 * _detail(before)


def test_what_is_far_from_any_head_is_untouched() -> None:
    picture = street()
    blurred = _blurred(picture, np.array([[100, 50, 140, 150]], np.float32))
    changed = difference(picture, blurred) > 0
    assert changed[50:75, 105:135].mean() > 0.95
    assert not changed[110:, :].any()
    assert not changed[:, :80].any()
    assert not changed[:, 160:].any()


def test_a_squat_box_is_blurred_deeper_than_a_tall_one() -> None:
    boxes = np.array([[0, 100, 40, 200], [0, 100, 90, 200]], np.float32)
    tall, squat = head_regions(boxes, 640, 480).tolist()
    assert squat[3] - squat[1] > tall[3] - tall[1]


def test_persons_outside_the_picture_are_no_trouble() -> None:
    outside = np.array([[-100, -100, -50, -20], [900, 900, 950, 990], [10, 10, 10, 10]], np.float32)
    assert _blurred(street(), outside).shape == (240, 320, 3)


def test_a_box_around_persons_found_more_surely_is_no_person() -> None:
    people = detections((10, 50, 40, 150), (60, 50, 90, 150), (0, 40, 300, 160), score=[0.8, 0.4, 0.12])
    assert without_groups(people).xyxy[:, 0].tolist() == [10, 60]


def test_a_sure_person_in_front_of_others_stays() -> None:
    people = detections((10, 50, 40, 150), (0, 0, 120, 230), score=[0.4, 0.9])
    assert len(without_groups(people)) == 2


def _maker(answer: Detections | None = None, **changes: object) -> EvidenceMaker:
    return EvidenceMaker(
        EvidenceSettings.model_validate(changes), ScriptedDetector(answer or Detections.empty(LABELS))
    )


def _decoded(jpeg: bytes) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def _head(image: Image, x: int, y: int) -> Image:
    return image[y : y + 15, x + 8 : x + 32]


def test_persons_detected_weakly_followed_or_found_by_a_second_look_are_all_blurred() -> None:
    picture = street(400, 300)
    weak = detections((20, 100, 60, 200), score=0.11)
    second_look = detections((50, 60, 90, 160), score=0.12)
    followed = [track(1, 320, 200, 0, size=(40, 100), unseen_ms=700)]
    made = _maker(second_look, quality=95, mark=False).make(Frame(picture, 5, 0), weak, followed)
    shown = _decoded(made.jpeg)
    assert made.captured_at == 5
    for x, y in ((20, 100), (300, 100), (50, 60)):
        assert _detail(_head(shown, x, y)) < 0.35 * _detail(_head(picture, x, y))
    # The four tiles of the second look see the same person in four places, besides the two.
    assert made.blurred == 6


class _Failing:
    """A model that can be opened or not, and breaks down at the pictures it is told to."""

    def __init__(self, *, opens: bool = True, breaks: int = 0) -> None:
        self.opens, self.breaks, self.opened = opens, breaks, 0

    def open(self) -> Self:
        self.opened += 1
        if not self.opens:
            raise InvalidError("model.missing", "expected a file, found none", "put it there")
        return self

    def find(self, picture: Image) -> Private | None:
        if self.breaks > 0:
            self.breaks -= 1
            raise InvalidError("model.failed", "expected probabilities, got nan", "verify it")
        nothing = np.zeros(picture.shape[:2], np.bool_)
        return Private(nothing, nothing, nothing)


@pytest.mark.parametrize("fault", [_Failing(opens=False), _Failing(breaks=1)])
def test_where_the_model_fails_all_that_may_be_a_head_or_a_plate_is_blurred(fault: _Failing) -> None:
    picture = street(400, 300)
    maker = EvidenceMaker(
        EvidenceSettings(quality=95, mark=False, search_persons=False),
        ScriptedDetector(),
        LateFinder(fault.open),
    )
    seen = detections((20, 100, 60, 200), score=0.11).with_more(detections((200, 100, 360, 220), label=3))
    shown = _decoded(maker.make(Frame(picture, 0, 0), seen, []).jpeg)
    assert _detail(_head(shown, 20, 100)) < 0.35 * _detail(_head(picture, 20, 100))
    assert _detail(shown[150:218, 210:350]) < 0.35 * _detail(picture[150:218, 210:350])


@pytest.mark.parametrize(("score", "is_hidden"), [(0.55, False), (0.65, True)])
def test_a_sure_persons_head_is_hidden_where_the_model_sees_none(score: float, is_hidden: bool) -> None:
    """From .6 with the detector that ships."""
    maker = EvidenceMaker(
        EvidenceSettings(search_persons=False), ScriptedDetector(), LateFinder(_Failing().open)
    )
    picture, seen = street(400, 300), detections((20, 100, 60, 200), score=score)
    assert maker.hidden(picture, Present(seen, Detections.empty(LABELS))).any() == is_hidden


def test_a_detector_whose_scores_are_lower_hides_no_fewer_heads() -> None:
    low = ScriptedDetector(thresholds=Thresholds(score=0.25, weak=0.1, overlap=0.55))
    maker = EvidenceMaker(EvidenceSettings(search_persons=False), low, LateFinder(_Failing().open))
    picture, seen = street(400, 300), detections((20, 100, 60, 200), score=0.35)
    assert maker.hidden(picture, Present(seen, Detections.empty(LABELS))).any()


def test_a_model_that_failed_is_asked_again_and_opened_once() -> None:
    late, picture = LateFinder((model := _Failing(breaks=2)).open), street()
    assert [late.find(picture) is None for _ in range(4)] == [True, True, False, False]
    assert model.opened == 1


def test_the_model_that_ships_finds_heads_and_plates_in_a_street_without_any() -> None:
    found = open_finder().find(np.full((240, 320, 3), 120, np.uint8))
    assert found.heads.shape == found.plates.shape == found.perhaps.shape == (240, 320)
    assert found.perhaps[found.heads].all()
    assert found.perhaps.mean() < 0.02


@settings(max_examples=10, deadline=None)
@given(st.integers(16, 300), st.integers(16, 300), st.integers(0, 9))
def test_the_finder_answers_pictures_of_every_size_in_their_own(width: int, height: int, seed: int) -> None:
    picture = street(width, height, seed)
    found = PRIVACY.find(picture)
    assert found is not None
    assert found.heads.shape == found.plates.shape == (height, width)
    assert found.heads.dtype == np.bool_


def test_an_answer_that_is_no_probability_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = open_finder()
    monkeypatch.setattr(finder, "maps", lambda _: np.full((2, 8, 8), np.nan, np.float32))
    with pytest.raises(InvalidError) as caught:
        finder.find(street())
    assert caught.value.code == "model.failed"


def test_cars_are_not_blurred() -> None:
    picture = street(400, 300)
    made = _maker(quality=95, mark=False).make(
        Frame(picture, 0, 0), detections((100, 100, 300, 200), label=3), []
    )
    assert made.blurred == 0


def test_a_picture_full_of_detail_still_fits_its_limit() -> None:
    made = _maker(most_bytes=60_000).make(Frame(street(1920, 1080), 0, 0), Detections.empty(LABELS), [])
    assert len(made.jpeg) <= 60_000
    assert _decoded(made.jpeg).shape == (made.height, made.width, 3)


def test_a_wide_picture_is_shrunk_to_its_limit_and_keeps_its_shape() -> None:
    made = _maker(widest=480).make(Frame(street(1280, 720), 0, 0), Detections.empty(LABELS), [])
    assert (made.width, made.height) == (480, 270)


def test_what_the_event_is_about_is_marked() -> None:
    picture = np.full((300, 400, 3), 90, np.uint8)
    event = SceneEvent(
        "act", "lane", "camera.wrong_way", 0, 0, 1, 1.0, (Sighting(1, "car", (100, 100, 200, 200)),)
    )
    made = _maker(quality=95).make(Frame(picture, 0, 0), Detections.empty(LABELS), [], events=[event])
    changed = difference(_decoded(made.jpeg), picture) > 30
    assert changed[95:105, 100:200].any()
    assert not changed[130:170, 130:170].any()


@pytest.mark.parametrize("fault", [{"quality": 5}, {"widest": 20}, {"phases": ["begin"]}, {"blur": False}])
def test_settings_that_make_no_evidence_are_refused(fault: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        EvidenceSettings.model_validate(fault)
