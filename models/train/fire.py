"""Where something burns or smokes: a small segmenter, trained on boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.flames import CLASSES, Scene
from models.data.plumes import flames_of, lit, smoked
from models.data.riders import read_picture
from models.data.water import after_dark
from models.train.augment import other_camera
from models.train.dense import HEIGHT, STRIDE, WIDTH, DenseNet, mask_loss
from models.train.loop import Checkpoint, Plan, fit, pictures_to_tensor

STEPS: Final = 50
"""Of the optimiser in what is called an epoch here: pictures are drawn by lot, for ever."""
_BATCH: Final = 12
#: Of each batch: streets and rooms where nothing burns, and streets where something was painted.
_CALM, _PAINTED = 4, 4
_FROZEN: Final = 4
#: Painted fire or smoke so dense is called so, thinner than this is none, and between the two nobody knows.
_SEEN, _THIN = 0.35, 0.08


class Burning:
    """Labelled frames at the network's size, and what is known of each cell."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.pictures = [fitted(read_picture(scene.picture)) for scene in scenes]
        self.maps = [_known(scene) for scene in scenes]
        self.flames = [
            flame
            for scene, picture in zip(scenes, self.pictures, strict=True)
            for label, *box in scene.boxes
            if label == 0 and (flame := flames_of(picture, box)) is not None
        ]
        by_group: dict[str, list[int]] = {}
        for place, scene in enumerate(scenes):
            by_group.setdefault(scene.group, []).append(place)
        # Long videos shall not drown the short ones: a group is drawn by the root of its length.
        share = {group: len(places) ** 0.5 for group, places in by_group.items()}
        total = sum(share.values())
        self.odds = np.zeros(len(scenes))
        for group, places in by_group.items():
            self.odds[places] = share[group] / total / len(places)


