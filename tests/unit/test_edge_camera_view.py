"""A camera's view over restarts, changes of its configuration, and somebody's word that a new one is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from common.runtime.clock import ManualClock
from common.wire.codec import decode_packet
from common.wire.messages import Events, Observation
from edge.camera.frame import Frame, Image
from edge.camera_view import ViewWatch
from edge.cli import app
from edge.config import CameraConfig
from edge.database import Database
from edge.observations import ObservationBook
from edge.outbox import SqliteOutbox
from edge.views import KeptView, ViewStore
from edge.vision.health import KnownView
from tests.fixtures.edge_messages import ADDRESS
from tests.fixtures.vision import BIKES, street

T0 = 1_767_225_600_000
HERE, THERE = street(seed=21), street(seed=22)
ZONE = {"scene": "zone", "id": "square", "zone": [[0, 0], [1, 0], [1, 1], [0, 1]]}


@dataclass
class Watched:
    """One run of a box with one camera."""

    watch: ViewWatch
    outbox: SqliteOutbox
    adopted: list[int]
    at: int = T0

    def show(self, image: Image, seconds: int) -> list[bool]:
        """Whether each picture of so many seconds may be judged by."""
        good = []
        for number in range(seconds):
            grain = np.random.default_rng(number).integers(0, 5, image.shape, dtype=np.uint8)
            good.append(self.watch.is_good(Frame(np.asarray(image // 2 + grain, np.uint8), self.at, number)))
            self.at += 1000
        return good

    @property
    def said(self) -> list[tuple[str, str]]:
        """Phase and category of everything so far."""
        found: list[Observation] = []
        for waiting in self.outbox.pending(1000):
            held = self.outbox.payload(waiting.id)
            assert held is not None
            data = decode_packet(held[1], ADDRESS).data
            assert isinstance(data, Events)
            found += data.observations
        found.sort(key=lambda one: (one.at, one.revision))
        return [(one.phase, one.category.removeprefix("device.camera_")) for one in found]


@contextmanager
def _box(directory: Path, at: int = T0, **changes: Any) -> Iterator[Watched]:
    database = Database(directory / "box")
    clock = ManualClock()
    outbox = SqliteOutbox(database, ADDRESS, clock)
    book = ObservationBook(database, outbox, clock)
    told: dict[str, Any] = {
        "name": "cam-1",
        "path": BIKES,
        "scenes": [ZONE],
        "health": {"after_s": 5, "clear_s": 3},
    }
    config = CameraConfig.model_validate(told | changes)
    adopted: list[int] = []
    store = ViewStore(directory / "box" / "views")
    watch = ViewWatch(
        config, config.path or BIKES, book, store, wall=lambda at: at, adopted=lambda: adopted.append(1)
    )
    yield Watched(watch, outbox, adopted, at)
    database.close()


def _knocked(directory: Path) -> None:
    """A box whose camera was knocked, and which was then switched off."""
    with _box(directory) as box:
        assert all(box.show(HERE, 40))
        box.show(THERE, 20)
        assert box.said == [("start", "moved")]


def test_a_restart_mends_no_camera_that_was_knocked(tmp_path: Path) -> None:
    _knocked(tmp_path)
    with _box(tmp_path, T0 + 100_000) as box:
        assert not any(box.show(THERE, 60))
        assert box.said == [("start", "moved")]
        assert box.show(HERE, 10)[-1]
        assert box.said == [("start", "moved"), ("end", "moved")]


def test_a_camera_that_is_knocked_while_the_box_is_off_is_moved_too(tmp_path: Path) -> None:
    with _box(tmp_path) as box:
        box.show(HERE, 40)
    with _box(tmp_path, T0 + 100_000) as box:
        assert not any(box.show(THERE, 10))
        assert box.said == [("start", "moved")]


@pytest.mark.parametrize(
    "changes",
    [
        {"scenes": [{**ZONE, "zone": [[0, 0], [0.5, 0], [0.5, 1]]}]},
        {"path": BIKES.with_name("other.mp4")},
    ],
)
def test_whoever_draws_zones_anew_has_looked_at_the_view(tmp_path: Path, changes: dict[str, Any]) -> None:
    _knocked(tmp_path)
    with _box(tmp_path, T0 + 100_000, **changes) as box:
        assert all(box.show(THERE, 30))
        assert box.said == [("start", "moved"), ("end", "moved")]


def test_other_changes_of_a_configuration_say_nothing_of_the_view(tmp_path: Path) -> None:
    _knocked(tmp_path)
    with _box(tmp_path, T0 + 100_000, scenes=[{**ZONE, "limit": 9}], evidence={"quality": 60}) as box:
        assert not any(box.show(THERE, 30))


def test_a_view_that_is_not_watched_any_more_leaves_nothing_open(tmp_path: Path) -> None:
    _knocked(tmp_path)
    with _box(tmp_path, T0 + 100_000, health={"enabled": False}) as box:
        assert all(box.show(THERE, 3))
        assert box.said == [("start", "moved"), ("end", "moved")]


def test_somebody_says_that_the_new_view_is_right_and_the_box_goes_on_at_once(tmp_path: Path) -> None:
    device = tmp_path / "lamp.yaml"
    camera = {"name": "cam-1", "path": str(BIKES)}
    device.write_text(
        yaml.safe_dump({"site": "gulou", "device": "lamp-01", "cameras": [camera]}), encoding="utf-8"
    )
    with _box(tmp_path) as box:
        box.show(HERE, 40)
        assert not any(box.show(THERE, 20))
        asked = ["view", "accept", str(device), "cam-1", "--data", str(tmp_path / "box")]
        told = CliRunner().invoke(app, asked)
        assert told.exit_code == 0, told.output
        assert "zones, lanes" in told.output
        assert all(box.show(THERE, 40))
        assert box.adopted == [1]
        assert box.said == [("start", "moved"), ("end", "moved")]
    with _box(tmp_path, T0 + 500_000) as box:
        assert all(box.show(THERE, 30)), "it is known after a restart too"
    refused = CliRunner().invoke(
        app, ["view", "accept", str(device), "cam-9", "--data", str(tmp_path / "box")]
    )
    assert refused.exit_code == 2


def _kept() -> KeptView:
    shape = np.arange(48 * 64, dtype=np.float32).reshape(48, 64)
    return KeptView(KnownView(shape, np.ones((6, 8), np.float32), 90.0, 0.9, 77, 2.4, 9e7), (240, 320))


def test_what_is_kept_is_what_was_known_and_for_its_setup_alone(tmp_path: Path) -> None:
    store, kept = ViewStore(tmp_path / "views"), _kept()
    assert store.load("cam-1", "a") is None
    store.save("cam-1", "a", kept)
    found = store.load("cam-1", "a")
    assert found is not None
    assert (found.view.shape == kept.view.shape).all()
    assert (found.view.spread, found.view.likeness, found.view.seen, found.size) == (
        90.0,
        0.9,
        77,
        (240, 320),
    )
    assert (found.view.focus, found.view.focus_ms) == (2.4, 9e7)
    assert store.load("cam-1", "b") is None
    assert store.load("cam-2", "a") is None


def test_a_view_that_was_kept_before_its_focus_was_watched_is_still_known(tmp_path: Path) -> None:
    store = ViewStore(tmp_path)
    store.save("cam-1", "a", _kept())
    with np.load(tmp_path / "cam-1.npz") as held:
        before = {name: held[name] for name in held if not name.startswith("focus")}
    np.savez_compressed(tmp_path / "cam-1.npz", **before)
    found = store.load("cam-1", "a")
    assert found is not None
    assert (found.view.seen, found.view.focus, found.view.focus_ms) == (77, 0.0, 0.0)


@pytest.mark.parametrize("spoil", [lambda _: b"", lambda whole: whole[:500], lambda _: b"not a view" * 100])
def test_a_spoilt_file_costs_a_new_beginning_and_no_more(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    store = ViewStore(tmp_path)
    store.save("cam-1", "a", _kept())
    file = tmp_path / "cam-1.npz"
    file.write_bytes(spoil(file.read_bytes()))
    assert store.load("cam-1", "a") is None
    store.save("cam-1", "a", _kept())
    assert store.load("cam-1", "a") is not None


def test_a_disk_that_takes_nothing_costs_no_camera(tmp_path: Path) -> None:
    (tmp_path / "views").write_text("in the way", encoding="utf-8")
    ViewStore(tmp_path / "views").save("cam-1", "a", _kept())
    assert ViewStore(tmp_path / "views").load("cam-1", "a") is None
