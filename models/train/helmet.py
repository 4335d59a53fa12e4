"""Whether a head wears a helmet: a small classifier on crops of heads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.crops import crop
from models.data.riders import Head, read_picture
from models.train.augment import other_camera
from models.train.backbone import Backbone, load_street_weights
from models.train.headwear import (
    accompanied,
    dressed,
    half_hidden,
    other_colours,
    other_hair,
    other_skin,
)
from models.train.loop import Checkpoint, Plan, fit, pictures_to_tensor

SIZE = 80
"""Pixels across and down of the network's input."""
CONTEXT = 1.6
"""Side of the crop, as a multiple of the head's longer side: a rim or a strap shows best against what is around."""
BATCH = 48
#: Labels are wrong now and then: nobody shall be sure.
_DOUBT = 0.04
_SMALLEST_TRAINED = 12.0
#: Shares of the bare heads that get a cap, hood or scarf, and other hair.
_DRESSED, _DYED = 0.15, 0.3
#: Shares of all: in other light, in other colours, half hidden, with a head of the other kind beside.
_LIT, _RECOLOURED, _HIDDEN, _ACCOMPANIED = 0.2, 0.25, 0.12, 0.2


class HelmetNet(nn.Module):
    """Street backbone, then means and the maximum over the crop, then one logit: bare-headed.

    What lies near the middle counts most: riders' heads come in pairs, and the neighbour's helmet is no helmet.

    Args:
        street_weights: the detector whose layers it begins from; None when its own weights are loaded next.
    """

    def __init__(self, street_weights: Path | None = None) -> None:
        super().__init__()
        self.backbone = Backbone(13)
        if street_weights is not None:
            load_street_weights(self.backbone, street_weights)
        self.narrow = nn.Conv2d(self.backbone.channels, 128, 1)
        self.drop = nn.Dropout(0.3)
        self.verdict = nn.Linear(3 * 128, 1)
        self.register_buffer("window", _window(SIZE // 16), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 3, SIZE, SIZE)`` in -1..1 to ``(N, 1)``."""
        features = self.drop(functional.relu(self.narrow(self.backbone(x)[-1] / 3)))
        inner = features * self.window
        pooled = torch.cat([features.mean((2, 3)), inner.mean((2, 3)), inner.amax((2, 3))], 1)
        logit: Tensor = self.verdict(pooled)
        return logit


def _window(cells: int) -> Tensor:
    """1 in the middle of the map of features, falling to a fifth at the middle of its sides."""
    place = torch.linspace(-1, 1, cells) ** 2
    return torch.exp(-1.6 * (place[:, None] + place[None, :]))


class Mirrored(nn.Module):
    """Looks at each crop and at its mirror image, and takes the mean of the two logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """As the network itself."""
        logit: Tensor = (self.net(x) + self.net(x.flip(3))) / 2
        return logit


class HeadCrops:
    """Cuts heads out of photos, as they stand or as a badly aimed crop by another camera would show them."""

    def __init__(self) -> None:
        self._photos: dict[Path, NDArray[np.uint8]] = {}

    def plain(self, head: Head) -> NDArray[np.uint8]:
        """The head in the middle, upright."""
        centre, side = self._place(head)
        return crop(self._photo(head), centre, side, SIZE)

    def shaken(
        self, head: Head, rng: np.random.Generator, neighbour: Head | None = None
    ) -> NDArray[np.uint8]:
        """Off centre, too near or too far, tilted, mirrored, by another camera; dressed or hidden now and then.

        Args:
            head: whose.
            rng: decides.
            neighbour: of another head that may come to stand beside it.
        """
        photo, (x, y), side = self._made_up(head, rng)
        centre = (x + rng.uniform(-0.13, 0.13) * side, y + rng.uniform(-0.13, 0.13) * side)
        side *= math.exp(rng.uniform(-0.3, 0.35))
        aimed = crop(photo, centre, side, SIZE, turn=rng.uniform(-15, 15), flip=bool(rng.random() < 0.5))
        if rng.random() < _RECOLOURED:
            aimed = other_colours(aimed, rng)
        if rng.random() < _HIDDEN:
            aimed = half_hidden(aimed, rng)
        if neighbour is not None and rng.random() < _ACCOMPANIED:
            (x, y), side = self._place(neighbour)
            aimed = accompanied(aimed, crop(self._photo(neighbour), (x, y), side, SIZE), rng)
        return other_camera(aimed, rng)

    def _made_up(
        self, head: Head, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], tuple[float, float], float]:
        """The head as it would be elsewhere: a picture, where the head's middle is in it, and the crop's side."""
        photo, (centre, side) = self._photo(head), self._place(head)
        dresses, dyes = head.bare and rng.random() < _DRESSED, head.bare and rng.random() < _DYED
        lights = rng.random() < _LIT
        if not (dresses or dyes or lights):
            return photo, centre, side
        wide = 2 * side
        pixels = int(np.clip(wide, 64, 2 * SIZE))
        scale, middle = pixels / wide, pixels / 2
        around = crop(photo, centre, wide, pixels)
        left, top, right, bottom = head.box
        across, down = (right - left) / 2 * scale, (bottom - top) / 2 * scale
        box = (middle - across, middle - down, middle + across, middle + down)
        if lights:
            around = other_skin(around, box, rng)
        if dyes:
            around = other_hair(around, box, rng)
        if dresses:
            around = dressed(around, box, rng)
        return around, (middle, middle), side * scale

    @staticmethod
    def _place(head: Head) -> tuple[tuple[float, float], float]:
        left, top, right, bottom = head.box
        return ((left + right) / 2, (top + bottom) / 2), CONTEXT * max(right - left, bottom - top)

    def _photo(self, head: Head) -> NDArray[np.uint8]:
        if head.picture not in self._photos:
            self._photos[head.picture] = read_picture(head.picture)
        return self._photos[head.picture]


def sides(heads: Sequence[Head]) -> tuple[list[Head], list[Head], list[Head]]:
    """What is learnt from: bare heads, those in full helmets, those in half ones; suspects and tiny ones are left out."""
    trained = [head for head in heads if not head.suspect and head.size >= _SMALLEST_TRAINED]
    return (
        [head for head in trained if head.bare],
        [head for head in trained if not head.bare and not head.half],
        [head for head in trained if head.half],
    )


def batches(
    heads: Sequence[Head], crops: HeadCrops, rng: np.random.Generator
) -> Iterator[tuple[Tensor, ...]]:
    """Half bare, half helmeted, for ever; of these a third half helmets, which elsewhere are the common ones."""
    drawn = list(zip(sides(heads), (BATCH // 2, BATCH // 3, BATCH // 6), strict=True))
    while True:
        chosen = [side[place] for side, share in drawn for place in rng.integers(0, len(side), share)]
        # Beside the bare come the helmeted, and the other way round.
        neighbours = chosen[::-1]
        pictures = [
            crops.shaken(*pair) for pair in zip(chosen, itertools.repeat(rng), neighbours, strict=False)
        ]
        truth = torch.tensor([[1 - _DOUBT if head.bare else _DOUBT] for head in chosen])
        yield pictures_to_tensor(pictures), truth


def loss_of(net: HelmetNet, batch: tuple[Tensor, ...]) -> Tensor:
    """Cross entropy."""
    return functional.binary_cross_entropy_with_logits(net(batch[0]), batch[1])


def train(
    heads: Sequence[Head],
    street_weights: Path,
    steps: int,
    seed: int = 0,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> HelmetNet:
    """A trained network; the same one for the same heads and seed on the same machine.

    Args:
        heads: to learn from; suspects and tiny ones are left out.
        street_weights: the detector whose layers it begins from.
        steps: of the optimiser.
        seed: of everything that is drawn.
        checkpoint: file to keep the training in, so that it may be broken off.
        resume: go on from that file if it is there.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    def tell(step: int, loss: float) -> None:
        if step % 35 == 0:
            print(f"helmet: step {step} of {steps}, loss {loss:.3f}", flush=True)

    kept = None if checkpoint is None else Checkpoint(checkpoint, rng, resume=resume)
    plan = Plan(steps, seed=seed)
    return fit(
        HelmetNet(street_weights), plan, batches(heads, HeadCrops(), rng), loss_of, tell, checkpoint=kept
    )
