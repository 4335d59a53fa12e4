"""The privacy model from photos to ONNX file and manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.privacy import Labelled, read_labelled
from models.data.riders import read_picture
from models.manifest import PrivacyManifest
from models.privacy import THRESHOLDS
from models.store import WEIGHTS
from models.train.begin import demand
from models.train.card import Told, as_the_shipped, to_be_measured
from models.train.export import export
from models.train.kept import keep, leave, load_kept
from models.train.loop import pictures_to_tensor, steps_of
from models.train.privacy import STEPS, new_net, train

EPOCHS: Final = 14
SIDE: Final = 416
"""Pixels across and down of the input on the box."""
STREET: Final = WEIGHTS / "cocossd_mbv2lite.onnx"
_EXAMPLES: Final = 6


def train_into(
    data: Path, out: Path, *, epochs: int | None, seed: int, resume: bool, most: int | None = None
) -> None:
    """Train on the learnt side of ``helmet-riders``."""
    out.mkdir(parents=True, exist_ok=True)
    photos = read_labelled(data, "learnt")
    heads = sum(len(one.heads) for one in photos)
    plates = sum(len(one.plates) for one in photos)
    demand({"learnt photos": len(photos), "heads": heads, "number plates": plates}, data)
    steps = steps_of(EPOCHS if epochs is None else epochs, STEPS, most)
    net = train(photos, STREET, steps, seed, checkpoint=out / "checkpoint.pt", resume=resume)
    groups = len({one.group for one in photos})
    learnt = (
        f"{heads} heads and {plates} number plates in {len(photos)} photos ({groups} groups) of *{data.resolve().name}*, "
        "plates of other kinds drawn over some."
    )
    keep(net, out, "privacy", steps=steps, seed=seed, learnt=learnt)


def export_into(data: Path, trained: Path, out: Path) -> Path:
    """Write ``privacy.onnx`` and ``privacy.yaml``, compared on photos neither learnt nor judged on."""
    net = new_net(STREET)
    story = load_kept(net, trained, "privacy")
    out.mkdir(parents=True, exist_ok=True)
    photos = read_labelled(data, "tuned")[:_EXAMPLES]
    demand({"photos neither learnt nor judged on": len(photos)}, data)
    file = out / "privacy.onnx"
    examples = pictures_to_tensor([_small(photo) for photo in photos])
    parity = export(net, file, (1, 3, SIDE, SIDE), (examples + 1.0) * 127.5)
    content = _manifest(file, parity, story).model_dump(mode="json", exclude_defaults=True)
    compared = f"{len(photos)} photos neither learnt nor judged on (probabilities)"
    told = Told(story["learnt"], parity, compared, to_be_measured("privacy"), as_the_shipped("privacy"))
    return leave(content, out, told)


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
            "thresholds": THRESHOLDS,
            "parity": float(f"{parity:.1e}"),
            "licence": "Apache-2.0; trained on photos under CC BY 4.0",
            "origin": (
                f"trained by `drumtower models train privacy` ({story['steps']} steps, seed {story['seed']}, "
                f"torch {story['torch']}) on helmet-riders, from the layers of cocossd"
            ),
        }
    )
