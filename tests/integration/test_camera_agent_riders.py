"""Riders who are still in the picture when no more pictures come are judged by what was seen of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.camera.frame import Image
from edge.camera.source import CameraLostError
from edge.cameras import Camera
from edge.vision.detections import Detections
from models.helmet import HelmetJudge
from tests.fixtures.edge_cameras import SCENE, CameraBox, NobodyDetectors, camera_box, video
from tests.fixtures.edge_gateway import eventually
from tests.fixtures.helmets import Bare
from tests.fixtures.vision import ScriptedDetector, detections, street

ACT = "camera.no_helmet"
RIDDEN = 20
"""Pictures, two seconds of them; tracks that are not seen live longer than that."""


class OneRider(NobodyDetectors):
    """Somebody rides through the first pictures and stays where he is then."""

    def get(self, model: str) -> ScriptedDetector:
        return ScriptedDetector(*[_riding(12.0 * n) for n in range(RIDDEN)])

    def judge(self, model: str) -> HelmetJudge:
        return Bare()


def _riding(x: float) -> Detections:
    return detections((x, 40, x + 50, 160), (x - 5, 100, x + 60, 180), label=[0, 2])


@pytest.fixture
def box(tmp_path: Path) -> Iterator[CameraBox]:
    with camera_box(tmp_path / "box") as opened:
        yield opened


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    def picture(n: int) -> Image:
        grain = np.random.default_rng(n).integers(0, 5, (240, 320, 3), dtype=np.uint8)
        return np.asarray(street(seed=1) // 2 + grain, np.uint8)

    return video(tmp_path / "ride.mp4", picture, RIDDEN)


def _camera(box: CameraBox, footage: Path, *, loop: bool) -> Camera:
    return box.camera(
        footage,
        loop=loop,
        paced=loop,
        detectors=OneRider(),
        gate={"enabled": False},
        health={"enabled": False},
        evidence={"search_persons": False},
        scenes=[SCENE, {"scene": "helmet", "id": "riders"}],
    )


def test_a_rider_whom_the_footage_leaves_on_his_way_is_judged_and_counted(
    box: CameraBox, footage: Path
) -> None:
    camera = _camera(box, footage, loop=False)
    with box.running():
        eventually(lambda: camera.finished, 60)
    (act,) = [one for one in box.observations() if one.category == ACT]
    assert act.phase == "act"
    assert [proof.media_type for proof in act.evidence] == ["image/jpeg"], "shown by when he was seen best"
    assert act.started_at <= act.evidence[0].captured_at <= act.at
    assert act.at - act.started_at == pytest.approx(100 * (RIDDEN - 1), abs=300)
    books = box.coverage()
    assert (books["riders_passed"], books["riders_helmetless"], books["riders_unknown"]) == (1, 1, 0)


def test_a_box_that_stops_judges_who_is_on_his_way_and_lets_conditions_go_on(
    box: CameraBox, footage: Path
) -> None:
    camera = _camera(box, footage, loop=True)
    with box.running():
        eventually(lambda: camera.valid_looks >= RIDDEN, 60)
        assert box.said(ACT) == []
    assert box.said(ACT) == [("act", ACT)]
    assert box.coverage()["riders_passed"] == 1
    assert box.said("zone") == [("start", "camera.zone_occupied")]
    assert box.book.is_open("scene:cam-1:all", "camera.zone_occupied")


def test_a_rider_is_not_judged_because_the_camera_is_away_for_a_moment(box: CameraBox, footage: Path) -> None:
    camera = _camera(box, footage, loop=True)
    while camera.valid_looks < RIDDEN:
        camera.look(1.0)
    camera._lose(CameraLostError("camera.stalled", "no frames", "check the cable"))
    assert box.said(ACT) == []
    camera.close()
    camera.close()
    assert box.said(ACT) == [("act", ACT)], "once"
