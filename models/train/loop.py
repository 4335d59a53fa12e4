"""One training loop for all our small models: AdamW, one cycle of the rate, a moving average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_Net = TypeVar("_Net", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast.

    Attributes:
        steps: of the optimiser.
        backbone_rate: top learning rate of the layers that were trained before.
        head_rate: of the new ones.
        seed: of the weights' beginning; the batches have their own generator.
    """

    steps: int
    backbone_rate: float = 2e-4
    head_rate: float = 1e-3
    seed: int = 0


def pictures_to_tensor(pictures: list[NDArray[np.uint8]]) -> Tensor:
    """BGR pictures of one size as the networks take them: ``(N, 3, H, W)`` RGB in -1..1."""
    stacked = np.stack(pictures)[..., ::-1].transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(stacked, np.float32) / 127.5 - 1.0)


def fit(
    net: _Net,
    plan: Plan,
    batches: Iterator[tuple[Tensor, ...]],
    loss_of: Callable[[_Net, tuple[Tensor, ...]], Tensor],
    told: Callable[[int, float], None],
) -> _Net:
    """Train, and give back the moving average of the weights, which judges better than the last step's.

    Args:
        net: begins here and ends somewhere else; its backbone is its attribute ``backbone``.
        plan: how long, how fast.
        batches: at least ``plan.steps`` of them.
        loss_of: the loss of a network on a batch.
        told: called with the step and its loss.
    """
    backbone = list(net.backbone.parameters())  # type: ignore[union-attr, operator]
    known = {id(one) for one in backbone}
    head = [one for one in net.parameters() if id(one) not in known]
    optimiser = torch.optim.AdamW(
        [{"params": backbone, "lr": plan.backbone_rate}, {"params": head, "lr": plan.head_rate}],
        weight_decay=0.02,
    )
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [plan.backbone_rate, plan.head_rate], total_steps=plan.steps, pct_start=0.15
    )
    average = copy.deepcopy(net)
    net.train()
    for step, batch in zip(range(plan.steps), batches, strict=False):
        loss = loss_of(net, batch)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        cycle.step()
        _follow(average, net, min(0.995, (step + 1) / (step + 10)))
        told(step, float(loss.detach()))
    return average.eval()


def _follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for mean, now in zip(average.parameters(), net.parameters(), strict=True):
            mean.mul_(keep).add_(now, alpha=1 - keep)
