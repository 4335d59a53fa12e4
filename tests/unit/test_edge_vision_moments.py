"""What proves an act: the moment at which its rider was seen best, with his box and nobody else's."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.camera.frame import Frame, Image
from edge.vision.detections import Detections
from edge.vision.pipeline import FrameResult, VisionPipeline, VisionSettings
from models.helmet import HelmetJudge
from models.manifest import HelmetManifest, VerdictThresholds
from tests.fixtures.vision import LABELS, THRESHOLDS, street

WIDTH, HEIGHT = 900, 360
ORANGE = np.array([40, 170, 255], int)


class Bare(HelmetJudge):
    """Takes every head for bare."""

    def __init__(self, probability: float = 0.95) -> None:
        self.manifest = HelmetManifest.model_construct(
            thresholds=VerdictThresholds(helmetless=0.7, helmet=0.3), smallest=8.0
        )
        self._probability = probability

    def crops(self, image: Image, heads: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
        return [street(32, 32) for _ in heads]

    def of_crops(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.full(len(crops), self._probability, np.float32)


class Riders:
    """So many riders side by side, all of whom leave at once."""

    labels = LABELS
    thresholds = THRESHOLDS

    def __init__(self, count: int) -> None:
        self.count, self.step, self.gone = count, 0, False

    def boxes(self, step: int) -> list[tuple[float, float, float, float]]:
        """Of the persons."""
        return [
            (20.0 + 200 * n + 6 * step, 60.0, 90.0 + 200 * n + 6 * step, 200.0) for n in range(self.count)
        ]

    def detect(self, image: Image) -> Detections:
        """Persons and their motorcycles."""
        if self.gone or image.shape[:2] != (HEIGHT, WIDTH):
            return Detections.empty(LABELS)
        persons = self.boxes(self.step)
        mounts = [(left - 5, top + 80, right + 5, bottom + 20) for left, top, right, bottom in persons]
        count = len(persons)
        return Detections(
            np.array([*persons, *mounts], np.float32),
            np.full(2 * count, 0.9, np.float32),
            np.array([0] * count + [2] * count, np.int32),
            LABELS,
        )


def _ride(count: int, probability: float = 0.95) -> tuple[list[FrameResult], VisionPipeline, Riders]:
    told = {
        "gate": {"enabled": False},
        "evidence": {"search_persons": False, "widest": WIDTH},
        "scenes": [
            {"scene": "helmet", "id": "riders", "zone": [[0, 0], [1, 0], [1, 1], [0, 1]]},
            {"scene": "zone", "id": "left", "zone": [[0, 0], [1, 0], [1, 1], [0, 1]], "enter_s": 4.0},
        ],
    }
    riders = Riders(count)
    pipeline = VisionPipeline(
        VisionSettings.model_validate(told), riders, open_judge=lambda _: Bare(probability), finder=None
    )
    results = []
    for step in range(80):
        riders.step, riders.gone = step, step >= 20
        results.append(pipeline.process(Frame(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), step * 100, step)))
    return results, pipeline, riders


def _is_marked(jpeg: bytes, box: tuple[float, float, float, float]) -> bool:
    """Whether the left and right edges of a box are drawn."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    left, top, right, bottom = (round(edge) for edge in box)
    middle = (top + bottom) // 2
    near = [picture[middle - 30 : middle + 30, max(x - 4, 0) : x + 5] for x in (left, right)]
    return all((np.abs(part.astype(int) - ORANGE).max(axis=2) < 70).any(axis=1).mean() > 0.8 for part in near)


def test_two_riders_who_leave_at_once_are_each_shown_at_their_own_place() -> None:
    results, _, riders = _ride(2)
    (told,) = [result for result in results if any(event.phase == "act" for event in result.events)]
    assert [event.scene for event in told.events] == ["riders", "riders"]
    for event, picture in zip(told.events, told.pictures, strict=True):
        assert picture is not None
        assert picture.captured_at <= 1900
        (sighting,) = event.tracks
        assert _is_marked(picture.jpeg, sighting.xyxy)
        step = picture.captured_at // 100
        there = min(riders.boxes(step), key=lambda box: abs(box[0] - sighting.xyxy[0]))
        assert abs(there[0] - sighting.xyxy[0]) <= 6, "the box is where its rider is in this very picture"


def test_a_rider_whose_moment_was_not_kept_is_told_without_a_picture() -> None:
    """A box from when he was there, over a picture from when he is gone, would point at somebody else."""
    results, pipeline, _ = _ride(4)
    (told,) = [result for result in results if any(event.phase == "act" for event in result.events)]
    assert len(told.events) == 4
    shown = [picture for picture in told.pictures if picture is not None]
    assert 1 <= len(shown) <= 2
    assert all(picture.captured_at <= 1900 for picture in shown)
    assert pipeline.counters.pictures == len({picture.captured_at for picture in shown})


def test_all_who_rode_past_are_counted_also_where_nobody_was_bare() -> None:
    for probability, said in ((0.95, (3, 3, 0)), (0.05, (3, 0, 0)), (0.5, (3, 0, 3))):
        _, pipeline, _ = _ride(3, probability)
        counters = pipeline.counters
        assert (counters.riders, counters.helmetless, counters.unknown) == said
