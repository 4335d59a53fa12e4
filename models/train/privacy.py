"""Where heads and number plates are: a small segmenter, trained on boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.data.privacy import CLASSES, Labelled, part_of
from models.data.riders import read_picture
from models.data.unlabelled import Onlooker, Seen
from models.data.water_views import by_another_camera
from models.train.augment import at_night
from models.train.dense import DenseNet, mask_loss
from models.train.loop import Checkpoint, Plan, fit, pictures_to_tensor

STEPS: Final = 100
"""Of the optimiser in what is called an epoch here."""
SIDE: Final = 256
"""Pixels across and down of the parts that are learnt from; the network takes any multiple of 32."""
_BATCH: Final = 8
_PARTS: Final = 2400
_FIXED: Final = 6
"""Blocks of the backbone that stay as they are: those up to stride 8, which know edges, rims and letters."""
#: A head that is missed is shown to the world; blurring a lamp costs nothing.
_PRESENT: Final = 2.0


class Album:
    """Parts of photos by other cameras, with what the fixed layers make of them: they are asked once, not each step.

    Two cores are few, and the street detector's lower layers know what heads are made of.
    """

    def __init__(
        self,
        photos: Sequence[Labelled],
        net: DenseNet,
        street_weights: Path,
        parts: int,
        rng: np.random.Generator,
    ) -> None:
        self._features: list[tuple[Tensor, ...]] = []
        self._known: list[tuple[Tensor, Tensor]] = []
        onlooker = Onlooker(street_weights)
        seen: dict[int, Seen] = {}
        for number in range(parts):
            place = int(rng.integers(len(photos)))
            if place not in seen:
                seen[place] = onlooker.look(read_picture(photos[place].picture))
            picture, covered, known = part_of(photos[place], SIDE, rng, seen[place])
            if rng.random() < 0.15:
                picture = at_night(picture, rng)
            with torch.no_grad():
                levels = net.backbone(pictures_to_tensor([by_another_camera(picture, rng)]))
            self._features.append(tuple(level[0].half() for level in levels[1:3]))
            weight = known * (1 + (_PRESENT - 1) * covered)
            self._known.append((torch.from_numpy(covered), torch.from_numpy(weight)))
            if number % 100 == 0:
                print(f"privacy: part {number} of {parts}", flush=True)

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        """Features of the strides 4 and 8, truth and weights, for ever."""
        while True:
            places = rng.integers(0, len(self._known), _BATCH).tolist()
            features = [
                torch.stack([level.float() for level in one])
                for one in zip(*(self._features[n] for n in places), strict=True)
            ]
            known = [torch.stack(one) for one in zip(*(self._known[n] for n in places), strict=True)]
            yield (*features, *known)


def loss_of(net: DenseNet, batch: tuple[Tensor, ...]) -> Tensor:
    """Where something is known."""
    fine, middle, truth, weight = batch
    coarse = middle
    for block in list(net.backbone.blocks)[_FIXED:]:
        coarse = block(coarse)
    return mask_loss(net.decode([fine, fine, middle, coarse]).float(), truth, weight)


def new_net(street_weights: Path) -> DenseNet:
    """A network to begin with, its lower layers fixed."""
    net = DenseNet(len(CLASSES), street_weights)
    for layers in (net.backbone.stem, *net.backbone.blocks[:_FIXED]):
        layers.requires_grad_(requires_grad=False)
    return net


def train(
    photos: Sequence[Labelled],
    street_weights: Path,
    steps: int,
    seed: int = 0,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> DenseNet:
    """A trained network.

    Args:
        photos: with boxes of heads and plates.
        street_weights: the detector whose layers it begins from.
        steps: of the optimiser.
        seed: of everything random.
        checkpoint: file to keep what has been reached.
        resume: whether to go on from it.

    Raises:
        InvalidError: ``training.other`` when the checkpoint is of another plan, or of an album of another size: fewer
            steps than fill the whole one make a smaller one, to be tried out in seconds.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    def tell(step: int, loss: float) -> None:
        if step % 25 == 0:
            print(f"privacy: step {step} of {steps}, loss {loss:.3f}", flush=True)

    net = new_net(street_weights)
    parts = min(_PARTS, steps * _BATCH)
    kept = None
    if checkpoint is not None:
        kept = Checkpoint(checkpoint, rng, every=STEPS, resume=resume, store=parts)
        kept.require_same_store()
    album = Album(photos, net, street_weights, parts, np.random.default_rng(seed))
    plan = Plan(steps, backbone_rate=4e-4, head_rate=2e-3, seed=seed, hold=True, half=True)
    return fit(net, plan, album.batches(rng), loss_of, tell, checkpoint=kept)
