"""Detections, suppression and the ONNX detector with the model that ships."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.runtime.errors import InvalidError
from edge.camera.frame import Image
from edge.vision.detections import STREET_LABELS, Detections, overlaps
from edge.vision.detector import OnnxDetector
from edge.vision.regions import detect_in, tiles
from edge.vision.suppression import suppress
from models.manifest import Manifest
from models.store import Model, open_model
from tests.fixtures.vision import BIKES, LABELS, ScriptedDetector, detections

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model("cocossd")


@pytest.fixture(scope="module")
def detector(model: Model) -> OnnxDetector:
    return OnnxDetector(model, threads=1)


@pytest.fixture(scope="module")
def cyclist() -> Image:
    """A frame in which a cyclist with a helmet stands beside a van."""
    with av.open(str(BIKES)) as container:
        for n, frame in enumerate(container.decode(video=0)):
            if n == 130:
                return np.ascontiguousarray(frame.to_ndarray(format="bgr24"), np.uint8)
    raise AssertionError("expected 130 frames")


def test_wrong_shapes_are_refused_saying_what_was_expected_and_got() -> None:
    with pytest.raises(ValueError, match=r"Detections.xyxy: expected float32 \(2, 4\), got float32 \(1, 4\)"):
        Detections(np.zeros((1, 4), np.float32), np.zeros(2, np.float32), np.zeros(2, np.int32), LABELS)


def test_wrong_types_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Detections.label: expected int32 \(1,\), got int64 \(1,\)"):
        Detections(
            np.zeros((1, 4), np.float32),
            np.zeros(1, np.float32),
            np.zeros(1, np.int64),
            LABELS,
        )


def test_a_label_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected places in 6 labels, got 0\.\.6"):
        detections((0, 0, 1, 1), (0, 0, 1, 1), label=[0, 6])


def test_detections_can_be_chosen_by_mask_and_by_name() -> None:
    found = detections((0, 0, 1, 1), (2, 2, 4, 4), (5, 5, 6, 6), label=[0, 3, 0], score=[0.9, 0.2, 0.3])
    assert len(found.of("person")) == 2
    assert len(found.of("car", "bus")) == 1
    assert len(found.of("elephant")) == 0
    assert found.where(found.score > 0.25).xyxy[:, 0].tolist() == [0, 5]
    assert found.name(1) == "car"


def test_joining_detections_of_other_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        Detections.empty(LABELS).with_more(Detections.empty(("person",)))


_BOXES = st.lists(
    st.tuples(
        st.integers(0, 80), st.integers(0, 80), st.integers(1, 40), st.integers(1, 40), st.integers(1, 99)
    ),
    max_size=25,
)


def _arrays(rows: list[tuple[int, int, int, int, int]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in rows], np.float32).reshape(-1, 4)
    return boxes, np.array([score / 100 for *_, score in rows], np.float32)


@given(_BOXES)
def test_overlaps_are_symmetric_bounded_and_one_with_oneself(
    rows: list[tuple[int, int, int, int, int]],
) -> None:
    boxes, _ = _arrays(rows)
    shared = overlaps(boxes, boxes)
    assert shared.shape == (len(rows), len(rows))
    assert np.allclose(shared, shared.T)
    assert np.allclose(np.diag(shared), 1.0)
    assert ((shared >= 0) & (shared <= 1.0 + 1e-6)).all()


@given(_BOXES, st.randoms(use_true_random=False), st.sampled_from([0.3, 0.5, 0.7]))
def test_suppression_is_what_the_plain_greedy_rule_gives_in_any_order(
    rows: list[tuple[int, int, int, int, int]], random: object, overlap: float
) -> None:
    boxes, score = _arrays(rows)
    group = (np.arange(len(rows)) % 2).astype(np.int32)
    kept = suppress(boxes, score, group, overlap).tolist()
    order = sorted(range(len(rows)), key=lambda n: (-score[n], *boxes[n].tolist()))
    expected: list[int] = []
    shared = overlaps(boxes, boxes)
    for n in order:
        if all(group[n] != group[m] or shared[n, m] <= overlap for m in expected):
            expected.append(n)
    assert [boxes[n].tolist() for n in kept] == [boxes[n].tolist() for n in expected]


def test_the_shipped_model_finds_a_cyclist(detector: OnnxDetector, cyclist: Image) -> None:
    found = detector.detect(cyclist)
    people = found.of("person")
    assert people.score[0] > 0.6
    left, top, right, bottom = people.xyxy[0].tolist()
    assert 330 < left < 420
    assert 430 < right < 520
    assert top < 60
    assert bottom > 200
    assert found.labels == STREET_LABELS


def test_boxes_lie_within_the_picture_surest_first(detector: OnnxDetector, cyclist: Image) -> None:
    found = detector.detect(cyclist)
    assert (found.xyxy[:, :2] >= 0).all()
    assert (found.xyxy[:, 2] <= cyclist.shape[1]).all()
    assert (found.xyxy[:, 3] <= cyclist.shape[0]).all()
    assert (np.diff(found.score) <= 0).all()


def test_no_two_kinds_of_vehicle_are_found_in_one_place(detector: OnnxDetector, cyclist: Image) -> None:
    vehicles = detector.detect(cyclist).of("car", "bus", "truck")
    shared = overlaps(vehicles.xyxy, vehicles.xyxy)
    np.fill_diagonal(shared, 0)
    assert shared.max(initial=0) <= 0.55


def test_a_picture_of_any_size_gives_boxes_in_its_own_pixels(detector: OnnxDetector, cyclist: Image) -> None:
    large = np.ascontiguousarray(np.repeat(np.repeat(cyclist, 2, axis=0), 2, axis=1))
    small_box = detector.detect(cyclist).of("person").xyxy[0]
    large_box = detector.detect(large).of("person").xyxy[0]
    assert large_box == pytest.approx(small_box * 2, abs=25)


def test_only_the_wanted_labels_are_found(model: Model, cyclist: Image) -> None:
    only = OnnxDetector(model, labels=("bicycle",), threads=1)
    assert set(only.detect(cyclist).label.tolist()) <= {0}
    assert only.labels == ("bicycle",)


def test_a_higher_threshold_finds_less(model: Model, detector: OnnxDetector, cyclist: Image) -> None:
    sure = OnnxDetector(model, threads=1, score_threshold=0.5)
    assert 0 < len(sure.detect(cyclist)) < len(detector.detect(cyclist))


def _changed(model: Model, **changes: object) -> Model:
    content = model.manifest.model_dump()
    for name, value in changes.items():
        if name in content["input"]:
            content["input"][name] = value
        else:
            content[name] = value
    return Model(Manifest.model_validate(content), model.path)


@pytest.mark.parametrize(
    ("changes", "expected", "found"),
    [
        ({"name": "picture"}, r"one input picture uint8", "found image_tensor:0 uint8"),
        ({"dtype": "float32"}, r"float32 \[1, 360, 480, 3\]", "uint8"),
        ({"layout": "nchw"}, r"\[1, 3, 360, 480\]", "found"),
        ({"head": "yolox"}, r"\[1, 3525, 95\] of a yolox head", r"\[1, 1917, 90\]"),
        ({"labels": ["person"], "exclusive": []}, r"\[1, any, 1\]", r"\[1, 1917, 90\]"),
    ],
)
def test_a_model_that_is_not_as_its_manifest_says_fails_at_load(
    model: Model, changes: dict[str, object], expected: str, found: str
) -> None:
    with pytest.raises(InvalidError, match=expected) as caught:
        OnnxDetector(_changed(model, **changes), labels=("person",), threads=1)
    assert caught.value.code == "model.shape"
    assert caught.match(found)


def test_a_label_the_model_does_not_know_fails_at_load(model: Model) -> None:
    with pytest.raises(InvalidError, match="got dragon") as caught:
        OnnxDetector(model, labels=("person", "dragon"), threads=1)
    assert caught.value.code == "model.labels"


def test_a_file_that_is_no_model_fails_at_load(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "letter.onnx"
    path.write_bytes(b"Dear sir or madam,")
    with pytest.raises(InvalidError, match=r"expected an ONNX model in .*letter\.onnx") as caught:
        OnnxDetector(Model(model.manifest, path), threads=1)
    assert caught.value.code == "model.broken"


def test_tiles_cover_the_picture_and_overlap() -> None:
    crops = tiles(768, 576)
    assert len(crops) == 4
    covered = np.zeros((576, 768), np.int32)
    for left, top, right, bottom in crops:
        covered[top:bottom, left:right] += 1
    assert covered.min() == 1
    assert covered.max() == 4


def test_what_a_crops_border_cuts_is_left_to_its_neighbours() -> None:
    whole, cut = (20.0, 20.0, 60.0, 90.0), (140.0, 20.0, 160.0, 90.0)
    looking = ScriptedDetector(detections(whole, cut), detections((50.0, 20.0, 90.0, 90.0)))
    picture = np.zeros((100, 240, 3), np.uint8)
    found = detect_in(looking, picture, [(0, 0, 160, 100), (80, 0, 240, 100)])
    assert sorted(found.xyxy[:, 0].tolist()) == [20.0, 130.0]


@pytest.mark.shared_data
def test_a_detector_a_user_brings_works_by_its_manifest_alone(shared_data: Path, cyclist: Image) -> None:
    yolox = OnnxDetector(open_model("yolox_nano", shared_data / "models"), threads=1)
    person = yolox.detect(cyclist).of("person")
    assert person.score[0] > 0.6
    assert 330 < person.xyxy[0, 0] < 420


def test_looking_leaves_no_trace_for_the_makers_of_the_runtime(tmp_path: Path) -> None:
    look = "from edge.vision.detector import OnnxDetector; from models.store import open_model; "
    look += "OnnxDetector(open_model('cocossd'), threads=1)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    subprocess.run(
        [sys.executable, "-c", look], check=True, cwd=REPOSITORY, env={**environment, "HOME": str(tmp_path)}
    )
    assert list(tmp_path.rglob("*")) == []


def test_the_runtime_is_imported_in_one_place_alone() -> None:
    tiers = ("benchmarks", "cloud", "common", "edge", "gateway", "local", "models")
    importing = [
        file.relative_to(REPOSITORY).as_posix()
        for tier in tiers
        for file in (REPOSITORY / tier).rglob("*.py")
        if re.search(r"^\s*(?:import|from) onnxruntime", file.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert importing == ["models/runtime.py"]
