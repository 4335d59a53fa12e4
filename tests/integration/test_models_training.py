"""The trainings that the shipped weights came from, made short: real pictures, the real command, the real runtime."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from models.fire import FireSegmenter
from models.helmet import HelmetJudge
from models.manifest import (
    FireManifest,
    HelmetManifest,
    ModelManifest,
    PrivacyManifest,
    WaterManifest,
    read_manifest,
)
from models.privacy import PrivacyFinder
from models.store import open_as
from models.water import WaterSegmenter
from tests.fixtures.extras import run_code, run_models

pytestmark = [pytest.mark.training, pytest.mark.shared_data]

Picture = NDArray[np.uint8]
#: One in so many pictures is taken of a data set: enough for every side of its split. Roads have to be looked for in each.
_EVERY = {"data": {"fire-smoke": 24, "helmet-riders": 16}, "wet": {"fire-smoke": 24, "helmet-riders": 34}}
_CALM = (
    "video/vtest.avi",
    "video/bikes.mp4",
    "video/intel/car-detection.mp4",
    "video/intel/one-by-one-person-detection.mp4",
    "video/intel/person-bicycle-car-detection.gif",
)
_SHORTEST = "video/intel/person-bicycle-car-detection.gif"
#: One model a row: the folder to name as --data, and what a box makes of a picture with the exported file.
_KINDS: dict[str, tuple[str, Callable[[Path, Picture], list[NDArray[Any]]]]] = {
    "fire": (".", lambda out, picture: list(_fire(out).look(picture)[:2])),
    "helmet": ("helmet-riders", lambda out, picture: [_helmet(out).of_crops([picture[:80, :80]])]),
    "privacy": (
        "helmet-riders",
        lambda out, picture: [_privacy(out).probabilities(picture) / np.float32(255)],
    ),
    "water": ("../wet", lambda out, picture: [_water(out).probability(picture)]),
}
_MANIFESTS: dict[str, type[ModelManifest]] = {
    "fire": FireManifest,
    "helmet": HelmetManifest,
    "privacy": PrivacyManifest,
    "water": WaterManifest,
}


_COMMANDS = """
import json, sys
from models.cli import app
for words in json.loads(sys.argv[1]):
    app(words, standalone_mode=False)
"""
_CHANGED_AFTERWARDS = """
import sys, torch
from pathlib import Path
from typing import Any
from models.train.dense import HEIGHT, WIDTH, DenseNet
from models.train.export import WithPixels, compare, export
from models.train.water_run import STREET
torch.manual_seed(0)
net, file, pixels = DenseNet(1, STREET), Path(sys.argv[1]), torch.rand(1, 3, HEIGHT, WIDTH) * 255
export(net, file, (1, 3, HEIGHT, WIDTH), pixels)
print("agrees")
net.verdict.bias.data += 0.01
compare(WithPixels(net).eval(), file, pixels)
"""
_KEPT_EARLIER = """
import sys, torch
from pathlib import Path
import numpy as np
from models.train.loop import Checkpoint
file = Path(sys.argv[1])
for kept in ({"step": 3, "store": 8}, {"step": 3, "store": 16}, {"step": 3}):
    torch.save(kept, file)
    try:
        Checkpoint(file, np.random.default_rng(0), resume=True, store=16).require_same_store()
        print("let through")
    except Exception as error:
        print(error.code)
"""


def _fire(out: Path) -> FireSegmenter:
    return FireSegmenter(open_as(FireManifest, "fire", out))


def _helmet(out: Path) -> HelmetJudge:
    return HelmetJudge(open_as(HelmetManifest, "helmet", out))


def _privacy(out: Path) -> PrivacyFinder:
    return PrivacyFinder(open_as(PrivacyManifest, "privacy", out))


def _water(out: Path) -> WaterSegmenter:
    return WaterSegmenter(open_as(WaterManifest, "water", out))


@pytest.fixture(scope="module")
def data(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the real pictures of each data set, laid out as they are; of footage without fire one short video."""
    whole = tmp_path_factory.mktemp("small")
    (whole / "models").symlink_to(shared_data / "models")
    for folder, parts in _EVERY.items():
        place = whole / folder
        for name, every in parts.items():
            _part(shared_data / "data" / name, place / name, every)
        for name in _CALM:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).symlink_to(shared_data / "data" / _SHORTEST)
        (place / "video" / "furg-fire").mkdir()
        (place / "photos" / "coco100").mkdir(parents=True)
    return whole / "data"


