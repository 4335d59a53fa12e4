"""The example that ships with every scene: each is looked for, by the shipped models, on the footage that ships."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import get_args

import pytest

from common.runtime.clock import SystemClock
from common.runtime.stop import Stop
from common.wire.codec import decode_packet
from common.wire.messages import Events
from edge.camera_loop import CameraLoop
from edge.cameras import Camera
from edge.config import DeviceConfig, drawn_outside, load_device, source_of
from edge.database import Database
from edge.detectors import Detectors
from edge.evidence import EvidenceStore
from edge.inspect import inspect
from edge.observations import ObservationBook
from edge.outbox import SqliteOutbox
from edge.vision.scenes.build import check_drawn
from edge.vision.scenes.config import SceneConfig
from edge.vision.scenes.helmet import HelmetScene
from tests.fixtures.edge_gateway import eventually
from tests.fixtures.edge_messages import ADDRESS

EXAMPLE = Path(__file__).parents[2] / "firmware_configs" / "examples" / "every-scene.yaml"


@pytest.fixture(scope="module")
def config() -> DeviceConfig:
    return load_device(EXAMPLE)


def test_it_has_a_scene_of_every_kind_and_every_category(config: DeviceConfig) -> None:
    (camera,) = config.cameras
    kinds = get_args(get_args(SceneConfig)[0])
    assert {type(scene) for scene in camera.scenes} == set(kinds)
    categories = {
        category for kind in kinds for category in get_args(kind.model_fields["category"].annotation)
    }
    assert {scene.category for scene in camera.scenes} == categories
    assert drawn_outside(EXAMPLE) == []
    check_drawn(camera.scenes)


def test_a_check_finds_all_its_models_and_its_footage(config: DeviceConfig) -> None:
    found = list(inspect(config, EXAMPLE, {}))
    assert [one.error for one in found] == [None] * len(found)
    for model in ("cocossd", "helmet", "water", "fire"):
        assert any(one.what == f"cam-1: model {model}" for one in found)


def test_every_scene_looks_and_nothing_burns_or_is_flooded_on_the_footage_that_ships(
    config: DeviceConfig, tmp_path: Path
) -> None:
    clock, database = SystemClock(), Database(tmp_path / "box")
    outbox = SqliteOutbox(database, ADDRESS, clock)
    book = ObservationBook(database, outbox, clock)
    told = config.cameras[0].model_copy(update={"loop": False, "paced": False})
    camera = Camera(
        told,
        source_of(told, EXAMPLE, {}),
        detectors=Detectors(None, 2),
        book=book,
        evidence=EvidenceStore(database, clock),
        clock=clock,
    )
    stop = Stop()
    thread = threading.Thread(target=CameraLoop([camera], book).run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: camera.finished, 150)
    finally:
        stop.set()
        thread.join(60)
    assert not camera.blind
    pipeline = camera._pipeline
    assert pipeline is not None
    assert (camera.counters.frames, pipeline._waters.looks, pipeline._fires.looks) == (250, 1, 5)
    assert camera.counters.analysed > 50
    assert sum(isinstance(scene, HelmetScene) for scene in pipeline.scenes) == 1
    said = set()
    for waiting in outbox.pending(1000):
        held = outbox.payload(waiting.id)
        assert held is not None
        data = decode_packet(held[1], ADDRESS).data
        assert isinstance(data, Events)
        said |= {one.category for one in data.observations}
    database.close()
    assert "camera.zone_occupied" in said
    assert not said & {"camera.fire", "camera.smoke", "camera.standing_water", "device.camera_blind"}
