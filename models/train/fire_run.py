"""The fire model from labelled frames of videos to ONNX file and manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.accuracy.fire_clips import calm_photos, clips
from models.accuracy.fire_count import FRAMES, choose_thresholds
from models.data.flames import Scene, judged_groups, read_scenes
from models.data.riders import read_picture
from models.data.water_split import names_of
from models.fire import FireSegmenter
from models.manifest import FireManifest
from models.store import WEIGHTS, Model
from models.train.begin import demand
from models.train.card import Told, as_the_shipped, to_be_measured
from models.train.dense import HEIGHT, WIDTH
from models.train.export import export
from models.train.fire import STEPS, fitted, new_net, train
from models.train.kept import keep, leave, load_kept
from models.train.loop import pictures_to_tensor, steps_of

EPOCHS: Final = 12
STREET: Final = WEIGHTS / "cocossd_mbv2lite.onnx"
_EXAMPLES: Final = 16


def train_into(
    data: Path, out: Path, *, epochs: int | None, seed: int, resume: bool, most: int | None = None
) -> None:
    """Train on the learnt videos of ``fire-smoke``, with the learnt streets of ``helmet-riders`` as what burns not."""
    out.mkdir(parents=True, exist_ok=True)
    scenes = learnt_scenes(data / FRAMES)
    calm = learnt_streets(data / "helmet-riders")
    demand({"frames of learnt videos": len(scenes), "learnt streets": len(calm)}, data)
    steps = steps_of(EPOCHS if epochs is None else epochs, STEPS, most)
    net = train(scenes, calm, STREET, steps, seed, checkpoint=out / "checkpoint.pt", resume=resume)
    videos = len({scene.group for scene in scenes})
    burning = sum(bool(scene.boxes) for scene in scenes)
    learnt = (
        f"{len(scenes)} frames of {videos} videos of *{FRAMES.name}*, fire or smoke in {burning} of them, and {len(calm)} "
        "streets of *helmet-riders* where nothing burns, onto which flames and smoke are painted."
    )
    keep(net, out, "fire", steps=steps, seed=seed, learnt=learnt)


def learnt_scenes(data: Path) -> list[Scene]:
    """Frames of the videos that are learnt from."""
    scenes = read_scenes(data)
    judged = judged_groups(scenes)
    return [scene for scene in scenes if scene.group not in judged]


def learnt_streets(data: Path) -> list[NDArray[np.uint8]]:
    """Streets without fire, at the network's size."""
    learnt = {name for name, _ in names_of(data, judged=False)}
    return [fitted(read_picture(path)) for path in sorted((data / "images").iterdir()) if path.stem in learnt]


def export_into(data: Path, trained: Path, out: Path) -> Path:
    """Write ``fire.onnx`` and ``fire.yaml``, with the thresholds at which nothing that burns not is an alarm."""
    net = new_net(STREET)
    story = load_kept(net, trained, "fire")
    out.mkdir(parents=True, exist_ok=True)
    shown = learnt_scenes(data / FRAMES)[:_EXAMPLES]
    demand({"frames of learnt videos": len(shown)}, data)
    examples = [fitted(read_picture(scene.picture)) for scene in shown]
    file = out / "fire.onnx"
    parity = export(net, file, (1, 3, HEIGHT, WIDTH), (pictures_to_tensor(examples) + 1.0) * 127.5)
    manifest = _manifest(file, parity, story)
    segmenter = FireSegmenter(Model(manifest, file), threads=2)
    photos = [segmenter.look(photo) for photo in calm_photos(data)]
    thresholds = choose_thresholds(list(clips(data, segmenter)), photos)
    content = manifest.model_copy(update={"thresholds": thresholds}).model_dump(
        mode="json", exclude_defaults=True
    )
    compared = f"{len(shown)} frames of learnt videos (probabilities)"
    told = Told(story["learnt"], parity, compared, to_be_measured("fire"), as_the_shipped("fire"))
    return leave(content, out, told)


def _manifest(file: Path, parity: float, story: dict[str, Any]) -> FireManifest:
    content = file.read_bytes()
    return FireManifest.model_validate(
        {
            "name": "fire",
            "title": "Open fire and smoke",
            "file": file.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "ships": True,
            "head": "fire",
            "input": {
                "name": "pixels",
                "width": WIDTH,
                "height": HEIGHT,
                "layout": "nchw",
                "channels": "rgb",
                "dtype": "float32",
                "fit": "stretch",
            },
            "labels": ("fire", "smoke"),
            "thresholds": {"fire": 0.5, "smoke": 0.5},
            "parity": float(f"{parity:.1e}"),
            "licence": "Apache-2.0; trained on photos under CC BY 4.0",
            "origin": (
                f"trained by `drumtower models train fire` ({story['steps']} steps, seed {story['seed']}, "
                f"torch {story['torch']}) on frames of fire-smoke, streets of helmet-riders as what burns not, "
                "from the layers of cocossd"
            ),
        }
    )
