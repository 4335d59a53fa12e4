"""Where water stands on the road: a small segmenter, trained on composed water."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.data.roads import Road
from models.data.water import after_dark, composed
from models.data.water_views import HEIGHT, STRIDE, WIDTH, by_another_camera, cells, seen_elsewhere
from models.train.dense import DenseNet, mask_loss
from models.train.loop import Checkpoint, Plan, fit, pictures_to_tensor

STEPS: Final = 100
"""Of the optimiser in what is called an epoch here: compositions never end."""
_BATCH: Final = 12
#: Of each batch: pictures of anything, so that floors, smoke and rivers of people stay dry.
_DRY: Final = 2
#: Cells off the road count as much less: nobody asks about them.
_ASIDE: Final = 0.3
#: What makes a false alarm is the part of a dry picture that is most like water: so much of it counts again.
_WORST, _WORST_WEIGHT = 0.06, 0.4
#: The stem and the first blocks keep what they learnt on photos: edges are edges, and two cores are few.
_FROZEN: Final = 4


def batches(
    roads: Sequence[Road], dry: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> Iterator[tuple[Tensor, ...]]:
    """Pictures, the share of water in each cell, and how much each cell counts, for ever."""
    everywhere = np.ones((HEIGHT // STRIDE, WIDTH // STRIDE), np.float32)
    while True:
        pictures: list[NDArray[np.uint8]] = []
        truth: list[NDArray[np.float32]] = []
        weight: list[NDArray[np.float32]] = []
        for place in rng.integers(0, len(roads), _BATCH - _DRY):
            picture, road = seen_elsewhere(roads[place].picture, roads[place].road, rng)
            picture, water = composed(picture, road, rng)
            pictures.append(by_another_camera(picture, rng))
            truth.append(cells(water))
            weight.append(_ASIDE + (1 - _ASIDE) * cells(road))
        for place in rng.integers(0, len(dry), _DRY):
            picture, _ = seen_elsewhere(dry[place], np.zeros(dry[place].shape[:2], np.bool_), rng)
            pictures.append(
                by_another_camera(after_dark(picture, rng) if rng.random() < 0.5 else picture, rng)
            )
            truth.append(np.zeros_like(everywhere))
            weight.append(everywhere)
        maps = (torch.from_numpy(np.stack(one)[:, None]) for one in (truth, weight))
        yield pictures_to_tensor(pictures), *maps


def loss_of(net: DenseNet, batch: tuple[Tensor, ...]) -> Tensor:
    """Against every cell, and once more against those of dry pictures that come nearest to a false alarm."""
    pictures, truth, weight = batch
    logits = net(pictures).float()
    loss = mask_loss(logits, truth, weight)
    is_dry = truth.flatten(1).amax(1) == 0
    if is_dry.any():
        ground = logits[is_dry].masked_fill(weight[is_dry] < 0.5, -20.0).flatten(1)
        worst = ground.topk(round(_WORST * ground.shape[1]), dim=1).values
        loss = loss + _WORST_WEIGHT * functional.softplus(worst).mean()
    return loss


class Mirrored(nn.Module):
    """The mean of what is said of a picture and of its mirror image: chance finds fall, water stays."""

    def __init__(self, net: DenseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """As the network itself."""
        y: Tensor = (self.net(x) + self.net(x.flip(3)).flip(3)) / 2
        return y


def new_net(street_weights: Path) -> DenseNet:
    """A network to begin with, its lowest layers fixed."""
    net = DenseNet(1, street_weights)
    for layer in (net.backbone.stem, *list(net.backbone.blocks)[:_FROZEN]):
        layer.requires_grad_(requires_grad=False)
    return net


def train(
    roads: Sequence[Road],
    dry: Sequence[NDArray[np.uint8]],
    street_weights: Path,
    steps: int,
    seed: int = 0,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> DenseNet:
    """A trained network.

    Args:
        roads: dry roads, to be flooded.
        dry: whatever else shall not be taken for water.
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
            print(f"water: step {step} of {steps}, loss {loss:.3f}", flush=True)

    net = new_net(street_weights)
    kept = None if checkpoint is None else Checkpoint(checkpoint, rng, every=STEPS, resume=resume)
    plan = Plan(steps, seed=seed, hold=True, half=True)
    return fit(net, plan, batches(roads, dry, rng), loss_of, tell, checkpoint=kept)
