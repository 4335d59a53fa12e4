"""The water model from photos of dry roads to ONNX file and manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.accuracy.water import EXTENT, ask, choose_threshold
from models.accuracy.water_shown import OTHERS, ROADS, SEGMENTER, dressed, footage, places
from models.data.flames import read_scenes
from models.data.riders import held_out_groups
from models.data.water_split import roads_of, small_pictures
from models.data.water_views import HEIGHT, WIDTH, seen_elsewhere
from models.manifest import WaterManifest
from models.store import WEIGHTS, Model
from models.train.begin import demand
from models.train.card import Told, as_the_shipped, to_be_measured
from models.train.export import export
from models.train.kept import keep, leave, load_kept
from models.train.loop import pictures_to_tensor, steps_of
from models.train.water import STEPS, Mirrored, new_net, train
from models.water import WaterSegmenter

EPOCHS: Final = 27
STREET: Final = WEIGHTS / "cocossd_mbv2lite.onnx"
_EXAMPLES: Final = 16
#: Frames of one video resemble each other: one in so many is enough.
_EVERY: Final = 4


def train_into(
    data: Path, out: Path, *, epochs: int | None, seed: int, resume: bool, most: int | None = None
) -> None:
    """Train on the learnt side of the roads, with frames of fires as what is dry whatever it looks like."""
    out.mkdir(parents=True, exist_ok=True)
    roads = [one.road for one in roads_of(data / ROADS, data / SEGMENTER, judged=False)]
    dry = small_pictures(learnt_others(data / OTHERS))
    demand({"learnt roads": len(roads), "frames without water": len(dry)}, data)
    steps = steps_of(EPOCHS if epochs is None else epochs, STEPS, most)
    net = train(roads, dry, STREET, steps, seed, checkpoint=out / "checkpoint.pt", resume=resume)
    learnt = (
        f"{len(roads)} dry roads of *{ROADS.name}*, onto which water, rain and night are composed, and {len(dry)} frames of "
        f"*{OTHERS.name}* as what is dry whatever it looks like."
    )
    keep(net, out, "water", steps=steps, seed=seed, learnt=learnt)


def learnt_others(data: Path) -> list[Path]:
    """Frames without water that are learnt from; whole videos are left to be judged on."""
    scenes = read_scenes(data)
    held_out = held_out_groups((scene.group for scene in scenes), 0.3, 7)
    return [scene.picture for scene in scenes if scene.group not in held_out][::_EVERY]


def export_into(data: Path, trained: Path, out: Path) -> Path:
    """Write ``water.onnx`` and ``water.yaml``, with the threshold that keeps everything dry at hand dry."""
    net = new_net(STREET)
    story = load_kept(net, trained, "water")
    out.mkdir(parents=True, exist_ok=True)
    roads = roads_of(data / ROADS, data / SEGMENTER, judged=True)
    demand({"held-out roads": len(roads)}, data)
    rng = np.random.default_rng(0)
    views = [seen_elsewhere(one.road.picture, one.road.road, rng)[0] for one in roads[:_EXAMPLES]]
    file = out / "water.onnx"
    parity = export(Mirrored(net), file, (1, 3, HEIGHT, WIDTH), (pictures_to_tensor(views) + 1.0) * 127.5)
    manifest = _manifest(file, parity, story)
    segmenter = WaterSegmenter(Model(manifest, file), threads=2)
    dry = ask([*dressed(places(roads)), *footage(data)], segmenter)
    thresholds = {
        "water": choose_threshold(dry),
        "dry_shown": choose_threshold(dry, known=True),
        "extent": EXTENT,
    }
    content = manifest.model_dump(mode="json", exclude_defaults=True) | {"thresholds": thresholds}
    compared = f"{len(views)} held-out roads (probabilities)"
    told = Told(story["learnt"], parity, compared, to_be_measured("water"), as_the_shipped("water"))
    return leave(content, out, told)


def _manifest(file: Path, parity: float, story: dict[str, Any]) -> WaterManifest:
    content = file.read_bytes()
    return WaterManifest.model_validate(
        {
            "name": "water",
            "title": "Water standing on roads",
            "file": file.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "ships": True,
            "head": "water",
            "input": {
                "name": "pixels",
                "width": WIDTH,
                "height": HEIGHT,
                "layout": "nchw",
                "channels": "rgb",
                "dtype": "float32",
                "fit": "stretch",
            },
            "labels": ("water",),
            "thresholds": {"water": 0.5},
            "parity": float(f"{parity:.1e}"),
            "licence": "Apache-2.0; trained on photos under CC BY 4.0",
            "origin": (
                f"trained by `drumtower models train water` ({story['steps']} steps, seed {story['seed']}, "
                f"torch {story['torch']}) on water composed onto roads of helmet-riders, frames of fire-smoke as dry, "
                "from the layers of cocossd"
            ),
        }
    )
