"""Detectors and segmenters fine-tuned on footage of one's own, by ultralytics; the box gets ONNX file, manifest and card.

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
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnx
import torch
from torch import Tensor, nn

from common.runtime.errors import InvalidError, MissingExtraError, TransientError
from models.accuracy.detector import DetectorReport
from models.accuracy.sections import section_of
from models.accuracy.segmenter import Masked, Segmenter, SegmenterReport
from models.accuracy.segmenter import measure as measure_cells
from models.data.riders import read_picture
from models.data.streets import read_groups
from models.describe import SIDE, described, segmenter_of
from models.fitting import PictureFitter
from models.manifest import InputSpec, ModelManifest, read_manifest
from models.maps import MapModel
from models.runtime import open_session
from models.store import Model
from models.train.begin import BASES, STORY, Kind, base_of, dataset_of, demand, trained_in
from models.train.card import Told, write_card
from models.train.export import agreeing, compare
from models.train.finds import Labelled, apart, failures, lay_out
from models.train.kept import write_manifest

EPOCHS: Final = 50
_OPSET: Final = 17
_PICTURES: Final = 8
_UNIT: Final[dict[Kind, str]] = {
    "detector": "scores, and boxes in shares of the input",
    "segmenter": "probabilities",
}
_UNMEASURED: Final = "Nobody has looked yet: say here what you find. Of cameras, weather and hours that `val` does not show nothing is known."
_TASKS: Final[dict[Kind, str]] = {"detector": "detect", "segmenter": "semantic"}


class Finetuning:
    """One kind of model's way; see ``models.train.runs.Run``."""

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind

    def train_into(
        self, data: Path, out: Path, *, epochs: int | None, seed: int, resume: bool, most: int | None = None
    ) -> None:
        """Fine-tune on ``data``; leave the best weights and what they came from in ``out``.

        Raises:
            InvalidError: ``training.steps`` when it is to be of so many steps: ultralytics counts epochs.
            InvalidError: ``dataset.missing`` when the folder has no ``data.yaml``, ``dataset.broken`` when ultralytics
                cannot learn from what it describes.
            TransientError: ``training.base`` when there is nothing to begin from and nothing can be fetched.
            MissingExtraError: ultralytics is not installed.
        """
        if most is not None:
            raise InvalidError(
                "training.steps",
                f"expected a number of epochs for a {self.kind}, got {most} steps: ultralytics counts epochs",
                "try it out with --epochs 1 on a folder with few pictures",
            )
        dataset = dataset_of(data)
        if resume and trained_in(out) is not None:
            return
        out.mkdir(parents=True, exist_ok=True)
        (out / STORY).unlink(missing_ok=True)
        last = out / "run" / "weights" / "last.pt"
        goes_on = resume and last.is_file()
        base = last if goes_on else base_of(data)
        yolo = _ultralytics(out)
        _checked(dataset)
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
            "learnt": f"The {_pictures(net)} pictures of `train` in {dataset.name} of *{dataset.parent.name}*.",
        }
        (out / STORY).write_text(json.dumps(told) + "\n", encoding="utf-8")

    def export_into(self, data: Path, trained: Path, out: Path) -> Path:
        """Write ONNX file, manifest and card, once onnxruntime says of pictures of ``data`` what the trainer says.

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
        _write(whole, file, names if head is None else [])
        content = described(file, name, head, names, story)
        examples = _examples(data, InputSpec.model_validate(content["input"]))
        differs = (_compare_finds if head is None else compare)(whole, file, examples)
        path = write_manifest(content | {"parity": float(f"{differs:.1e}")}, out / f"{name}.yaml")
        manifest = read_manifest(path)
        if head is None:
            figures, fails = _told(_measured(data, manifest, out), manifest)
        else:
            figures, fails = _told(_measured_cells(data, manifest, names, out), manifest)
        compared = f"{len(examples)} pictures of *{data.resolve().name}* ({_UNIT[self.kind]})"
        write_card(
            manifest, out, Told(str(story.get("learnt", "Not known.")), differs, compared, figures, fails)
        )
        return path


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


def _write(whole: nn.Module, file: Path, names: list[str]) -> None:
    """The file; a detector's says which classes it has, so that a box can hold the manifest's labels to it."""
    torch.onnx.export(
        whole,
        (torch.zeros((1, 3, SIDE, SIDE)),),
        str(file),
        input_names=["pixels"],
        output_names=["found"],
        opset_version=_OPSET,
        dynamo=False,
    )
    if names:
        model = onnx.load(str(file))
        model.metadata_props.add(key="names", value=repr(dict(enumerate(names))))
        onnx.save(model, str(file))


def _compare_finds(whole: nn.Module, file: Path, examples: Tensor) -> float:
    """As ``compare`` does for maps; raises InvalidError ``model.parity``."""
    session = open_session(file, threads=1)
    worst = 0.0
    with torch.no_grad():
        for example in examples.split(1):
            found = np.asarray(session.run(None, {"pixels": example.numpy()})[0])
            worst = max(worst, apart(whole(example).numpy(), found))
    return agreeing(worst)


def _told(report: DetectorReport | SegmenterReport | None, manifest: ModelManifest) -> tuple[str, list[str]]:
    """What a card says of the pictures of ``val``, and of what the model misses there."""
    if report is None or not report.labels:
        return "Not measured: nothing is labelled in `val`.", [_UNMEASURED]
    head = (
        "On the pictures of `val`, which chose the round that was kept and are likely of the same streets as `train`: "
        "elsewhere less is to be expected."
    )
    return f"{head}\n{report.table()}", list(failures(report, manifest.names))


def _measured(data: Path, manifest: ModelManifest, out: Path) -> DetectorReport | None:
    """What the detector in ``out`` finds in the pictures of ``val``, asked as a box asks it."""
    labelled = _labelled(dataset_of(data))
    if not any(len(one.labels) for one in labelled):
        return None
    with tempfile.TemporaryDirectory() as place:
        laid_out = lay_out(labelled, manifest.names, Path(place))
        report = section_of(manifest.name, out).measure(laid_out, out)
    assert isinstance(report, DetectorReport)
    return report


def _measured_cells(data: Path, manifest: ModelManifest, names: list[str], out: Path) -> SegmenterReport:
    """What the segmenter in ``out`` makes of the pictures of ``val``, asked as a box asks it."""
    assert isinstance(manifest, Segmenter)
    model: Model[Segmenter] = Model(manifest, out / manifest.file)
    # Of a single class the masks say where it is, 1, and where it is not.
    numbers = [1] if len(names) == 1 else _foreground(names)
    classes = dict(zip(manifest.names, numbers, strict=True))
    return measure_cells(MapModel(model, threads=2), _masked(dataset_of(data)), classes)


def _labelled(dataset: Path) -> list[Labelled]:
    """The pictures of ``val`` with their boxes, as ultralytics reads them."""
    from ultralytics.data import YOLODataset  # noqa: PLC0415 - the other trainings do without it

    described = _checked(dataset)
    read = YOLODataset(img_path=described["val"], data=described, task="detect", imgsz=SIDE, augment=False)
    groups = read_groups(dataset.with_name("manifest.csv"))
    shown = []
    for one in read.labels:
        picture, boxes = Path(one["im_file"]), np.asarray(one["bboxes"], np.float64).reshape(-1, 4)
        labels = np.asarray(one["cls"]).ravel().astype(np.intp)
        shown.append(Labelled(picture, boxes, labels, groups.get(picture.stem)))
    return shown


def _masked(dataset: Path) -> Iterator[Masked]:
    """The pictures of ``val`` with their masks, or their polygons drawn as such, as ultralytics reads them."""
    from ultralytics.data.dataset import PolygonSemanticDataset, SemanticDataset  # noqa: PLC0415 - as above
    from ultralytics.data.utils import add_polygon_background  # noqa: PLC0415 - as above

    described = add_polygon_background(_checked(dataset))
    kind = SemanticDataset if described.get("masks_dir") else PolygonSemanticDataset
    read = kind(img_path=described["val"], data=described, task="semantic", imgsz=SIDE, augment=False)
    groups = read_groups(dataset.with_name("manifest.csv"))
    for place, one in enumerate(read.labels):
        path = Path(one["im_file"])
        picture = read_picture(path)
        height, width = picture.shape[:2]
        mask = read.load_mask(place, (height, width))
        if mask.shape != (height, width):
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        yield Masked(picture, groups.get(path.stem, str(path)), np.asarray(mask, np.uint8))


def _pictures(net: Any) -> int:
    return len(net.trainer.train_loader.dataset)


def _examples(data: Path, spec: InputSpec) -> Tensor:
    """A few of the pictures it was trained for, as the manifest has a box show them."""
    paths = sorted(path for path in data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    demand({"pictures to compare on": len(paths)}, data)
    chosen = paths[:: max(1, len(paths) // _PICTURES)][:_PICTURES]
    fitter = PictureFitter(spec)
    return torch.cat([torch.from_numpy(fitter.prepare(read_picture(path))[0]) for path in chosen])


def _checked(dataset: Path) -> dict[str, Any]:
    """What a data set's description says, as ultralytics reads it; raises InvalidError ``dataset.broken``."""
    from ultralytics.data.utils import check_det_dataset  # noqa: PLC0415 - the other trainings do without it

    try:
        said: dict[str, Any] = check_det_dataset(str(dataset), autodownload=False)
        return said
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
