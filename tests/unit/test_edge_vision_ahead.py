"""Looking ahead changes when pictures are looked at, and nothing of what is said about them."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from common.runtime.errors import InvalidError
from edge.camera.frame import Frame, Image
from edge.vision.ahead import LookAhead
from edge.vision.detections import Detections
from edge.vision.pipeline import VisionPipeline, VisionSettings
from tests.fixtures.vision import LABELS, THRESHOLDS, detections


def _frames(count: int) -> list[Frame]:
    return [Frame(np.full((48, 64, 3), n, np.uint8), n * 100, n) for n in range(count)]


class Reader:
    """Gives frames one after the other, then nothing, or says what went wrong."""

    def __init__(self, frames: list[Frame], error: InvalidError | None = None) -> None:
        self._frames = iter(frames)
        self._error = error

    def take(self, timeout: float) -> Frame | None:
        frame = next(self._frames, None)
        if frame is None and self._error is not None:
            raise self._error
        return frame


class Grey:
    """Finds one box, as far to the right as the picture is bright; the first picture takes longest."""

    labels = LABELS
    thresholds = THRESHOLDS

    def __init__(self) -> None:
        self.second = threading.Event()

    def detect(self, image: Image) -> Detections:
        number = int(image[0, 0, 0])
        if number == 0:
            # The second look has to be done before the first one can be.
            assert self.second.wait(20)
        if number == 1:
            self.second.set()
        return detections((number, 0, number + 10, 20))


def test_pictures_are_handed_on_in_order_each_with_its_own_finds() -> None:
    with LookAhead(Reader(_frames(9)).take, Grey(), threads=2) as ahead:
        looked = [ahead.next(1.0) for _ in range(10)]
    assert looked[-1] is None
    assert [one[0].n for one in looked[:-1] if one] == list(range(9))
    assert [one[1].xyxy[0, 0] for one in looked[:-1] if one] == list(range(9))


def test_what_is_wrong_with_the_footage_is_said_after_the_pictures_before_it() -> None:
    error = InvalidError("camera.corrupt", "expected more", "copy the file again")
    with LookAhead(Reader(_frames(3), error).take, Grey(), threads=2) as ahead:
        assert [looked[0].n for looked in (ahead.next(1.0) for _ in range(3)) if looked] == [0, 1, 2]
        with pytest.raises(InvalidError, match="expected more"):
            ahead.next(1.0)


def test_the_path_says_the_same_whether_somebody_looked_ahead_or_not() -> None:
    settings = VisionSettings.model_validate({"gate": {"enabled": False}})
    looked_for = Grey()
    looked_for.second.set()
    plain = VisionPipeline(settings, looked_for)
    expected = [plain.process(frame) for frame in _frames(12)]
    other = VisionPipeline(settings, looked_for)
    with LookAhead(Reader(_frames(12)).take, looked_for) as ahead:
        found = [other.process(*looked) for _ in range(12) if (looked := ahead.next(1.0))]
    assert [one.tracks for one in found] == [one.tracks for one in expected]
