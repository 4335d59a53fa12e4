"""Where water stands on the road: a small segmenter, trained on composed water."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.roads import Road
from models.data.water import composed
from models.train.augment import other_camera
from models.train.dense import HEIGHT, STRIDE, WIDTH, DenseNet, mask_loss
from models.train.loop import Plan, fit, pictures_to_tensor

_BATCH = 12
#: Of each batch: pictures without any road to flood, so that rivers of people and shiny floors stay dry.
_DRY = 2


def batches(
    roads: Sequence[Road], dry: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> Iterator[tuple[Tensor, ...]]:
    """Pictures and the share of water in each cell, for ever."""
    while True:
        pictures: list[NDArray[np.uint8]] = []
        truth: list[NDArray[np.float32]] = []
        for place in rng.integers(0, len(roads), _BATCH - _DRY):
            picture, road = seen_elsewhere(roads[place].picture, roads[place].road, rng)
            picture, water = composed(picture, road, rng)
            pictures.append(other_camera(picture, rng))
            truth.append(cells(water))
        for place in rng.integers(0, len(dry), _DRY):
            picture, _ = seen_elsewhere(dry[place], np.zeros(dry[place].shape[:2], np.bool_), rng)
            pictures.append(other_camera(picture, rng))
            truth.append(np.zeros((HEIGHT // STRIDE, WIDTH // STRIDE), np.float32))
        yield pictures_to_tensor(pictures), torch.from_numpy(np.stack(truth)[:, None])


def seen_elsewhere(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A part of the picture, now and then mirrored; both at the network's size."""
    height, width = mask.shape
    across, down = (int(side * rng.uniform(0.6, 1.0)) for side in (width, height))
    left, top = int(rng.integers(0, width - across + 1)), int(rng.integers(0, height - down + 1))
    part = picture[top : top + down, left : left + across]
    inside = mask[top : top + down, left : left + across].astype(np.uint8)
    part = np.asarray(cv2.resize(part, (WIDTH, HEIGHT)), np.uint8)
    inside = np.asarray(cv2.resize(inside, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST), np.uint8)
    if rng.random() < 0.5:
        part, inside = np.ascontiguousarray(part[:, ::-1]), np.ascontiguousarray(inside[:, ::-1])
    return part, inside > 0


def cells(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The share of each cell that a mask of the input's size covers."""
    size = (WIDTH // STRIDE, HEIGHT // STRIDE)
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)


def loss_of(net: DenseNet, batch: tuple[Tensor, ...]) -> Tensor:
    """Against every cell."""
    return mask_loss(net(batch[0]), batch[1], torch.ones_like(batch[1]))


def train(
    roads: Sequence[Road],
    dry: Sequence[NDArray[np.uint8]],
    street_weights: Path,
    steps: int = 1500,
    seed: int = 0,
) -> DenseNet:
    """A trained network.

    Args:
        roads: dry roads, to be flooded.
        dry: whatever else shall not be taken for water.
        street_weights: the detector whose layers it begins from.
        steps: of the optimiser.
        seed: of everything random.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    def tell(step: int, loss: float) -> None:
        if step % 25 == 0:
            print(f"water: step {step} of {steps}, loss {loss:.3f}", flush=True)

    net = DenseNet(1, street_weights)
    return fit(net, Plan(steps, seed=seed), batches(roads, dry, rng), loss_of, tell)
