"""The shipped water model on a real camera's pictures: a composed flood is reported, what is dry, dark or wet is not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera.frame import Frame
from edge.vision.pipeline import VisionPipeline, VisionSettings
from edge.vision.scenes.scene import SceneEvent
from models.accuracy.water_shown import ROADS, SEGMENTER
from models.data.roads import Road
from models.data.water import Weather, composed
from models.data.water_split import roads_of
from tests.fixtures.vision import ScriptedDetector

#: The roads of all pictures are looked for once.
pytestmark = pytest.mark.xdist_group("roads")
CAMERA = "camera-columns"
"""A city's fixed camera that the model never learnt from."""
LOOKS = 8
DRY = (Weather(), Weather(wet=True), Weather(night=True), Weather(night=True, wet=True), Weather(shade=True))


@pytest.fixture(scope="module")
def roads(shared_data: Path) -> list[Road]:
    data = shared_data / "data"
    found = roads_of(data / ROADS, data / SEGMENTER, judged=True, only=CAMERA)
    assert len(found) >= 3
    return [one.road for one in found]


@pytest.fixture(scope="module")
def dry_pictures(roads: list[Road], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The camera's road by day, at night and wet, as whoever sets it up would take them: other hours, other cars."""
    directory = tmp_path_factory.mktemp("dry")
    paths = []
    for seed, weather in enumerate(DRY):
        road = roads[seed % 2]
        picture, _ = composed(road.picture, road.road, np.random.default_rng(100 + seed), weather)
        paths.append(str(directory / f"{seed}.png"))
        cv2.imwrite(paths[-1], picture)
    return paths


def _watched(roads: Sequence[Road], weather: Weather, dry_pictures: list[str]) -> list[SceneEvent]:
    """What the box says of the camera's pictures in some weather, one every 20 s; water stands where it stood."""
    scene = {
        "scene": "water",
        "id": "crossing",
        "road": ((0.0, 0.35), (1.0, 0.35), (1.0, 0.95), (0.0, 0.95)),
        "dry_pictures": dry_pictures,
        "threshold": 0.6,
    }
    settings = VisionSettings.model_validate({"scenes": [scene]})
    pipeline = VisionPipeline(settings, ScriptedDetector())
    events: list[SceneEvent] = []
    for number in range(LOOKS):
        road = roads[2:][number % len(roads[2:])]
        picture, _ = composed(road.picture, road.road, np.random.default_rng(3), weather)
        events += pipeline.process(Frame(picture, number * 20_000, number)).events
    return events


@pytest.mark.shared_data
def test_a_flood_is_reported_after_several_looks(roads: list[Road], dry_pictures: list[str]) -> None:
    events = _watched(roads, Weather(flood=True), dry_pictures)
    assert [event.phase for event in events][:1] == ["start"]
    assert events[0].category == "camera.standing_water"
    assert events[0].at == 40_000


@pytest.mark.shared_data
@pytest.mark.parametrize(
    "weather",
    [
        Weather(),
        Weather(night=True),
        Weather(wet=True, rain=True),
        Weather(night=True, wet=True, rain=True),
        Weather(shade=True, glare=True, wet=True),
    ],
    ids=["as it is", "night", "rain", "rain at night", "shadow and glare on wet ground"],
)
def test_what_is_dry_dark_or_wet_is_not_reported(
    roads: list[Road], dry_pictures: list[str], weather: Weather
) -> None:
    assert _watched(roads, weather, dry_pictures) == []
