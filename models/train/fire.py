"""Where something burns or smokes: a small segmenter, trained on boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.flames import CLASSES, Scene
from models.data.riders import read_picture
from models.train.augment import other_camera
from models.train.dense import HEIGHT, STRIDE, WIDTH, DenseNet, mask_loss
from models.train.loop import Plan, fit, pictures_to_tensor

_BATCH = 12
_CALM = 4


class Burning:
    """Labelled frames at the network's size, and what is known of each cell."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self.pictures = [
            np.asarray(cv2.resize(read_picture(scene.picture), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
            for scene in scenes
        ]
        self.maps = [_known(scene) for scene in scenes]
        by_group: dict[str, list[int]] = {}
        for place, scene in enumerate(scenes):
            by_group.setdefault(scene.group, []).append(place)
        # Long videos shall not drown the short ones: a group is drawn by the root of its length.
        share = {group: len(places) ** 0.5 for group, places in by_group.items()}
        total = sum(share.values())
        self.odds = np.zeros(len(scenes))
        for group, places in by_group.items():
            self.odds[places] = share[group] / total / len(places)


def _known(scene: Scene) -> NDArray[np.float32]:
    """``(2 classes, truth and weight, H, W)``: a flame fills its box's middle; of the corners nobody knows."""
    known = np.zeros((len(CLASSES), 2, HEIGHT, WIDTH), np.float32)
    known[:, 1] = 1.0
    for label, left, top, right, bottom in scene.boxes:
        corner = (int(left * WIDTH), int(top * HEIGHT)), (int(right * WIDTH), int(bottom * HEIGHT))
        cv2.rectangle(known[label, 1], *corner, 0.0, -1)
        centre = (int((left + right) / 2 * WIDTH), int((top + bottom) / 2 * HEIGHT))
        axes = (int((right - left) * WIDTH * 0.36) + 1, int((bottom - top) * HEIGHT * 0.36) + 1)
        for layer in (0, 1):
            cv2.ellipse(known[label, layer], centre, axes, 0, 0, 360, 1.0, -1)
    return known


def batches(
    burning: Burning, calm: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> Iterator[tuple[Tensor, ...]]:
    """Pictures, truth and weights, for ever; a third of them calm streets and rooms."""
    while True:
        pictures, truth, weight = [], [], []
        for place in rng.choice(len(burning.odds), _BATCH - _CALM, p=burning.odds):
            picture, known = _elsewhere(burning.pictures[place], burning.maps[place], rng)
            pictures.append(other_camera(picture, rng))
            truth.append(known[:, 0])
            weight.append(known[:, 1])
        for place in rng.integers(0, len(calm), _CALM):
            whole = np.zeros((len(CLASSES), 2, HEIGHT, WIDTH), np.float32)
            whole[:, 1] = 1.0
            picture, known = _elsewhere(calm[place], whole, rng)
            pictures.append(other_camera(picture, rng))
            truth.append(known[:, 0])
            weight.append(known[:, 1])
        yield pictures_to_tensor(pictures), *(torch.from_numpy(np.stack(one)) for one in (truth, weight))


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
    cells = (WIDTH // STRIDE, HEIGHT // STRIDE)
    maps = [
        cv2.resize(
            cv2.warpAffine(layer, warp, size, borderMode=cv2.BORDER_REFLECT_101),
            cells,
            interpolation=cv2.INTER_AREA,
        )
        for layer in layers
    ]
    return moved, np.asarray(maps, np.float32).reshape(len(CLASSES), 2, cells[1], cells[0])


def loss_of(net: DenseNet, batch: tuple[Tensor, ...]) -> Tensor:
    """Where something is known."""
    return mask_loss(net(batch[0]), *batch[1:])


def train(
    scenes: Sequence[Scene],
    calm: Sequence[NDArray[np.uint8]],
    street_weights: Path,
    steps: int = 1200,
    seed: int = 0,
) -> DenseNet:
    """A trained network; ``calm`` are pictures of the network's size without fire and smoke."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    def tell(step: int, loss: float) -> None:
        if step % 25 == 0:
            print(f"fire: step {step} of {steps}, loss {loss:.3f}", flush=True)

    net = DenseNet(len(CLASSES), street_weights)
    return fit(net, Plan(steps, seed=seed), batches(Burning(scenes), calm, rng), loss_of, tell)
