"""What a training leaves in its folder for the export, and the manifest that the export writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from common.runtime.errors import InvalidError
from models.manifest import read_manifest
from models.train.begin import STORY, story_of
from models.train.card import Told, write_card


def keep(net: nn.Module, out: Path, model: str, *, steps: int, seed: int, learnt: str) -> None:
    """Write a model's weights and what they came from into ``out``.

    Args:
        net: trained.
        out: the training's folder.
        model: its name.
        steps: of the optimiser.
        seed: of everything random.
        learnt: what it was trained on, for its card.
    """
    torch.save(net.state_dict(), out / f"{model}.pt")
    told = {"model": model, "steps": steps, "seed": seed, "learnt": learnt, "torch": torch.__version__}
    (out / STORY).write_text(json.dumps(told) + "\n", encoding="utf-8")


def load_kept(net: nn.Module, trained: Path, model: str) -> dict[str, Any]:
    """Fill ``net`` with the weights in ``trained``; what they came from.

    Raises:
        InvalidError: ``training.missing`` when no training of this model left anything there, ``training.story`` when it
            left less than is told of it now, as that of an earlier release did.
    """
    weights = trained / f"{model}.pt"
    if not weights.is_file():
        raise InvalidError(
            "training.missing",
            f"expected {weights.name} in {trained}, found none",
            f"name the folder that `drumtower models train {model} --out` wrote",
        )
    story = story_of(trained, model)
    net.load_state_dict(torch.load(weights, weights_only=True))
    return story


def leave(content: dict[str, Any], out: Path, told: Told) -> Path:
    """Write a manifest and a card beside the file that is in ``out``; the manifest's path."""
    path = write_manifest(content, out / f"{content['name']}.yaml")
    write_card(read_manifest(path), out, told)
    return path


def write_manifest(content: dict[str, Any], path: Path) -> Path:
    """Write a manifest and read it again as a box will; the path."""
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=110), encoding="utf-8")
    read_manifest(path)
    return path