def _part(whole: Path, part: Path, every: int) -> None:
    with (whole / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::every]
    (part / "images").mkdir(parents=True)
    (part / "labels").mkdir()
    pictures = {path.stem: path for path in (whole / "images").iterdir()}
    for row in rows:
        picture = pictures[row["file"]]
        (part / "images" / picture.name).symlink_to(picture)
        (part / "labels" / f"{row['file']}.txt").symlink_to(whole / "labels" / f"{row['file']}.txt")
    with (part / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _train(trainer: Path, kind: str, data: Path, out: Path, *options: str) -> str:
    """Train by command; the sha256 of the weights."""
    named = ["--data", str(data / _KINDS[kind][0]), "--out", str(out)]
    ran = run_models(trainer, "train", kind, *named, *options)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return hashlib.sha256((out / f"{kind}.pt").read_bytes()).hexdigest()


def _train_in_a_row(trainer: Path, kind: str, data: Path, seeds: dict[Path, int]) -> list[str]:
    """The same command for each folder and seed, in one process: to load torch is half of so short a training."""
    words = [
        [
            "train",
            kind,
            "--data",
            str(data / _KINDS[kind][0]),
            "--out",
            str(out),
            "--steps",
            "1",
            "--seed",
            str(seed),
        ]
        for out, seed in seeds.items()
    ]
    ran = run_code(trainer, _COMMANDS, json.dumps(words))
    assert ran.returncode == 0, ran.stderr[-2000:]
    return [hashlib.sha256((out / f"{kind}.pt").read_bytes()).hexdigest() for out in seeds]


def _a_picture(data: Path) -> Picture:
    picture = cv2.imread(str(min((data / "fire-smoke" / "images").iterdir())))
    assert picture is not None
    return np.asarray(picture, np.uint8)


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_a_shipped_kind_is_trained_exported_and_opened_and_its_seed_makes_its_weights(
    kind: str, trainer: Path, data: Path, tmp_path: Path
) -> None:
    first = _train(trainer, kind, data, tmp_path / "first", "--steps", "1", "--seed", "3")
    again, other = _train_in_a_row(trainer, kind, data, {tmp_path / "again": 3, tmp_path / "other": 4})
    assert first == again, "the same seed gave other weights"
    assert first != other, "another seed gave the same weights"

    named, look = _KINDS[kind]
    out = tmp_path / "models.d"
    options = ["--data", str(data / named), "--trained", str(tmp_path / "first"), "--out", str(out)]
    ran = run_models(trainer, "export", kind, *options)
    assert ran.returncode == 0, ran.stderr[-2000:]
    manifest = read_manifest(out / f"{kind}.yaml")
    assert isinstance(manifest, _MANIFESTS[kind])
    assert manifest.sha256 == hashlib.sha256((out / manifest.file).read_bytes()).hexdigest()
    assert 0 <= yaml.safe_load((out / f"{kind}.yaml").read_text(encoding="utf-8"))["parity"] < 1e-4
    assert "1 steps, seed 3" in manifest.origin

    told = (out / f"{kind}.md").read_text(encoding="utf-8")
    assert told.startswith(f"# {kind}: {manifest.title}\n")
    for part in (
        manifest.sha256,
        "## How good it is",
        "## What it was trained on",
        "## Known failures",
        "differ by",
    ):
        assert part in told, f"the card does not say {part!r}"

    for found in look(out, _a_picture(data)):
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1)).all()


def test_a_training_gone_on_with_gives_the_weights_of_one_that_went_through(
    trainer: Path, data: Path, tmp_path: Path
) -> None:
    _train(trainer, "fire", data, tmp_path / "broken", "--steps", "1")
    gone_on = _train(trainer, "fire", data, tmp_path / "broken", "--steps", "2", "--resume")
    assert gone_on == _train(trainer, "fire", data, tmp_path / "through", "--steps", "2")
    told = json.loads((tmp_path / "broken" / "training.json").read_text(encoding="utf-8"))
    assert told["steps"] == 2


def test_a_privacy_training_gone_on_with_draws_the_album_of_one_that_went_through_or_is_refused(
    trainer: Path, data: Path, tmp_path: Path
) -> None:
    few = _train(trainer, "privacy", data, tmp_path / "few", "--steps", "1")
    told = (tmp_path / "few" / "training.json").read_text(encoding="utf-8")
    assert _train(trainer, "privacy", data, tmp_path / "few", "--steps", "1", "--resume") == few
    named = ["--data", str(data / "helmet-riders"), "--out", str(tmp_path / "few"), "--steps", "2"]
    ran = run_models(trainer, "train", "privacy", *named, "--resume")
    assert ran.returncode == 1
    assert "training.other" in ran.stderr
    assert "of a training on 16 examples" in ran.stderr
    assert "found one on 8" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert (tmp_path / "few" / "training.json").read_text(encoding="utf-8") == told


def test_a_checkpoint_of_an_earlier_release_that_does_not_tell_its_examples_is_gone_on_with(
    trainer: Path, tmp_path: Path
) -> None:
    ran = run_code(trainer, _KEPT_EARLIER, str(tmp_path / "checkpoint.pt"))
    assert ran.stdout.splitlines() == ["training.other", "let through", "let through"], ran.stderr


def test_a_file_that_says_something_else_than_the_trainer_is_refused(trainer: Path, tmp_path: Path) -> None:
    ran = run_code(trainer, _CHANGED_AFTERWARDS, str(tmp_path / "water.onnx"))
    assert ran.stdout == "agrees\n"
    assert ran.returncode == 1
    assert "expected onnxruntime to agree with the trainer within 0.0001" in ran.stderr


def test_data_without_what_is_learnt_is_said_before_anything_is_trained(
    trainer: Path, data: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "riders"
    shutil.copytree(data / "helmet-riders", bare, symlinks=True)
    for labels in (bare / "labels").iterdir():
        kept = [line for line in labels.read_text(encoding="utf-8").splitlines() if line[0] != "3"]
        labels.unlink()
        labels.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    ran = run_models(trainer, "train", "helmet", "--data", str(bare), "--out", str(tmp_path / "out"))
    assert ran.returncode == 1
    assert "dataset.incomplete" in ran.stderr
    assert "found no half helmets" in ran.stderr
    assert "Traceback" not in ran.stderr
