"""A map of probabilities over the picture: street backbone, then coarse features enlarged and joined with finer ones.

The decoder is a small feature pyramid (Lin et al., 2017, arXiv:1612.03144).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.train.backbone import Backbone, load_street_weights

WIDTH, HEIGHT = 320, 192
"""Pixels of the network's input: pictures are stretched to it."""
STRIDE = 4
"""Pixels of the input for each cell of the answer."""


class DenseNet(nn.Module):
    """One logit for each class and cell.

    Args:
        classes: channels of the answer.
        street_weights: the detector whose layers it begins from.
    """

    def __init__(self, classes: int, street_weights: Path) -> None:
        super().__init__()
        self.backbone = Backbone(13)
        load_street_weights(self.backbone, street_weights)
        self.fine, self.middle, self.coarse = (nn.Conv2d(width, 48, 1) for width in (24, 32, 96))
        self.around = nn.Conv2d(48, 48, 1)
        self.smooth = nn.ModuleList(_Separable(48) for _ in range(2))
        self.drop = nn.Dropout2d(0.1)
        self.verdict = nn.Conv2d(48, classes, 1)
        nn.init.constant_(self.verdict.bias, -2.0)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 3, HEIGHT, WIDTH)`` in -1..1 to ``(N, classes, HEIGHT / 4, WIDTH / 4)``."""
        return self.decode(self.backbone(x))

    def decode(self, levels: list[Tensor]) -> Tensor:
        """What is made of the backbone's features of the strides 2 (not looked at), 4, 8 and 16."""
        _, fine, middle, coarse = levels
        deep = self.coarse(coarse / 3)
        # What the picture as a whole is like (night, rain) decides what a dark patch may be.
        deep = functional.relu(deep + self.around(deep.mean((2, 3), keepdim=True)))
        joined = self.smooth[0](self.middle(middle / 3) + _twice(deep))
        joined = self.smooth[1](self.fine(fine / 3) + _twice(joined))
        logits: Tensor = self.verdict(self.drop(joined))
        return logits


class _Separable(nn.Module):
    """Two depthwise-separable convolutions with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (
                    nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
                    nn.Conv2d(channels, channels, 1),
                    nn.ReLU(),
                )
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)`` to the same."""
        x = functional.relu(x)
        y: Tensor = x + self.layers(x)
        return y


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def mask_loss(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy by cell and, since most cells are empty, the Dice coefficient by class.

    Args:
        logits: ``(N, C, H, W)``.
        truth: the same shape, 0..1.
        weight: the same shape; 0 where nobody knows.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, weight, reduction="sum")
    entropy = entropy / weight.sum().clamp(min=1.0)
    found = torch.sigmoid(logits) * weight
    meant = truth * weight
    both = (found * meant).sum((0, 2, 3))
    dice = (2 * both + 20.0) / (found.sum((0, 2, 3)) + meant.sum((0, 2, 3)) + 20.0)
    return entropy + 0.3 * (1 - dice.mean())
