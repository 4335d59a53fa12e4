"""What `drumtower models train` and `export` do for each model that is trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from common.runtime.errors import InvalidError
from common.runtime.settings import closest
from models.train import fire_run, helmet_run, privacy_run, water_run
from models.train.finetune import Finetuning


class Run(Protocol):
    """One model's way from labelled pictures to a file that ships; modules are such."""

    def train_into(
        self, data: Path, out: Path, *, epochs: int | None, seed: int, resume: bool, most: int | None = None
    ) -> None:
        """Train on ``data``, for at most so many steps; leave weights and what they came from in ``out``."""
        ...

    def export_into(self, data: Path, trained: Path, out: Path) -> Path:
        """Write ONNX file, manifest and card to ``out`` from what ``train_into`` left; give back the manifest."""
        ...


RUNS: Final[dict[str, Run]] = {
    "detector": Finetuning("detector"),
    "fire": fire_run,
    "helmet": helmet_run,
    "privacy": privacy_run,
    "segmenter": Finetuning("segmenter"),
    "water": water_run,
}


def run_of(name: str) -> Run:
    """The run of that name; raises InvalidError ``model.untrained`` when none is trained here."""
    if name in RUNS:
        return RUNS[name]
    near = closest(name, list(RUNS))
    raise InvalidError(
        "model.untrained",
        f"expected one of the models that are trained here, {', '.join(RUNS)}, got {name!r}",
        f"did you mean {near}?" if near else "`drumtower models list` shows where the others come from",
    )
