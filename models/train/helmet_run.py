"""The helmet model from photos to ONNX file and manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.accuracy.helmet import SMALLEST, Judged, choose_thresholds
from models.data.riders import Head, parts, read_heads, read_picture
from models.helmet import HelmetJudge
from models.manifest import HelmetManifest
from models.store import WEIGHTS, Model
from models.train.augment import other_camera
from models.train.begin import demand
from models.train.card import Told, as_the_shipped, to_be_measured
from models.train.export import export
from models.train.helmet import BATCH, CONTEXT, SIZE, HeadCrops, HelmetNet, Mirrored, sides, train
from models.train.kept import keep, leave, load_kept
from models.train.loop import pictures_to_tensor, steps_of

EPOCHS: Final = 48
STREET: Final = WEIGHTS / "cocossd_mbv2lite.onnx"
_EXAMPLES: Final = 64
#: Errors that the thresholds may make on the heads they are chosen on.
_MOST_FALSE, _MOST_MISSED = 0.03, 0.08
#: Each of those heads is looked at this many times more, worsened: the streets to come are others.
_WEATHERS = 3


def train_into(
    data: Path, out: Path, *, epochs: int | None, seed: int, resume: bool, most: int | None = None
) -> None:
    """Train on the learnt part of ``helmet-riders``."""
    out.mkdir(parents=True, exist_ok=True)
    heads = parts(read_heads(data)).learnt
    bare, full, half = (len(side) for side in sides(heads))
    demand({"bare heads to learn from": bare, "full helmets": full, "half helmets": half}, data)
    steps = steps_of(EPOCHS if epochs is None else epochs, len(heads) // BATCH, most)
    net = train(heads, STREET, steps, seed, checkpoint=out / "checkpoint.pt", resume=resume)
    groups = len({head.group for head in heads})
    learnt = (
        f"{bare} bare heads, {full} in full helmets and {half} in half ones ({groups} groups of photos) of "
        f"*{data.resolve().name}*; doubtful labels are left out."
    )
    keep(net, out, "helmet", steps=steps, seed=seed, learnt=learnt)


def export_into(data: Path, trained: Path, out: Path) -> Path:
    """Write ``helmet.onnx`` and ``helmet.yaml``, thresholds chosen on heads neither learnt nor judged on."""
    net = HelmetNet()
    story = load_kept(net, trained, "helmet")
    out.mkdir(parents=True, exist_ok=True)
    tuned = parts(read_heads(data)).tuned
    trusted = [head for head in tuned if not head.suspect and head.size >= SMALLEST]
    bare = sum(head.bare for head in trusted)
    demand(
        {"bare heads to choose thresholds on": bare, "helmets to choose them on": len(trusted) - bare}, data
    )
    file = out / "helmet.onnx"
    parity = export(Mirrored(net), file, (0, 3, SIZE, SIZE), _pixels(tuned[:_EXAMPLES]))
    manifest = _manifest(file, parity, story)
    judged = _in_any_weather(trusted, HelmetJudge(Model(manifest, file), threads=2))
    thresholds = choose_thresholds(judged, _MOST_FALSE, _MOST_MISSED)
    content = manifest.model_copy(update={"thresholds": thresholds}).model_dump(
        mode="json", exclude_defaults=True
    )
    compared = f"{len(tuned[:_EXAMPLES])} heads neither learnt nor judged on (probabilities)"
    told = Told(story["learnt"], parity, compared, to_be_measured("helmet"), as_the_shipped("helmet"))
    return leave(content, out, told)


def _in_any_weather(heads: Sequence[Head], model: HelmetJudge) -> Judged:
    """What the model makes of heads as they stand and as other cameras, nights and networks would show them."""
    rng = np.random.default_rng(0)
    crops = [
        crop
        for head in heads
        for plain in model.crops(read_picture(head.picture), np.array([head.box]))
        for crop in (plain, *(other_camera(plain, rng) for _ in range(_WEATHERS)))
    ]
    probability = model.of_crops(crops).astype(np.float64)
    return Judged([head for head in heads for _ in range(1 + _WEATHERS)], probability)


def _pixels(heads: list[Head]) -> torch.Tensor:
    crops = HeadCrops()
    return (pictures_to_tensor([crops.plain(head) for head in heads]) + 1.0) * 127.5


def _manifest(file: Path, parity: float, story: dict[str, Any]) -> HelmetManifest:
    content = file.read_bytes()
    return HelmetManifest.model_validate(
        {
            "name": "helmet",
            "title": "Helmets on riders' heads",
            "file": file.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "ships": True,
            "head": "helmet",
            "input": {
                "name": "pixels",
                "width": SIZE,
                "height": SIZE,
                "layout": "nchw",
                "channels": "rgb",
                "dtype": "float32",
                "fit": "stretch",
            },
            "labels": ("helmetless",),
            "context": CONTEXT,
            "smallest": 24.0,
            "thresholds": {"helmetless": 0.6, "helmet": 0.4},
            "parity": float(f"{parity:.1e}"),
            "licence": "Apache-2.0; trained on photos under CC BY 4.0",
            "origin": (
                f"trained by `drumtower models train helmet` ({story['steps']} steps, seed {story['seed']}, "
                f"torch {story['torch']}) on helmet-riders, from the layers of cocossd"
            ),
        }
    )
