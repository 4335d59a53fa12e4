"""Riders go through the picture: from pixels to a passing act with its evidence, heads blurred."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera.frame import Frame, Image
from edge.vision.detections import Detections
from edge.vision.pipeline import FrameResult, VisionPipeline, VisionSettings
from models.data.riders import Head, parts, read_heads, read_picture
from tests.fixtures.vision import LABELS, THRESHOLDS

CANVAS = (360, 900)
BARE, HELMETED = "a0160", "a0868"
"""Of the held-out photos two with one rider each, who is plainly bare-headed, and plainly helmeted."""


class Riding:
    """A street along which one photographed rider goes; it finds the rider where it was put last."""

    labels = LABELS
    thresholds = THRESHOLDS

    def __init__(self, head: Head) -> None:
        photo = read_picture(head.picture)
        left, top, right, bottom = head.box
        side = max(right - left, bottom - top)
        scale = 60 / side
        small = np.asarray(
            cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )
        x, y = (left + right) / 2 * scale, (top + bottom) / 2 * scale
        # A rider's box is some three heads high and two heads wide; the head sits at its top.
        self._person = (x - 60.0, y - 22.0, x + 60.0, y + 160.0)
        self._photo = small
        self._at = 0
        self.image: Image = np.zeros((*CANVAS, 3), np.uint8)

    def ride(self, number: int) -> Frame:
        """The next frame, a tenth of a second later."""
        street = np.full((*CANVAS, 3), 96, np.uint8)
        self._at = 12 * number
        height, width = min(self._photo.shape[0], CANVAS[0]), min(self._photo.shape[1], CANVAS[1] - self._at)
        street[:height, self._at : self._at + width] = self._photo[:height, :width]
        return Frame(street, 1_767_225_600_000 + 100 * number, number)

    def detect(self, image: Image) -> Detections:
        """Rider and motorcycle; nothing in a picture without them."""
        if image.shape[:2] != CANVAS or not image.any() or self._at < 0:
            return Detections.empty(LABELS)
        left, top, right, bottom = (
            edge + self._at * (place % 2 == 0) for place, edge in enumerate(self._person)
        )
        mount = (left - 10, top + 90, right + 10, bottom + 25)
        boxes = np.array([(left, top, right, bottom), mount], np.float32)
        return Detections(boxes, np.array([0.9, 0.8], np.float32), np.array([0, 2], np.int32), LABELS)

    def leave(self) -> None:
        """Be gone."""
        self._at = -1


def _passing(head: Head) -> list[FrameResult]:
    settings = VisionSettings.model_validate(
        {"gate": {"enabled": False}, "widest": 1.0, "scenes": [{"scene": "helmet", "id": "riders"}]}
    )
    riding = Riding(head)
    pipeline = VisionPipeline(settings, riding)
    results = [pipeline.process(riding.ride(number)) for number in range(20)]
    frames = [riding.ride(number) for number in range(60, 62)]
    riding.leave()
    return results + [pipeline.process(frame) for frame in frames]


def _head(shared_data: Path, name: str) -> Head:
    heads = parts(read_heads(shared_data / "data" / "helmet-riders")).judged
    return next(head for head in heads if head.picture.stem == name)


@pytest.mark.shared_data
def test_a_rider_without_a_helmet_is_reported_with_the_picture_of_when_he_was_seen_best(
    shared_data: Path,
) -> None:
    results = _passing(_head(shared_data, BARE))
    events = [(result, event) for result in results for event in result.events]
    ((result, event),) = events
    assert (event.phase, event.category) == ("act", "camera.no_helmet")
    assert event.detail["looks"] == 5
    assert result.picture is not None
    assert result.picture.captured_at < result.at, "of a moment while he was in the picture"
    assert result.picture.blurred >= 1
    decoded = cv2.imdecode(np.frombuffer(result.picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.std() > 10, "it shows a street and not nothing"


@pytest.mark.shared_data
def test_a_rider_with_a_helmet_is_not_reported(shared_data: Path) -> None:
    assert [event for result in _passing(_head(shared_data, HELMETED)) for event in result.events] == []
