"""What proves an act: the moment at which its rider was seen best, with his box and nobody else's."""

from __future__ import annotations

import weakref

import cv2
import numpy as np
import pytest

from edge.camera.frame import Frame, Image
from edge.vision import helmets
from edge.vision.detections import Detections
from edge.vision.helmets import HelmetWatch
from edge.vision.pipeline import FrameResult, VisionPipeline, VisionSettings
from edge.vision.scenes.config import HelmetConfig
from edge.vision.scenes.helmet import HelmetScene
from edge.vision.tracker import Track
from tests.fixtures.helmets import Bare
from tests.fixtures.vision import LABELS, THRESHOLDS, track

WIDTH, HEIGHT = 900, 360
ORANGE = np.array([40, 170, 255], int)


class Riders:
    """So many riders side by side, each some steps after the one before him; all leave at once."""

    labels = LABELS
    thresholds = THRESHOLDS

    def __init__(self, count: int, apart: int = 0) -> None:
        self.count, self.apart, self.step, self.gone = count, apart, 0, False

    def boxes(self, step: int) -> list[tuple[float, float, float, float]]:
        """Of the persons."""
        return [
            (20.0 + 200 * n + 6 * step, 60.0, 90.0 + 200 * n + 6 * step, 200.0)
            for n in range(self.count)
            if step >= n * self.apart
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


def _frame(n: int) -> Frame:
    return Frame(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), n * 100, n)


def _followed(n: int) -> tuple[Track, ...]:
    """Of so many riders and one the tracks, at that picture's instant; each with his mount."""
    return tuple(
        track(2 * rider + mount, 60 + 100 * rider, 200 + 20 * mount, n * 100, label=label, size=size)
        for rider in range(n + 1)
        for mount, (label, size) in enumerate((("person", (70.0, 140.0)), ("motorcycle", (80.0, 80.0))))
    )


def _ride(
    count: int, probability: float = 0.95, *, apart: int = 0
) -> tuple[list[FrameResult], VisionPipeline, Riders]:
    told = {
        "gate": {"enabled": False},
        "evidence": {"search_persons": False, "widest": WIDTH},
        "scenes": [
            {"scene": "helmet", "id": "riders", "zone": [[0, 0], [1, 0], [1, 1], [0, 1]]},
            {"scene": "zone", "id": "left", "zone": [[0, 0], [1, 0], [1, 1], [0, 1]], "enter_s": 4.0},
        ],
    }
    riders = Riders(count, apart)
    pipeline = VisionPipeline(
        VisionSettings.model_validate(told), riders, open_judge=lambda _: Bare(probability), finder=None
    )
    results = []
    for step in range(80):
        riders.step, riders.gone = step, step >= 20
        results.append(pipeline.process(_frame(step)))
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


def test_of_four_riders_who_leave_at_once_each_is_shown_at_his_own_place() -> None:
    """More pictures than are kept as they came: the older ones were packed meanwhile."""
    results, pipeline, _ = _ride(4, apart=3)
    (told,) = [result for result in results if any(event.phase == "act" for event in result.events)]
    assert len(told.events) == 4
    for event, picture in zip(told.events, told.pictures, strict=True):
        assert picture is not None
        assert picture.captured_at <= 1900
        (sighting,) = event.tracks
        assert _is_marked(picture.jpeg, sighting.xyxy)
    assert pipeline.counters.pictures > helmets._UNPACKED


def test_a_rider_whose_moment_was_not_kept_is_told_without_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box from when he was there, over a picture from when he is gone, would point at somebody else."""
    monkeypatch.setattr(helmets, "_MOMENTS", 2)
    results, pipeline, _ = _ride(4)
    (told,) = [result for result in results if any(event.phase == "act" for event in result.events)]
    assert len(told.events) == 4
    shown = [picture for picture in told.pictures if picture is not None]
    assert len(shown) == 2
    assert all(picture.captured_at <= 1900 for picture in shown)
    assert pipeline.counters.pictures == len({picture.captured_at for picture in shown})


def test_few_whole_pictures_are_kept_however_many_ride_and_none_when_they_have_passed() -> None:
    frames, followed = [_frame(n) for n in range(6)], [_followed(n) for n in range(6)]
    scene = HelmetScene(HelmetConfig.model_validate({"scene": "helmet", "id": "riders"}))
    scene.resize(WIDTH, HEIGHT)
    watch = HelmetWatch([scene], lambda _: Bare())
    alive = [weakref.ref(frame.image) for frame in frames]
    for n in range(6):
        # One more in each picture: six best moments in as many pictures.
        watch.look(frames[n], Detections.empty(LABELS), followed[n])
        scene.step(followed[n], frames[n].captured_at)
    del frames
    assert sum(image() is not None for image in alive) <= 2
    nobody = _frame(60)
    scene.step((), nobody.captured_at)
    watch.look(nobody, Detections.empty(LABELS), ())
    assert sum(image() is not None for image in alive) == 0


def test_all_who_rode_past_are_counted_also_where_nobody_was_bare() -> None:
    for probability, said in ((0.95, (3, 3, 0)), (0.05, (3, 0, 0)), (0.5, (3, 0, 3))):
        _, pipeline, _ = _ride(3, probability)
        counters = pipeline.counters
        assert (counters.riders, counters.helmetless, counters.unknown) == said
