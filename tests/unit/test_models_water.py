"""The water model opens without a trainer, is what its manifest says, and keeps dry roads dry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from common.runtime.errors import InvalidError
from models.accuracy import water
from models.manifest import WaterManifest
from models.store import MANIFESTS, load_manifest, open_as
from models.water import WaterSegmenter

REPOSITORY = Path(__file__).parents[2]
LEAST_IOU = 0.6
"""What a release has to reach where nothing dry is an alarm, with dry pictures of the road and without."""


def test_the_shipped_weights_open_and_look_without_torch() -> None:
    look = (
        "import sys; sys.modules['torch'] = None; import numpy as np; "
        "from models.water import WaterSegmenter; from models.manifest import WaterManifest; "
        "from models.store import open_as; segmenter = WaterSegmenter(open_as(WaterManifest, 'water')); "
        "print(segmenter.probability(np.zeros((100, 100, 3), np.uint8)).shape)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", look], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "(36, 64)"


def test_the_manifest_says_what_the_trainer_and_the_file_differ_by() -> None:
    manifest = load_manifest("water")
    assert isinstance(manifest, WaterManifest)
    assert 0 <= manifest.parity <= 1e-4
    assert manifest.size < 4_000_000
    assert "CC BY 4.0" in manifest.licence


def test_pictures_of_any_size_give_probabilities_of_the_same_cells() -> None:
    segmenter = WaterSegmenter(open_as(WaterManifest, "water"))
    for height, width in ((36, 64), (720, 1280), (576, 768)):
        picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
        probability = segmenter.probability(picture)
        assert probability.shape == (36, 64)
        assert probability.min() >= 0
        assert probability.max() <= 1


@pytest.mark.parametrize(
    "changes",
    [{"channels": "bgr"}, {"layout": "nhwc"}, {"fit": "letterbox"}, {"width": 320}, {"name": "picture"}],
)
def test_a_manifest_of_another_input_is_refused_with_what_was_found(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    content = yaml.safe_load((MANIFESTS / "water.yaml").read_text(encoding="utf-8"))
    content["input"] |= changes
    (tmp_path / "water.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(InvalidError) as caught:
        WaterSegmenter(open_as(WaterManifest, "water", tmp_path))
    assert caught.value.code == "model.shape"
    assert "float" in str(caught.value)


@pytest.mark.shared_data
def test_nothing_dry_at_hand_is_an_alarm_and_water_is_found(shared_data: Path) -> None:
    report = water.measure(shared_data / water.DATA, rounds=20)
    shown, unseen = report.counted.shown, report.counted.unseen
    assert (shown.alarms, unseen.alarms) == (0, 0), report.table()
    assert report.counted.groups > 30
    assert sum(pictures for pictures, _, _ in unseen.dry.values()) > 800
    assert min(shown.overlap.value, unseen.overlap.value) >= LEAST_IOU, report.table()
    assert report.shortfalls() == []
