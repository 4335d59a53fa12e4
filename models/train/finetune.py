"""Detectors and segmenters fine-tuned on footage of one's own, by ultralytics; the box gets an ONNX file and a manifest.

``--data`` is a folder with ultralytics' ``data.yaml`` (``train``, ``val``, ``names``; without ``path`` they lie beside it),
boxes or polygons as YOLO text, or masks. ``base.pt`` in it is what is begun from, ``base.yaml`` an architecture to begin
from scratch with; without either ultralytics fetches its own weights. The segmenter takes the place of one that ships: its
classes have to be that model's labels.

ultralytics is AGPL-3.0, and so is what its weights become, unless one has its other licence: the manifest says so.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from common.runtime.errors import InvalidError, MissingExtraError, TransientError
from models.data.riders import read_picture
from models.describe import SIDE, described, segmenter_of
from models.train.begin import BASES, STORY, Kind, base_of, dataset_of, trained_in
from models.train.export import compare
from models.train.kept import write_manifest
from models.train.loop import pictures_to_tensor

EPOCHS: Final = 50
_OPSET: Final = 17
_PICTURES: Final = 8
_TASKS: Final[dict[Kind, str]] = {"detector": "detect", "segmenter": "semantic"}


class Finetuning:
    """One kind of model's way; see ``models.train.runs.Run``."""

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind

    def train_into(self, data: Path, out: Path, *, epochs: int | None, seed: int, resume: bool) -> None:
        """Fine-tune on ``data``; leave the best weights and what they came from in ``out``.

        Raises:
            InvalidError: ``dataset.missing`` when the folder has no ``data.yaml``, ``dataset.broken`` when ultralytics
                cannot learn from what it describes.
            TransientError: ``training.base`` when there is nothing to begin from and nothing can be fetched.
            MissingExtraError: ultralytics is not installed.
        """
        dataset = dataset_of(data)
        if resume and trained_in(out) is not None:
            return
        out.mkdir(parents=True, exist_ok=True)
        (out / STORY).unlink(missing_ok=True)
        last = out / "run" / "weights" / "last.pt"
        goes_on = resume and last.is_file()
        base = last if goes_on else base_of(data)
        yolo = _ultralytics(out)
        _look_for_pictures(dataset)
        net = _opened(yolo, base or BASES[self.kind], _TASKS[self.kind])
        rounds = EPOCHS if epochs is None else epochs
        net.train(
            data=str(dataset),
            epochs=rounds,
            imgsz=SIDE,
            seed=seed,
            deterministic=True,
            resume=goes_on,
            project=str(out.resolve()),
            name="run",
            exist_ok=True,
            plots=False,
        )
        shutil.copyfile(last.with_name("best.pt"), out / f"{self.kind}.pt")
        told = {
            "model": self.kind,
            "epochs": net.trainer.epochs,
            "seed": net.trainer.args.seed,
            "base": (base or Path(BASES[self.kind])).name,
            "torch": torch.__version__,
        }
        (out / STORY).write_text(json.dumps(told) + "\n", encoding="utf-8")

    def export_into(self, data: Path, trained: Path, out: Path) -> Path:
        """Write ONNX file and manifest, once onnxruntime says of pictures of ``data`` what the trainer says.

        Raises:
            InvalidError: ``training.missing`` when ``trained`` holds no training of this kind, ``model.parity`` when the
                file says something else than the trainer, ``model.labels`` when a segmenter's classes are no shipped
                segmenter's labels.
        """
        weights = trained / f"{self.kind}.pt"
        if not weights.is_file():
            raise InvalidError(
                "training.missing",
                f"expected {weights.name} in {trained}, found none",
                f"name the folder that `drumtower models train {self.kind} --out` wrote",
            )
        out.mkdir(parents=True, exist_ok=True)
        net = _ultralytics(trained)(str(weights)).model.float().eval()
        names = [str(net.names[place]).replace(" ", "_") for place in sorted(net.names)]
        story = trained_in(trained) or {}
        # The whole has to be at rest, not the network in it alone: the exporter puts all back into the whole's state.
        whole = (_Looking(net) if self.kind == "detector" else _Mapping(net, _foreground(names))).eval()
        head = (
            None if self.kind == "detector" else segmenter_of([names[place] for place in _foreground(names)])
        )
        name = head or self.kind
        file = out / f"{name}.onnx"
        _write(whole, file)
        # Boxes are pixels of some hundreds: a hundredth of one is rounding.
        parity = compare(whole, file, _examples(data), rounding=1e-2 if head is None else 1e-4)
        content = described(file, name, head, names, story)
        return write_manifest(content | ({} if head is None else {"parity": parity}), out / f"{name}.yaml")