def fitted(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture at the network's size."""
    return np.asarray(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _known(scene: Scene) -> NDArray[np.float32]:
    """``(2 classes, truth and weight, H, W)``: a flame fills its box's middle; of the corners nobody knows."""
    known = np.zeros((len(CLASSES), 2, HEIGHT, WIDTH), np.float32)
    known[:, 1] = 1.0
    for label, left, top, right, bottom in scene.boxes:
        corner = (int(left * WIDTH), int(top * HEIGHT)), (int(right * WIDTH), int(bottom * HEIGHT))
        cv2.rectangle(known[label, 1], *corner, 0.0, -1)
        if label == 0:
            # Where there is fire there is smoke now and then that nobody drew.
            cv2.rectangle(known[1, 1], *corner, 0.0, -1)
    for label, left, top, right, bottom in scene.boxes:
        centre = (int((left + right) / 2 * WIDTH), int((top + bottom) / 2 * HEIGHT))
        axes = (int((right - left) * WIDTH * 0.36) + 1, int((bottom - top) * HEIGHT * 0.36) + 1)
        for layer in (0, 1):
            cv2.ellipse(known[label, layer], centre, axes, 0, 0, 360, 1.0, -1)
    return known


def batches(
    burning: Burning, calm: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> Iterator[tuple[Tensor, ...]]:
    """Pictures, truth and weights, for ever: a third labelled, a third painted, a third calm; half of these at night."""
    nowhere = np.zeros((len(CLASSES), 2, HEIGHT, WIDTH), np.float32)
    nowhere[:, 1] = 1.0
    while True:
        shown = [
            _elsewhere(burning.pictures[place], burning.maps[place], rng)
            for place in rng.choice(len(burning.odds), _BATCH - _CALM - _PAINTED, p=burning.odds)
        ]
        for number, place in enumerate(rng.integers(0, len(calm), _CALM + _PAINTED)):
            picture, known = _elsewhere(calm[place], nowhere, rng)
            if rng.random() < 0.5:
                picture = after_dark(picture, rng)
            shown.append(_painted(picture, burning.flames, rng) if number < _PAINTED else (picture, known))
        pictures = [other_camera(picture, rng) for picture, _ in shown]
        known = np.stack([one for _, one in shown])
        yield pictures_to_tensor(pictures), torch.from_numpy(known[:, :, 0]), torch.from_numpy(known[:, :, 1])


def _painted(
    picture: NDArray[np.uint8], flames: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Smoke, a flame, or a flame before smoke; nobody has to know thin edges."""
    fire, smoke = (np.zeros((HEIGHT, WIDTH), np.float32) for _ in range(2))
    what = rng.random()
    if what < 0.65:
        picture, smoke = smoked(picture, rng)
    if what > 0.4:
        picture, fire = lit(picture, flames, rng)
    layers = []
    for density in (fire, smoke):
        seen = (density > _SEEN).astype(np.float32)
        sure = ((density > _SEEN) | (density < _THIN)).astype(np.float32)
        layers.append([_by_cell(seen), _by_cell(sure)])
    return picture, np.asarray(layers, np.float32)


def _by_cell(layer: NDArray[np.float32]) -> NDArray[np.float32]:
    cells = (WIDTH // STRIDE, HEIGHT // STRIDE)
    return np.asarray(cv2.resize(layer, cells, interpolation=cv2.INTER_AREA), np.float32)


def _elsewhere(
    picture: NDArray[np.uint8], known: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Moved, nearer or further, mirrored; the maps by cell."""
    scale = float(np.exp(rng.uniform(-0.7, 0.5)))
    stretch = float(np.exp(rng.uniform(-0.25, 0.25)))
    warp = np.array([[scale * stretch, 0, 0], [0, scale / stretch, 0]], np.float32)
    warp[:, 2] = (rng.uniform(0, 1, 2) * (1 - np.array([warp[0, 0], warp[1, 1]]))) * (WIDTH, HEIGHT)
    if rng.random() < 0.5:
        warp[0] = -warp[0]
        warp[0, 2] += WIDTH - 1
    size = (WIDTH, HEIGHT)
    moved = np.asarray(cv2.warpAffine(picture, warp, size, borderMode=cv2.BORDER_REFLECT_101), np.uint8)
    layers = known.reshape(-1, HEIGHT, WIDTH)
    maps = [
        _by_cell(np.asarray(cv2.warpAffine(layer, warp, size, borderMode=cv2.BORDER_REFLECT_101), np.float32))
        for layer in layers
    ]
    return moved, np.asarray(maps, np.float32).reshape(len(CLASSES), 2, *maps[0].shape)


def loss_of(net: DenseNet, batch: tuple[Tensor, ...]) -> Tensor:
    """Where something is known."""
    return mask_loss(net(batch[0]).float(), *batch[1:])


def new_net(street_weights: Path) -> DenseNet:
    """A network to begin with, its lowest layers fixed."""
    net = DenseNet(len(CLASSES), street_weights)
    for layer in (net.backbone.stem, *list(net.backbone.blocks)[:_FROZEN]):
        layer.requires_grad_(requires_grad=False)
    return net


def train(
    scenes: Sequence[Scene],
    calm: Sequence[NDArray[np.uint8]],
    street_weights: Path,
    steps: int,
    seed: int = 0,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> DenseNet:
    """A trained network.

    Args:
        scenes: labelled frames, of fires and of none.
        calm: pictures of the network's size without fire and smoke.
        street_weights: the detector whose layers it begins from.
        steps: of the optimiser.
        seed: of everything random.
        checkpoint: written after each epoch.
        resume: whether to go on from it.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    def tell(step: int, loss: float) -> None:
        if step % 25 == 0:
            print(f"fire: step {step} of {steps}, loss {loss:.3f}", flush=True)

    net = new_net(street_weights)
    kept = None if checkpoint is None else Checkpoint(checkpoint, rng, every=STEPS, resume=resume)
    plan = Plan(steps, seed=seed, hold=True, half=True)
    return fit(net, plan, batches(Burning(scenes), calm, rng), loss_of, tell, checkpoint=kept)
