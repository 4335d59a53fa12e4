"""The privacy model from photos to ONNX file and manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.accuracy.privacy import HIDDEN, count
from models.data.privacy import Labelled, read_labelled
from models.data.riders import read_picture
from models.manifest import PrivacyManifest
from models.privacy import PrivacyFinder, spots, widened
from models.store import WEIGHTS, Model
from models.train.export import export
from models.train.kept import keep, load_kept, write_manifest
from models.train.loop import pictures_to_tensor
from models.train.privacy import STEPS, new_net, train

EPOCHS: Final = 14
SIDE: Final = 416
"""Pixels across and down of the input on the box."""
STREET: Final = WEIGHTS / "cocossd_mbv2lite.onnx"
_EXAMPLES: Final = 6
#: Shares that are to be hidden in the photos that thresholds are chosen on: of heads where the model alone decides, and
#: where the street detector sees a person too; of plates, of which many here are too small to be read.
_HEADS, _NEAR, _PLATES = 0.67, 0.97, 0.74
_THRESHOLDS: Final = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05)


def train_into(data: Path, out: Path, *, epochs: int | None, seed: int, resume: bool) -> None:
    """Train on the learnt side of ``helmet-riders``."""
    out.mkdir(parents=True, exist_ok=True)
    photos = read_labelled(data, "learnt")
    rounds = EPOCHS if epochs is None else epochs
    net = train(photos, STREET, rounds, seed, checkpoint=out / "checkpoint.pt", resume=resume)
    keep(net, out, "privacy", steps=rounds * STEPS, seed=seed, photos=len(photos))


def export_into(data: Path, trained: Path, out: Path) -> Path:
    """Write ``privacy.onnx`` and ``privacy.yaml``, thresholds chosen on photos neither learnt nor judged on."""
    net = new_net(STREET)
    story = load_kept(net, trained, "privacy")
    out.mkdir(parents=True, exist_ok=True)
    photos = read_labelled(data, "tuned")
    file = out / "privacy.onnx"
    examples = pictures_to_tensor([_small(photo) for photo in photos[:_EXAMPLES]])
    parity = export(net, file, (1, 3, SIDE, SIDE), (examples + 1.0) * 127.5)
    manifest = _manifest(file, parity, story)
    chosen = choose_thresholds(photos, PrivacyFinder(Model(manifest, file), threads=2))
    content = manifest.model_dump(mode="json", exclude_defaults=True)
    return write_manifest(content | {"thresholds": chosen}, out / "privacy.yaml")


def choose_thresholds(photos: list[Labelled], finder: PrivacyFinder) -> dict[str, float]:
    """The highest thresholds that hide enough, by their names in the manifest; the lowest tried where none does."""
    shares: dict[tuple[int, float], list[NDArray[np.float64]]] = {}
    for photo in photos:
        likely = finder.probabilities(read_picture(photo.picture))
        for label, boxes in enumerate((photo.heads, photo.plates)):
            for threshold in _THRESHOLDS:
                mask = likely[label] >= threshold
                one = count(photo.group, boxes, widened(mask) if label else spots(mask), round_=label == 0)
                shares.setdefault((label, threshold), []).append(one.shares)

    def enough(label: int, wanted: float) -> float:
        for threshold in _THRESHOLDS:
            every = np.concatenate(shares[label, threshold])
            if len(every) and (every >= HIDDEN).mean() >= wanted:
                return threshold
        return _THRESHOLDS[-1]

    return {"head": enough(0, _HEADS), "plate": enough(1, _PLATES), "near": enough(0, _NEAR)}


def _small(photo: Labelled) -> NDArray[np.uint8]:
    return np.asarray(
        cv2.resize(read_picture(photo.picture), (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8
    )


def _manifest(file: Path, parity: float, story: dict[str, Any]) -> PrivacyManifest:
    content = file.read_bytes()
    return PrivacyManifest.model_validate(
        {
            "name": "privacy",
            "title": "Heads and number plates, to be hidden",
            "file": file.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "ships": True,
            "head": "privacy",
            "input": {
                "name": "pixels",
                "width": SIDE,
                "height": SIDE,
                "layout": "nchw",
                "channels": "rgb",
                "dtype": "float32",
                "fit": "stretch",
            },
            "labels": ("head", "plate"),
            "thresholds": {"head": 0.5, "plate": 0.5},
            "parity": float(f"{parity:.1e}"),
            "licence": "Apache-2.0; trained on photos under CC BY 4.0",
            "origin": (
                f"trained by `drumtower models train privacy` ({story['steps']} steps, seed {story['seed']}, "
                f"torch {story['torch']}) on helmet-riders, from the layers of cocossd"
            ),
        }
    )