class _Looking(nn.Module):
    """A detector that takes pixels of 0..255 and gives boxes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> Tensor:
        """``(1, 3, H, W)`` to what its head gives."""
        answer = self.net(pixels / 255.0)
        boxes: Tensor = answer[0] if isinstance(answer, (tuple, list)) else answer
        return boxes


class _Mapping(nn.Module):
    """A segmenter that takes pixels of 0..255 and gives a map of probabilities for each wanted class."""

    def __init__(self, net: nn.Module, wanted: list[int]) -> None:
        super().__init__()
        self.net, self.wanted = net, wanted

    def forward(self, pixels: Tensor) -> Tensor:
        """``(1, 3, H, W)`` to ``(1, wanted, H / 8, W / 8)``."""
        logits = self.net(pixels / 255.0)
        probability: Tensor = torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, 1)
        return probability[:, self.wanted]


def _foreground(names: list[str]) -> list[int]:
    return [place for place, name in enumerate(names) if name != "background"]


def _write(whole: nn.Module, file: Path) -> None:
    torch.onnx.export(
        whole,
        (torch.zeros((1, 3, SIDE, SIDE)),),
        str(file),
        input_names=["pixels"],
        output_names=["found"],
        opset_version=_OPSET,
        dynamo=False,
    )


def _examples(data: Path) -> Tensor:
    """A few of the pictures it was trained for, stretched to the input."""
    paths = sorted(path for path in data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = paths[:: max(1, len(paths) // _PICTURES)][:_PICTURES]
    size = (SIDE, SIDE)
    shown = [
        np.asarray(cv2.resize(read_picture(path), size, interpolation=cv2.INTER_AREA), np.uint8)
        for path in chosen
    ]
    return (pictures_to_tensor(shown) + 1.0) * 127.5


def _look_for_pictures(dataset: Path) -> None:
    """What ultralytics thinks of a description, before it begins; raises InvalidError ``dataset.broken``."""
    from ultralytics.data.utils import check_det_dataset  # noqa: PLC0415 - the other trainings do without it

    try:
        check_det_dataset(str(dataset), autodownload=False)
    except (FileNotFoundError, SyntaxError, TypeError) as error:
        # These are what it raises for pictures and keys that are not there, and for keys of another type.
        raise InvalidError(
            "dataset.broken",
            f"expected pictures and labels as {dataset} says, got: {error}",
            "correct train, val and names there; without `path` they lie beside data.yaml",
        ) from error


def _opened(yolo: Any, base: Path | str, task: str) -> Any:
    """A network to begin with; raises TransientError ``training.base`` when it has to be fetched and cannot be."""
    try:
        return yolo(str(base), task=task)
    except ConnectionError as error:
        raise TransientError(
            "training.base",
            f"expected to fetch {base}, got: {type(error).__name__}",
            "put weights into the data's folder as base.pt, or an architecture as base.yaml, which begins from scratch",
        ) from error


def _ultralytics(directory: Path) -> Any:
    """The class that opens its networks, told to keep its settings here and to install nothing by itself."""
    os.environ.setdefault("YOLO_CONFIG_DIR", str(directory.resolve()))
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    try:
        from ultralytics import YOLO, settings  # noqa: PLC0415 - the other trainings do without it
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "models.missing_extra",
            f"fine-tuning needs the module {error.name!r}, which is not installed",
            "in a clone of the repository: pip install '.[models]'",
        ) from error
    # It would send its makers what is trained.
    settings.update({"sync": False})
    return YOLO
