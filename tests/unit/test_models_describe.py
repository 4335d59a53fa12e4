"""The manifest of a fine-tuned model: its head told by what it answers, its segmenter by its classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from common.runtime.errors import InvalidError
from edge.vision.detector import OnnxDetector
from models.describe import SIDE, described, segmenter_of
from models.manifest import MAPPED, read_manifest
from models.store import open_model
from tests.fixtures.onnx_files import answering

_STORY = {"base": "/somewhere/yolo26n.pt", "epochs": 3, "seed": 0, "torch": "2.14"}


@pytest.mark.parametrize(
    ("head", "shape"), [("end_to_end", (1, 300, 6)), ("yolo", (1, 4 + 2, 3549)), ("yolo", (1, 6, 3549))]
)
def test_a_fine_tuned_detector_opens_by_the_manifest_that_is_written_for_it(
    tmp_path: Path, head: str, shape: tuple[int, ...]
) -> None:
    file = answering(tmp_path / "detector.onnx", [np.zeros(shape)], shape=(1, 3, SIDE, SIDE), name="pixels")
    told = described(file, "detector", None, ["scooter", "handcart"], _STORY)
    (tmp_path / "detector.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    detector = OnnxDetector(open_model("detector", tmp_path), labels=("handcart",), threads=1)
    assert detector.manifest.head == head
    assert not detector.manifest.ships
    assert "AGPL" in detector.manifest.licence
    assert len(detector.detect(np.zeros((48, 64, 3), np.uint8))) == 0


@pytest.mark.parametrize("head", sorted(MAPPED))
def test_a_fine_tuned_segmenter_takes_the_place_of_the_one_whose_classes_it_has(
    tmp_path: Path, head: str
) -> None:
    labels = list(MAPPED[head])
    assert segmenter_of(labels) == head
    maps = np.zeros((1, len(labels), 52, 52))
    file = answering(tmp_path / f"{head}.onnx", [maps], shape=(1, 3, SIDE, SIDE), name="pixels")
    told = described(file, head, head, labels, _STORY) | {"parity": 1e-6}
    (tmp_path / f"{head}.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    assert read_manifest(tmp_path / f"{head}.yaml").labels == tuple(labels)


def test_a_segmenter_of_other_classes_is_told_which_ones_a_box_uses() -> None:
    with pytest.raises(InvalidError, match="fire, smoke; water") as caught:
        segmenter_of(["puddle"])
    assert caught.value.code == "model.labels"
