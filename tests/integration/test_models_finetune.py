"""Fine-tuning for real, with ultralytics, from pictures to a detector that a box opens: where the extra [models] is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from edge.vision.detector import OnnxDetector
from models.describe import SIDE
from models.fire import FireSegmenter
from models.manifest import FireManifest
from models.store import open_as, open_model
from tests.fixtures.extras import fine_tuner_python, run_models

pytestmark = pytest.mark.fine_tuning

#: Some thousand weights: nothing it says is right, and everything that it says has the right shape.
_BODY = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [16, 3, 2]]]
_DETECTOR = {
    "nc": 2,
    "backbone": [*_BODY, [-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [16, 3, 2]]],
    "head": [[[2, 3, 4], 1, "Detect", ["nc"]]],
}
_SEGMENTER = {
    "nc": 3,
    "backbone": [*_BODY, [-1, 1, "Conv", [16, 3, 2]]],
    "head": [[[2, 3], 1, "SemanticSegment", ["nc"]]],
}


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    """One of our commands, by the interpreter that has torch."""
    python = fine_tuner_python()
    assert python is not None
    return run_models(python, *words)


def _photos(data: Path, names: list[str], base: dict[str, object], *, polygons: bool) -> Path:
    """Bright boxes on grain: what is to be learnt is beside the point."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 2)):
        (data / "images" / part).mkdir(parents=True)
        (data / "labels" / part).mkdir(parents=True)
        for n in range(count):
            picture = rng.integers(0, 90, (96, 128, 3), dtype=np.uint8)
            cv2.rectangle(picture, (32, 24), (80, 72), (200, 220, 240), -1)
            cv2.imwrite(str(data / "images" / part / f"{n}.png"), picture)
            shape = ".25 .25 .625 .25 .625 .75 .25 .75" if polygons else ".4375 .5 .375 .5"
            lines = f"{n % 2} {shape}\n"
            (data / "labels" / part / f"{n}.txt").write_text(lines, encoding="utf-8")
    told = {"train": "images/train", "val": "images/val", "names": dict(enumerate(names))}
    (data / "data.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    (data / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    return data


def _made(kind: str, data: Path, directory: Path) -> Path:
    """Train for a round and export; the folder with file and manifest."""
    trained, out = directory / "trained", directory / "models.d"
    ran = _run("train", kind, "--data", str(data), "--out", str(trained), "--epochs", "1")
    assert ran.returncode == 0, ran.stderr[-2000:]
    again = _run("train", kind, "--data", str(data), "--out", str(trained), "--epochs", "1", "--resume")
    assert again.returncode == 0, again.stderr[-2000:]
    ran = _run("export", kind, "--data", str(data), "--trained", str(trained), "--out", str(out))
    assert ran.returncode == 0, ran.stderr[-2000:]
    return out


def test_a_detector_is_trained_exported_verified_and_opened_by_a_box(tmp_path: Path) -> None:
    data = _photos(tmp_path / "data", ["hand cart", "scooter"], _DETECTOR, polygons=False)
    out = _made("detector", data, tmp_path)
    assert "detector: ok" in _run("verify", "detector", "--directory", str(out)).stdout
    detector = OnnxDetector(open_model("detector", out), labels=("hand_cart",), threads=1)
    assert detector.manifest.head == "yolo"
    assert detector.manifest.names == ("hand_cart", "scooter")
    assert "base.yaml" in detector.manifest.origin
    assert detector.detect(np.zeros((96, 128, 3), np.uint8)).labels == ("hand_cart",)
    assert detector.manifest.parity is not None
    assert detector.manifest.parity < 1e-4
    told = (out / "detector.md").read_text(encoding="utf-8")
    assert "| hand_cart | 1 | " in told
    assert "hand_cart: of 1 labelled ones 0% are found." in told
    assert "The 4 pictures of `train` in data.yaml" in told
    assert "on 6 pictures of *data*" in told


def test_a_segmenter_takes_the_place_of_the_fire_model(tmp_path: Path) -> None:
    data = _photos(tmp_path / "data", ["fire", "smoke"], _SEGMENTER, polygons=True)
    out = _made("segmenter", data, tmp_path)
    segmenter = FireSegmenter(open_as(FireManifest, "fire", out), threads=1)
    look = segmenter.look(np.zeros((96, 128, 3), np.uint8))
    assert look.fire.shape == look.smoke.shape == (SIDE // 8, SIDE // 8)
    told = (out / "fire.md").read_text(encoding="utf-8")
    assert (
        "in 2 pictures of 2 groups, from the thresholds on that the manifest believes (fire 0.5, smoke 0.5)"
        in told
    )
    for label in ("fire", "smoke"):
        # Of two pictures one shows each: three eighths by a half of it.
        assert re.search(rf"^\| {label} \| 1 \| 9\.\d\d% \| [\d.]+ \(.+–.+\) \|", told, re.MULTILINE)


def test_a_segmenter_of_masks_is_measured_by_groups_of_pictures_that_are_alike(tmp_path: Path) -> None:
    data = _photos(tmp_path / "data", ["background", "water"], _SEGMENTER | {"nc": 2}, polygons=True)
    for labels in sorted((data / "labels").rglob("*.txt")):
        mask = np.zeros((96, 128), np.uint8)
        cv2.rectangle(mask, (32, 24), (79, 71), 1, -1)
        place = data / "masks" / labels.parent.name
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{labels.stem}.png"), mask)
    described = yaml.safe_load((data / "data.yaml").read_text(encoding="utf-8")) | {"masks_dir": "masks"}
    (data / "data.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    (data / "manifest.csv").write_text("file,group\n0,night\n1,night\n", encoding="utf-8")
    out = _made("segmenter", data, tmp_path)
    told = (out / "water.md").read_text(encoding="utf-8")
    assert "in 2 pictures of 1 groups" in told
    assert re.search(r"^\| water \| 2 \| 1[89]\.\d\d% \| [\d.]+ \(.+–.+\) \|", told, re.MULTILINE)


def test_pictures_that_are_not_where_the_description_says_are_named(tmp_path: Path) -> None:
    data = _photos(tmp_path / "data", ["hand cart", "scooter"], _DETECTOR, polygons=False)
    (data / "data.yaml").write_text("train: nowhere\nval: nowhere\nnames: {0: a}\n", encoding="utf-8")
    ran = _run("train", "detector", "--data", str(data), "--out", str(tmp_path / "out"))
    assert ran.returncode == 1
    assert "drumtower: dataset.broken: " in ran.stderr
    assert "Traceback" not in ran.stderr
