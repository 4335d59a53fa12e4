"""The helmet model opens without a trainer, is what its manifest says, and may answer that it does not know."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from common.runtime.errors import ConfigError, InvalidError, MissingExtraError
from models.cli import app
from models.helmet import HelmetJudge
from models.manifest import HelmetManifest
from models.store import MANIFESTS, WEIGHTS, load_manifest, open_as, open_model

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def judge() -> HelmetJudge:
    return HelmetJudge(open_as(HelmetManifest, "helmet"))


def _street(seed: int = 3) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (240, 320, 3), np.uint8)


def _changed(directory: Path, **changes: object) -> Path:
    """A helmet manifest with other contents, and the shipped weights beside it."""
    content = yaml.safe_load((MANIFESTS / "helmet.yaml").read_text(encoding="utf-8"))
    (directory / "helmet.yaml").write_text(yaml.safe_dump(content | changes), encoding="utf-8")
    return directory


def test_the_shipped_weights_open_and_judge_without_torch() -> None:
    look = (
        "import sys; sys.modules['torch'] = None; import numpy as np; "
        "from models.helmet import HelmetJudge; from models.manifest import HelmetManifest; "
        "from models.store import open_as; judge = HelmetJudge(open_as(HelmetManifest, 'helmet')); "
        "print(judge.judge(np.zeros((100, 100, 3), np.uint8), [[10, 10, 50, 50]]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", look], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() in {"['helmet']", "['helmetless']", "['unknown']"}


def test_the_manifest_says_what_the_trainer_and_the_file_differ_by() -> None:
    manifest = load_manifest("helmet")
    assert isinstance(manifest, HelmetManifest)
    assert 0 <= manifest.parity <= 1e-4
    assert manifest.size < 4_000_000
    assert "CC BY 4.0" in manifest.licence


def test_each_head_gets_a_probability_and_a_verdict(judge: HelmetJudge) -> None:
    heads = [[10.0 * n, 20, 10.0 * n + 40, 60] for n in range(40)]
    probabilities = judge.probabilities(_street(), heads)
    assert probabilities.shape == (40,)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert len(judge.judge(_street(), heads)) == 40


def test_a_head_is_judged_alike_alone_and_in_company(judge: HelmetJudge) -> None:
    heads = [[10, 20, 50, 60], [100, 100, 160, 160], [200, 40, 230, 80]]
    together = judge.probabilities(_street(), heads)
    alone = [float(judge.probabilities(_street(), [head])[0]) for head in heads]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)


def test_nobody_in_the_picture_is_no_error(judge: HelmetJudge) -> None:
    assert judge.judge(_street(), []) == []


def test_a_mirrored_street_is_judged_alike(judge: HelmetJudge) -> None:
    image = _street()
    here = judge.probabilities(image, [[100, 60, 180, 140]])
    mirrored = judge.probabilities(np.ascontiguousarray(image[:, ::-1]), [[140, 60, 220, 140]])
    assert here.tolist() == pytest.approx(mirrored.tolist(), abs=0.1)


@hypothesis.settings(max_examples=40)
@given(box=st.tuples(*[st.floats(-5000, 5000) for _ in range(4)]))
def test_no_box_however_wrong_breaks_the_judge(
    judge: HelmetJudge, box: tuple[float, float, float, float]
) -> None:
    assert judge.judge(_street(), [box])[0] in {"helmet", "helmetless", "unknown"}


def test_between_the_thresholds_and_on_too_few_pixels_nobody_knows(judge: HelmetJudge) -> None:
    bounds = judge.manifest.thresholds
    assert judge.verdict(bounds.helmetless, 40) == "helmetless"
    assert judge.verdict(bounds.helmet, 40) == "helmet"
    assert judge.verdict((bounds.helmetless + bounds.helmet) / 2, 40) == "unknown"
    assert judge.verdict(1.0, 23.9) == "unknown"


def test_another_size_of_input_is_refused_with_what_was_found(tmp_path: Path) -> None:
    size = {"name": "pixels", "width": 96, "height": 96, "layout": "nchw", "channels": "rgb"}
    _changed(tmp_path, input=size | {"dtype": "float32", "fit": "stretch"})
    with pytest.raises(InvalidError, match=r"\[any, 3, 96, 96\].*found pixels tensor\(float\)") as caught:
        HelmetJudge(open_as(HelmetManifest, "helmet", tmp_path))
    assert caught.value.code == "model.shape"


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    other = load_manifest("cocossd")
    _changed(tmp_path, file=other.file, sha256=other.sha256, size=other.size)
    with pytest.raises(InvalidError, match="image_tensor") as caught:
        HelmetJudge(open_as(HelmetManifest, "helmet", tmp_path))
    assert caught.value.code == "model.shape"


@pytest.mark.parametrize("labels", [["helmet"], ["helmetless", "helmet"], []])
def test_other_labels_are_a_fault_of_the_manifest(tmp_path: Path, labels: list[str]) -> None:
    _changed(tmp_path, labels=labels)
    with pytest.raises(ConfigError, match="labels"):
        load_manifest("helmet", tmp_path)


def test_thresholds_the_wrong_way_round_are_a_fault_of_the_manifest(tmp_path: Path) -> None:
    _changed(tmp_path, thresholds={"helmetless": 0.3, "helmet": 0.7})
    with pytest.raises(ConfigError, match="expected less than helmetless"):
        load_manifest("helmet", tmp_path)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    shutil.copyfile(WEIGHTS / "helmet.onnx", tmp_path / "helmet.onnx")
    with (tmp_path / "helmet.onnx").open("r+b") as file:
        file.seek(100_000)
        file.write(b"\0\1\2\3")
    with pytest.raises(InvalidError) as caught:
        open_as(HelmetManifest, "helmet", tmp_path)
    assert caught.value.code == "model.tampered"


def test_a_judge_is_no_detector_and_a_detector_no_judge() -> None:
    with pytest.raises(
        InvalidError, match="one of the models cocossd, yolox_nano here, got helmet"
    ) as caught:
        open_model("helmet")
    assert caught.value.code == "model.kind"
    with pytest.raises(InvalidError, match="one of the models helmet here, got cocossd"):
        open_as(HelmetManifest, "cocossd")


@pytest.mark.parametrize("command", ["train", "export"])
def test_training_without_torch_says_what_to_install(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("models.train")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    options = ["--data", str(tmp_path), "--out", str(tmp_path)]
    options += ["--trained", str(tmp_path)] if command == "export" else []
    ran = CliRunner().invoke(app, [command, "helmet", *options])
    assert isinstance(ran.exception, MissingExtraError)
    assert "pip install '.[models]'" in ran.exception.hint


def test_the_shell_learns_of_it_by_exit_code_3(tmp_path: Path) -> None:
    block = "import sys; sys.modules['torch'] = None; from common.runtime.cli import main; main()"
    words = ["models", "train", "helmet", "--data", str(tmp_path), "--out", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-c", block, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 3, ran.stderr
    assert "models.missing_extra" in ran.stderr
