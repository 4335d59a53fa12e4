"""A detector that a user brings works by its manifest alone, whichever head it has; a wrong one fails at load."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import yaml
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.runtime.errors import InvalidError
from edge.camera.frame import Frame
from edge.vision.detections import Detections
from edge.vision.detector import OnnxDetector
from edge.vision.heads import EndToEndHead, YoloHead
from edge.vision.pipeline import VisionPipeline, VisionSettings
from edge.vision.scenes.build import check_labels
from models.manifest import Manifest
from models.store import Model, open_model
from tests.fixtures.onnx_files import answering, picking, reshaping

LABELS = ("person", "traffic_light", "car")
SIDE = 64
#: 8x8, 4x4 and 2x2 cells of the strides 8, 16 and 32.
CELLS = 84


def _manifest(head: str, content: bytes, **changes: object) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": "mine",
        "title": "A detector of one's own",
        "file": "mine.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "ships": False,
        "head": head,
        "input": {
            "name": "images",
            "width": SIDE,
            "height": SIDE,
            "layout": "nchw",
            "channels": "rgb",
            "dtype": "float32",
            "fit": "letterbox",
            "scale": 1 / 255,
        },
        "labels": list(LABELS),
        "thresholds": {"score": 0.4, "weak": 0.1, "overlap": 0.6},
        "licence": "mine",
        "origin": "trained at home",
    }
    return told | changes


def _brought(
    directory: Path,
    head: str,
    outputs: Sequence[NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
    **changes: object,
) -> OnnxDetector:
    """Lay file and manifest into a folder as a user would, and open them by name."""
    file = answering(directory / "mine.onnx", outputs, shape=(1, 3, SIDE, SIDE), metadata=metadata)
    told = _manifest(head, file.read_bytes(), **changes)
    (directory / "mine.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    return OnnxDetector(open_model("mine", directory), labels=("person", "car"), threads=1)


def _yolo(*cells: tuple[float, ...]) -> NDArray[np.float32]:
    """``[1, 4 + C, N]`` with these columns first, all others silent."""
    grid = np.zeros((1, 4 + len(LABELS), CELLS), np.float32)
    for place, cell in enumerate(cells):
        grid[0, :, place] = cell
    return grid


def _finds(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    """``[1, 300, 6]`` with these rows first."""
    found = np.zeros((1, 300, 6), np.float32)
    for place, row in enumerate(rows):
        found[0, place] = row
    return found


def _yolox(cells: Mapping[int, tuple[float, ...]]) -> NDArray[np.float32]:
    grid = np.zeros((1, CELLS, 5 + len(LABELS)), np.float32)
    for place, cell in cells.items():
        grid[0, place] = cell
    return grid


def _look(detector: OnnxDetector) -> Detections:
    """At a picture twice as wide as the input and as high as it: the letterbox halves both."""
    return detector.detect(np.zeros((SIDE, 2 * SIDE, 3), np.uint8))


def test_a_yolo_head_that_leaves_suppression_to_us(tmp_path: Path) -> None:
    grid = _yolo(
        (20, 16, 10, 20, 0.9, 0.0, 0.1),
        (21, 16, 10, 20, 0.8, 0.0, 0.1),
        (50, 20, 8, 8, 0.1, 0.2, 0.7),
        (10, 10, 8, 8, 0.0, 0.9, 0.0),
    )
    found = _look(_brought(tmp_path, "yolo", [grid]))
    assert [found.name(n) for n in range(len(found))] == ["person", "car"]
    assert found.score.tolist() == pytest.approx([0.9, 0.7])
    assert found.xyxy[0].tolist() == pytest.approx([30, 12, 50, 52])


def test_a_yolo_head_that_suppresses_by_itself(tmp_path: Path) -> None:
    finds = _finds(
        (15, 6, 25, 26, 0.9, 0), (46, 16, 54, 24, 0.7, 2), (6, 6, 14, 14, 0.6, 1), (1, 1, 2, 2, 0.05, 0)
    )
    found = _look(_brought(tmp_path, "end_to_end", [finds]))
    assert [found.name(n) for n in range(len(found))] == ["person", "car"]
    assert found.xyxy[0].tolist() == pytest.approx([30, 12, 50, 52])


def test_a_yolox_head_with_its_grid_undecoded_and_decoded(tmp_path: Path) -> None:
    # Row 1, column 2 of stride 8: its corner is at x 16, y 8.
    raw = _yolox({10: (0.5, 1.0, np.log(1.25), np.log(2.5), 0.9, 1.0, 0.0, 0.0)})
    pixels = _yolox({10: (20, 16, 10, 20, 0.9, 1.0, 0.0, 0.0)})
    for head, grid in (("yolox", raw), ("yolox_decoded", pixels)):
        found = _look(_brought(tmp_path, head, [grid]))
        assert [found.name(n) for n in range(len(found))] == ["person"]
        assert found.score.tolist() == pytest.approx([0.9])
        assert found.xyxy[0].tolist() == pytest.approx([30, 12, 50, 52], abs=0.01)


def test_an_ssd_head(tmp_path: Path) -> None:
    scores, boxes = np.zeros((1, 20, 3), np.float32), np.zeros((1, 20, 1, 4), np.float32)
    scores[0, 4] = 0.9, 0.0, 0.1
    boxes[0, 4, 0] = 6 / SIDE, 15 / SIDE, 26 / SIDE, 25 / SIDE
    found = _look(_brought(tmp_path, "ssd", [scores, boxes]))
    assert found.xyxy[0].tolist() == pytest.approx([30, 12, 50, 52])


@pytest.mark.parametrize(
    ("head", "outputs", "expected", "found"),
    [
        ("yolo", [np.zeros((1, CELLS, 7))], r"\[1, 7, any\] of a yolo head with 3 labels", r"\[1, 84, 7\]"),
        ("yolo", [np.zeros((1, 84, CELLS))], r"\[1, 7, any\]", r"\[1, 84, 84\]"),
        ("yolo", [np.zeros((1, 300, 6))], r"\[1, 7, any\]", r"\[1, 300, 6\]"),
        ("end_to_end", [np.zeros((1, 7, CELLS))], r"\[1, any, 6\] of a end_to_end head", r"\[1, 7, 84\]"),
        ("yolox", [np.zeros((1, CELLS, 85))], r"\[1, 84, 8\] of a yolox head", r"\[1, 84, 85\]"),
        ("yolox_decoded", [np.zeros((1, 21, 8))], r"\[1, 84, 8\]", r"\[1, 21, 8\]"),
        ("ssd", [np.zeros((1, 20, 3))], r"\[1, any, 3\]; \[1, any, 1, 4\]", r"\[1, 20, 3\]"),
    ],
)
def test_a_head_of_another_shape_fails_at_load_saying_both(
    tmp_path: Path, head: str, outputs: list[NDArray[Any]], expected: str, found: str
) -> None:
    with pytest.raises(InvalidError, match=expected) as caught:
        _brought(tmp_path, head, outputs)
    assert caught.value.code == "model.shape"
    assert caught.match(found)


def test_a_model_that_stumbles_over_the_size_of_its_manifest_fails_at_load(tmp_path: Path) -> None:
    """Exported with free sizes, yet some layer wants one alone: onnxruntime calls that by another name than most faults."""
    file = reshaping(tmp_path / "mine.onnx", (1, 7, 1000), name="images")
    told = _manifest("yolo", file.read_bytes())
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    with pytest.raises(InvalidError, match=r"expected to run on float32 \(1, 3, 64, 64\)") as caught:
        OnnxDetector(open_model("mine", tmp_path), labels=("person", "car"), threads=1)
    assert caught.value.code == "model.shape"


@pytest.mark.parametrize("shape", [(16, 20_000, 3), (20_000, 16, 3), (1, 1, 3)])
def test_a_picture_of_any_shape_is_looked_at(tmp_path: Path, shape: tuple[int, ...]) -> None:
    detector = _brought(tmp_path, "end_to_end", [_finds()])
    assert len(detector.detect(np.zeros(shape, np.uint8))) == 0


def test_a_detector_that_knows_some_of_what_streets_hold_is_asked_for_that(tmp_path: Path) -> None:
    brought = _brought(tmp_path, "end_to_end", [_finds((15, 6, 25, 26, 0.9, 0), (46, 16, 54, 24, 0.7, 2))])
    detector = OnnxDetector(Model(brought.manifest, tmp_path / "mine.onnx"), threads=1)
    assert detector.labels == ("person", "car")
    assert len(_look(detector)) == 2


def test_a_detector_that_knows_nothing_of_streets_fails_at_load(tmp_path: Path) -> None:
    brought = _brought(tmp_path, "end_to_end", [_finds()])
    changed = brought.manifest.model_copy(update={"labels": ("kite", "dog", "cat")})
    with pytest.raises(InvalidError, match=r"to know any of person, bicycle.*found kite, dog, cat") as caught:
        OnnxDetector(Model(changed, tmp_path / "mine.onnx"), threads=1)
    assert caught.value.code == "model.labels"


_ZONE = {"scene": "zone", "id": "square", "zone": [[0, 0], [1, 0], [1, 1]]}


@pytest.mark.parametrize(
    ("thresholds", "starts"),
    [({"score": 0.25}, True), ({"score": 0.25, "birth": 0.45}, False), ({"score": 0.45}, False)],
)
def test_who_is_found_as_surely_as_the_manifest_asks_is_followed_and_starts_an_event(
    tmp_path: Path, thresholds: dict[str, float], starts: bool
) -> None:
    finds = _finds((15, 6, 25, 26, 0.4, 0))
    told = {"weak": 0.1, "overlap": 0.6} | thresholds
    detector = _brought(tmp_path, "end_to_end", [finds], thresholds=told)
    everywhere = _ZONE | {"zone": [[0, 0], [1, 0], [1, 1], [0, 1]], "limit": 1, "enter_s": 1}
    settings = VisionSettings.model_validate({"gate": {"enabled": False}, "scenes": [everywhere]})
    pipeline = VisionPipeline(settings, detector, finder=None)
    grey = np.full((SIDE, 2 * SIDE, 3), 90, np.uint8)
    phases = [event.phase for n in range(20) for event in pipeline.process(Frame(grey, n * 100, n)).events]
    assert phases == (["start"] if starts else [])


_LANE = {"scene": "wrong_way", "id": "lane", "lane": [[0, 0], [1, 0], [1, 1]], "direction": [1, 0]}


@pytest.mark.parametrize(
    ("scene", "lacking"),
    [
        (_ZONE, ""),
        (_LANE, ""),
        (_ZONE | {"labels": ["person", "car"]}, ""),
        (_ZONE | {"labels": ["person", "bus"]}, "square watches for: bus; found person, car"),
        (_LANE | {"labels": ["motorcycle"]}, "lane watches for: motorcycle"),
        ({"scene": "helmet", "id": "gate"}, "gate watches for: motorcycle"),
        ({"scene": "fire", "id": "yard"}, ""),
    ],
)
def test_no_scene_waits_for_what_its_detector_can_never_say(scene: dict[str, Any], lacking: str) -> None:
    scenes = VisionSettings.model_validate({"scenes": [scene]}).scenes
    if not lacking:
        check_labels(scenes, ("person", "car"), "mine")
        return
    with pytest.raises(InvalidError, match=lacking) as caught:
        check_labels(scenes, ("person", "car"), "mine")
    assert caught.value.code == "model.labels"


def test_names_that_the_file_carries_may_hold_blanks(tmp_path: Path) -> None:
    names = {"names": "{0: 'person', 1: 'traffic light', 2: 'car'}"}
    assert len(_look(_brought(tmp_path, "end_to_end", [_finds()], names))) == 0


@pytest.mark.parametrize(
    "names", ["{0: 'person', 1: 'car'}", "{0: 'car', 1: 'traffic light', 2: 'person'}", "of no use"]
)
def test_a_manifest_that_names_the_classes_otherwise_than_the_file_fails_at_load(
    tmp_path: Path, names: str
) -> None:
    with pytest.raises(InvalidError, match="expected the labels of the manifest, 3 ") as caught:
        _brought(tmp_path, "end_to_end", [_finds()], {"names": names})
    assert caught.value.code == "model.labels"


def test_a_find_of_a_class_without_a_label_is_no_find_of_another(tmp_path: Path) -> None:
    """Where the file names as many classes as the manifest and yet finds another, no picture is needed to load it."""
    names = {"names": str(list(LABELS))}
    detector = _brought(tmp_path, "end_to_end", [_finds((1, 1, 9, 9, 0.9, 7))], names)
    with pytest.raises(InvalidError, match="found a find of class 7"):
        _look(detector)


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        ((1, 1, 9, 9, 0.9, 7), "model.labels", r"mine: expected classes 0\.\.2, .* found a find of class 7"),
        ((1, 1, 9, 9, 0.001, 3), "model.labels", "found a find of class 3"),
        ((1, 1, 9, 9, 0.9, -1), "model.labels", "found a find of class -1"),
        ((1, 1, 9, 9, 2, 0.9), "model.shape", r"score, class, with scores from 0 to 1 .* found 0\.\.2 there"),
        ((1, 1, 9, 9, 0.9, 0.4), "model.shape", r"whole numbers in the last place, found 0\.4"),
        ((0.9, 1, 1, 9, 9, 0), "model.shape", r"scores from 0 to 1 in the fifth place, found 0\.\.9 there"),
    ],
)
def test_a_list_of_finds_that_does_not_fit_the_labels_fails_at_load_though_the_file_names_none(
    tmp_path: Path, row: tuple[float, ...], code: str, said: str
) -> None:
    with pytest.raises(InvalidError, match=said) as caught:
        _brought(tmp_path, "end_to_end", [_finds(row)])
    assert caught.value.code == code


def _picking(directory: Path, classes: int, labels: Sequence[str]) -> OnnxDetector:
    """A model of so many classes that ends as YOLO26 does, under a manifest with these labels."""
    file = picking(directory / "mine.onnx", classes, side=SIDE)
    told = _manifest("end_to_end", file.read_bytes(), labels=list(labels))
    (directory / "mine.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    return OnnxDetector(open_model("mine", directory), threads=1)


def test_a_model_of_more_classes_than_its_manifest_has_labels_fails_at_load_whatever_it_is_shown(
    tmp_path: Path,
) -> None:
    """Nothing real is in the pictures that it is tried with, yet its list is full: of guesses, each with a class."""
    with pytest.raises(
        InvalidError, match=r"expected classes 0\.\.2, .* found a find of class \d+"
    ) as caught:
        _picking(tmp_path, 80, LABELS)
    assert caught.value.code == "model.labels"


def test_labels_that_no_file_and_no_find_bears_out_are_said_and_taken_at_their_word(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        _picking(tmp_path, 3, LABELS)
    assert logs == []
    more = [*LABELS, "bus", "truck"]
    with structlog.testing.capture_logs() as logs:
        assert _picking(tmp_path, 3, more).labels == ("person", "car", "bus", "truck")
    (said,) = logs
    assert (said["event"], said["model"]) == ("model.labels_unproved", "mine")
    assert said["expected"].startswith("5 (person, ")
    assert "classes up to 2" in said["found"]


def test_a_head_that_nobody_can_read_names_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="end_to_end"):
        _brought(tmp_path, "detr", [_finds()])


_ROWS = st.lists(
    st.tuples(
        st.floats(0, 60),
        st.floats(0, 60),
        st.floats(1, 40),
        st.floats(1, 40),
        st.floats(0, 1),
        st.integers(0, 2),
    ),
    max_size=12,
)


@given(_ROWS)
def test_both_kinds_of_yolo_heads_read_the_same_finds_alike(
    rows: list[tuple[float, float, float, float, float, int]],
) -> None:
    manifest = Manifest.model_validate(_manifest("yolo", b"x"))
    wanted = np.array([0, 2], np.intp)
    grid = _yolo(*((x, y, w, h, *(s if c == n else 0 for n in range(3))) for x, y, w, h, s, c in rows))
    finds = _finds(*((x - w / 2, y - h / 2, x + w / 2, y + h / 2, s, c) for x, y, w, h, s, c in rows))
    one = YoloHead(manifest, wanted).read([grid], 0.25)
    other = EndToEndHead(manifest, wanted).read([finds], 0.25)
    assert one.column.tolist() == other.column.tolist()
    assert one.score.tolist() == other.score.tolist()
    assert np.allclose(one.xyxy, other.xyxy, atol=1e-4)
