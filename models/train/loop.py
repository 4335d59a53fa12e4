"""One training loop for all our small models: AdamW, a plan for the rate, a moving average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.runtime.errors import InvalidError

_Net = TypeVar("_Net", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast.

    Attributes:
        steps: of the optimiser.
        backbone_rate: top learning rate of the layers that were trained before.
        head_rate: of the new ones.
        seed: of the weights' beginning; the batches have their own generator.
        hold: rather than in one cycle the rate goes up, stays, and goes down in the last quarter (warm-up, stable,
            decay: Hu et al., 2024, arXiv:2404.06395). Until it goes down nothing depends on how many steps there
            are in all, so that such a training may be gone on with to another end.
    """

    steps: int
    backbone_rate: float = 2e-4
    head_rate: float = 1e-3
    seed: int = 0
    hold: bool = False
    half: bool = False

    @property
    def turn(self) -> int:
        """The step at which a held rate begins to go down."""
        return self.steps - self.steps // 4


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a training that may be broken off is kept, whole: going on gives what going through would have given.

    Attributes:
        path: of the file; it is replaced at once, never written over.
        rng: the generator that the batches draw from; the batches themselves keep nothing between two steps.
        every: steps between two writings.
        resume: whether to go on from the file if there is one.
        store: of how many examples made beforehand the batches are drawn; 0 where that never hangs on the steps.
    """

    path: Path
    rng: np.random.Generator
    every: int = 100
    resume: bool = False
    store: int = 0

    def require_same_store(self) -> None:
        """Let nobody go on with other examples, which would give what no seed gives; asked before they are made.

        Raises:
            InvalidError: ``training.other``.
        """
        if not (self.resume and self.path.is_file()):
            return
        # What an earlier release wrote does not say.
        found = torch.load(self.path, weights_only=True).get("store", self.store)
        if found != self.store:
            raise InvalidError(
                "training.other",
                f"expected {self.path} to be of a training on {self.store} examples, as so many steps make beforehand, "
                f"found one on {found}, which its own steps made",
                "a training of few steps makes fewer: resume it with the same steps and epochs, or name another folder",
            )


class _Training:
    """The network, its moving average, and what else changes from step to step."""

    def __init__(self, net: nn.Module, plan: Plan) -> None:
        backbone = list(net.backbone.parameters())  # type: ignore[union-attr, operator]
        known = {id(one) for one in backbone}
        head = [one for one in net.parameters() if id(one) not in known]
        if plan.half:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net, self.plan = net, plan
        self.average = copy.deepcopy(net)
        self.step = 0
        self.optimiser = torch.optim.AdamW(
            [{"params": backbone, "lr": plan.backbone_rate}, {"params": head, "lr": plan.head_rate}],
            weight_decay=0.02,
        )
        self.cycle: torch.optim.lr_scheduler.LRScheduler
        if plan.hold:
            self.cycle = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda step: _held(step, plan))
        else:
            self.cycle = torch.optim.lr_scheduler.OneCycleLR(
                self.optimiser, [plan.backbone_rate, plan.head_rate], total_steps=plan.steps, pct_start=0.15
            )

    def learn(self, loss: Tensor) -> None:
        """One step down the loss."""
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.cycle.step()
        keep = min(0.995, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.net.parameters(), strict=True):
                mean.mul_(keep).add_(now, alpha=1 - keep)
        self.step += 1

    def _parts(self) -> dict[str, Any]:
        return {
            "net": self.net,
            "average": self.average,
            "optimiser": self.optimiser,
            "cycle": self.cycle,
        }

    def _promise(self) -> list[float]:
        """What a checkpoint has to be of; a held rate leaves the end open."""
        plan = self.plan
        return [0 if plan.hold else plan.steps, plan.backbone_rate, plan.head_rate, plan.seed]

    def save(self, checkpoint: Checkpoint) -> None:
        """Write everything down."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state["plan"] = self._promise()
        state["turn"] = self.plan.turn
        state["step"] = self.step
        state["store"] = checkpoint.store
        state["torch_rng"] = torch.get_rng_state()
        state["batch_rng"] = checkpoint.rng.bit_generator.state
        beside = checkpoint.path.with_suffix(".part")
        torch.save(state, beside)
        beside.replace(checkpoint.path)

    def load(self, checkpoint: Checkpoint) -> None:
        """Go back to what was written down.

        Raises:
            InvalidError: ``training.other`` when it was written by a training of another plan.
        """
        state = torch.load(checkpoint.path, weights_only=True)
        plan = self._promise()
        turned = self.plan.hold and state["step"] > min(state["turn"], self.plan.turn)
        if state["plan"] != plan or (turned and state["turn"] != self.plan.turn):
            raise InvalidError(
                "training.other",
                f"expected {checkpoint.path} to be of a training of {plan} (steps, rates, seed), "
                f"found {state['plan']} at step {state['step']}",
                "resume with the same epochs, seed and data, or name another folder",
            )
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.step = state["step"]
        if self.plan.hold:
            # The rate kept is that of the old end, at which it had gone down.
            for group, top in zip(self.optimiser.param_groups, self.cycle.base_lrs, strict=True):
                group["lr"] = top * _held(self.step, self.plan)
        torch.set_rng_state(state["torch_rng"])
        checkpoint.rng.bit_generator.state = state["batch_rng"]


def steps_of(epochs: int, each: int, most: int | None) -> int:
    """Steps of the optimiser in so many epochs of so many steps, or fewer where somebody only tries it out."""
    whole = epochs * max(each, 1)
    return whole if most is None else min(whole, most)


def _held(step: int, plan: Plan) -> float:
    """The share of its top that the rate has at a step."""
    left = (plan.steps - step) / max(plan.steps - plan.turn, 1)
    return max(min(1.0, (step + 1) / 50, left), 0.01)


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
    *,
    checkpoint: Checkpoint | None = None,
) -> _Net:
    """Train, and give back the moving average of the weights, which judges better than the last step's.

    Args:
        net: begins here and ends somewhere else; its backbone is its attribute ``backbone``.
        plan: how long, how fast.
        batches: at least ``plan.steps`` of them.
        loss_of: the loss of a network on a batch.
        told: called with the step and its loss.
        checkpoint: where to keep what has been reached, now and then and at the end.

    Raises:
        InvalidError: ``training.other`` when the checkpoint to go on from belongs to another plan.
    """
    training = _Training(net, plan)
    if checkpoint is not None and checkpoint.resume and checkpoint.path.is_file():
        training.load(checkpoint)
    net.train()
    while training.step < plan.steps:
        step = training.step
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.half):
            loss = loss_of(net, next(batches))
        training.learn(loss)
        told(step, float(loss.detach()))
        if checkpoint is not None and (training.step % checkpoint.every == 0 or training.step == plan.steps):
            training.save(checkpoint)
    average = training.average.eval()
    assert isinstance(average, type(net))
    return average
