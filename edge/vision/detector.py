"""Finding objects in a picture with an ONNX model."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from common.runtime.errors import InvalidError
from common.runtime.log import get_logger
from edge.camera.frame import Image
from edge.vision.detections import STREET_LABELS, Detections
from edge.vision.heads import HEADS, EndToEndHead, Head
from edge.vision.suppression import suppress
from models.fitting import PictureFitter, tensor_shape
from models.manifest import InputSpec, Manifest, Thresholds
from models.runtime import UNFIT, open_session
from models.store import Model

_log = get_logger("detector")
_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


class Detector(Protocol):
    """Finds objects in pictures."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names it may give."""
        ...

    @property
    def thresholds(self) -> Thresholds:
        """The scores that its finds are believed, strong and a beginning from."""
        ...

    def detect(self, image: Image) -> Detections:
        """Everything found that scores at least the detector's threshold, surest first.

        Args:
            image: uint8 ``(height, width, 3)``, BGR, any size.
        """
        ...


class OnnxDetector:
    """A detector that its manifest describes, run by onnxruntime on the CPU.

    Args:
        model: manifest and verified weights.
        labels: the classes wanted; all others cost nothing. The model must know each. By default those that a street
            camera looks for, as far as the model knows them.
        threads: the session's threads, the caller's own included.
        score_threshold: detections below it are left out; the manifest's ``weak`` by default, for the tracker
            and the blurring of heads can use weak ones.

    Raises:
        InvalidError: ``model.broken`` when the file is no ONNX model, ``model.shape`` when inputs or outputs
            are not what the manifest says, ``model.labels`` when a wanted label is unknown to it, the file itself
            names its classes otherwise, or a file without names answers with a class that has no label.
    """

    def __init__(
        self,
        model: Model,
        *,
        labels: Sequence[str] | None = None,
        threads: int = 2,
        score_threshold: float | None = None,
    ) -> None:
        manifest = model.manifest
        self.manifest = manifest
        street = [label for label in STREET_LABELS if label in manifest.names]
        self._labels = tuple(street if labels is None else labels)
        self._threshold = manifest.thresholds.weak if score_threshold is None else score_threshold
        self._head: Head = HEADS[manifest.head](manifest, _places(manifest, self._labels))
        self._groups = _groups(manifest, self._labels)
        self._picture = PictureFitter(manifest.input)
        self.session = open_session(model.path, threads)
        self._check_inputs()
        self._outputs = [output.name for output in self.session.get_outputs()]
        self._check_outputs()
        self._check_names()

    @property
    def labels(self) -> tuple[str, ...]:
        """The names it may give."""
        return self._labels

    @property
    def thresholds(self) -> Thresholds:
        """As its manifest has them."""
        return self.manifest.thresholds

    def detect(self, image: Image) -> Detections:
        """Everything found that scores at least the threshold, surest first."""
        tensor, scale_x, scale_y = self._picture.prepare(image)
        boxes, score, column = self._head.read(self.run(tensor), self._threshold)
        kept = suppress(boxes, score, self._groups[column], self.manifest.thresholds.overlap)
        height, width = image.shape[:2]
        xyxy = boxes[kept] / np.array([scale_x, scale_y, scale_x, scale_y], np.float32)
        np.clip(xyxy[:, 0::2], 0, width, out=xyxy[:, 0::2])
        np.clip(xyxy[:, 1::2], 0, height, out=xyxy[:, 1::2])
        found = Detections(
            xyxy.astype(np.float32, copy=False),
            score[kept].astype(np.float32, copy=False),
            column[kept].astype(np.int32),
            self._labels,
        )
        solid = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
        return found if solid.all() else found.where(solid)

    def prepare(self, image: Image) -> NDArray[Any]:
        """The tensor that the model gets for a picture; for benchmarks that time the model alone."""
        return self._picture.prepare(image)[0]

    def run(self, tensor: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """The bare model."""
        outputs: Sequence[NDArray[Any]] = self.session.run(self._outputs, {self.manifest.input.name: tensor})
        return outputs

    def _check_inputs(self) -> None:
        manifest, found = self.manifest, self.session.get_inputs()
        spec = manifest.input
        wanted_shape = tensor_shape(spec)
        sayings = [f"{entry.name} {_TYPES.get(entry.type, entry.type)} {entry.shape}" for entry in found]
        expected = f"{spec.name} {spec.dtype} {list(wanted_shape)}"
        fits = (
            len(found) == 1
            and found[0].name == spec.name
            and _TYPES.get(found[0].type) == spec.dtype
            and _fits(found[0].shape, wanted_shape)
        )
        if not fits:
            raise InvalidError(
                "model.shape",
                f"{manifest.name}: expected one input {expected}, found {'; '.join(sayings) or 'none'}",
                "correct `input` in the manifest or export the model again",
            )

    def _check_outputs(self) -> None:
        """Run once on a grey picture: with dynamic shapes only the outputs themselves tell."""
        spec = self.manifest.input
        tensor = np.full(tensor_shape(spec), 114, spec.dtype)
        try:
            outputs = self.run(tensor)
        except UNFIT as error:
            raise InvalidError(
                "model.shape",
                f"{self.manifest.name}: expected to run on {spec.dtype} {tensor.shape}, got: {error}",
                "correct `input` in the manifest or export the model again",
            ) from error
        expected = self._head.expected()
        found = tuple(output.shape for output in outputs)
        if len(found) != len(expected) or not all(map(_fits, found, expected)):
            raise InvalidError(
                "model.shape",
                f"{self.manifest.name}: expected outputs {_spell(expected)} of a {self.manifest.head} head "
                f"with {len(self.manifest.labels)} labels, found {_spell(found)}",
                "correct `head`, `input` or `labels` in the manifest",
            )

    def _check_names(self) -> None:
        """Exporters that write the names of the classes into the file (ultralytics does) are held to them."""
        written = self.session.get_modelmeta().custom_metadata_map.get("names")
        if written is None:
            self._check_classes()
            return
        found = _names_in(written)
        expected = self.manifest.labels
        if len(found) != len(expected) or any(
            label is not None and label != name for label, name in zip(expected, found, strict=True)
        ):
            raise InvalidError(
                "model.labels",
                f"{self.manifest.name}: expected the labels of the manifest, {_few(expected)}, "
                f"found in the file {_few(found)}",
                "write the file's own names into `labels`, in its order",
            )

    def _check_classes(self) -> None:
        """A list of finds says nowhere how many classes there are: look at those it gives, sure or not, on a few pictures.

        Such a head fills its list up with its best guesses whatever it is shown. More labels than classes cannot be
        told from that for sure, and is said.
        """
        if not isinstance(self._head, EndToEndHead):
            return
        found: set[int] = set()
        for picture in _nothings(self.manifest.input):
            found |= self._head.classes(self.run(self.prepare(picture)))
        if max(found, default=-1) < len(self.manifest.labels) - 1:
            _log.warning(
                "model.labels_unproved",
                model=self.manifest.name,
                expected=_few(self.manifest.labels),
                found=f"no names in the file, and classes up to {max(found)}"
                if found
                else "no names in the file",
                hint="the labels are taken at the manifest's word: count them, or export the model with its names",
            )


def _nothings(spec: InputSpec) -> Iterator[Image]:
    """Pictures that show nothing: even grey, coarse and fine grain; the same each time."""
    yield np.full((spec.height, spec.width, 3), 114, np.uint8)
    random = np.random.default_rng(0)
    for size in (16, 1):
        shape = max(spec.height // size, 1), max(spec.width // size, 1), 3
        grain = random.integers(0, 256, shape, dtype=np.uint8)
        yield np.asarray(cv2.resize(grain, (spec.width, spec.height)), np.uint8)


def _names_in(written: str) -> list[str]:
    """Names by class as Python writes a dict or list, blanks as in manifests; none where it is something else."""
    try:
        told = ast.literal_eval(written)
    except (ValueError, SyntaxError):
        return []
    names = [told[place] for place in sorted(told)] if isinstance(told, dict) else list(told)
    return [str(name).replace(" ", "_") for name in names]


def _few(names: Sequence[str | None]) -> str:
    shown = ", ".join(str(name) for name in names[:6])
    return f"{len(names)} ({shown}{', …' if len(names) > 6 else ''})"


def _places(manifest: Manifest, labels: tuple[str, ...]) -> NDArray[np.intp]:
    unknown = sorted(set(labels) - set(manifest.names))
    if not labels:
        raise InvalidError(
            "model.labels",
            f"expected {manifest.name} to know any of {', '.join(STREET_LABELS)}, found {', '.join(manifest.names)}",
            "name its classes so in the manifest, where they are those, or choose another model",
        )
    if unknown:
        raise InvalidError(
            "model.labels",
            f"expected labels of {manifest.name} ({', '.join(manifest.names)}), got {', '.join(unknown)}",
            "correct the labels, or choose a model that knows them",
        )
    return np.array([manifest.labels.index(label) for label in labels], np.intp)


def _groups(manifest: Manifest, labels: tuple[str, ...]) -> NDArray[np.int32]:
    """By wanted class: the group within which boxes suppress each other."""
    groups = []
    for own, label in enumerate(labels):
        exclusive = next((group for group in manifest.exclusive if label in group), None)
        rivals = [n for n, other in enumerate(labels) if exclusive and other in exclusive]
        groups.append(min(rivals, default=own))
    return np.array(groups, np.int32)


def _fits(found: Sequence[int | str | None], expected: Sequence[int | None]) -> bool:
    """Whether a shape is as expected; a name or None stands for any length, on either side."""
    return len(found) == len(expected) and all(
        not isinstance(length, int) or want is None or length == want
        for length, want in zip(found, expected, strict=True)
    )


def _spell(shapes: Sequence[Sequence[int | None]]) -> str:
    return "; ".join(
        "[" + ", ".join("any" if length is None else str(length) for length in shape) + "]"
        for shape in shapes
    )
