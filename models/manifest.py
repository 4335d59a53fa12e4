"""What a model is: the sentences that stand beside its weights, checked before anything opens them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from common.runtime.config import Settings, Wrong, load_config
from common.runtime.settings import one_of, texts, twice


class InputSpec(Settings):
    """The picture a model wants.

    Pixel values reach the model as ``(value - mean) * scale``, in the given channel order.
    """

    name: str
    width: Annotated[int, Field(ge=16, le=4096)]
    height: Annotated[int, Field(ge=16, le=4096)]
    layout: Literal["nhwc", "nchw"]
    channels: Literal["rgb", "bgr"]
    dtype: Literal["uint8", "float32"]
    fit: Literal["stretch", "letterbox"]
    pad: Annotated[int, Field(ge=0, le=255)] = 114
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: Annotated[float, Field(gt=0)] = 1.0


_BIRTH_SHARE: Final = 0.1
"""Of the way from a strong score to 1, from where on a find begins a track: one that is hardly believed begins none."""
_CONFIRM_SHARE: Final = 0.4
"""Of the way from a strong score to one that begins a track, where the mean of a track's has to be."""


class Thresholds(Settings):
    """What the model's makers or our measurements found to work."""

    score: Annotated[float, Field(gt=0, lt=1, description="believed as a detection")]
    weak: Annotated[float, Field(gt=0, lt=1, description="enough to keep a track alive, and to be blurred")]
    overlap: Annotated[float, Field(gt=0, lt=1, description="IoU above which two boxes are one object")]
    strong: Annotated[
        float | None,
        Field(
            gt=0, lt=1, description="from here on a find tells for sure who it is of; `score` unless given"
        ),
    ] = None
    birth: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="from here on a find begins a track; a tenth of the way from strong to 1 unless given",
        ),
    ] = None

    @property
    def sure(self) -> float:
        """The score of a strong find."""
        return self.score if self.strong is None else self.strong

    @property
    def begins(self) -> float:
        """The score that begins a track."""
        return self.sure + _BIRTH_SHARE * (1.0 - self.sure) if self.birth is None else self.birth

    @property
    def confirms(self) -> float:
        """The mean score from which a track counts: between the two as it was tuned for the detectors that we know."""
        return self.sure + _CONFIRM_SHARE * (self.begins - self.sure)

    def cross_faults(self) -> Iterator[Wrong]:
        """What begins a track is not weaker than what is strong, and neither that nor what is believed than what is weak."""
        if self.right("weak", "score") and self.weak > self.score:
            yield Wrong(("weak",), f"expected at most score, {self.score}, got {self.weak}")
        if self.strong is not None and self.right("weak", "strong") and self.strong < self.weak:
            yield Wrong(("strong",), f"expected at least weak, {self.weak}, got {self.strong}")
        named = "score" if self.strong is None else "strong"
        if self.birth is not None and self.right(named, "birth") and self.birth < self.sure:
            yield Wrong(("birth",), f"expected at least {named}, {self.sure}, got {self.birth}")


class ModelManifest(Settings):
    """What stands in every manifest: file and fingerprint, what goes in, what comes out, terms of use."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(gt=0, description="bytes")]
    ships: bool
    head: str
    input: InputSpec
    labels: Annotated[tuple[str | None, ...], Field(min_length=1)]
    """By index of the output; ``null`` where the model has a place that no class uses."""
    licence: str
    origin: str

    def cross_faults(self) -> Iterator[Wrong]:
        """Labels differ."""
        yield from twice((("labels", number), label) for number, label in texts(self.labels))

    @property
    def names(self) -> tuple[str, ...]:
        """The labels without the unused places."""
        return tuple(label for label in self.labels if label is not None)


Parity = Annotated[
    float, Field(ge=0, lt=1e-3, description="largest difference between the file and the trainer's output")
]


class Manifest(ModelManifest):
    """A detector: boxes with labels."""

    head: Literal["ssd", "yolox", "yolox_decoded", "yolo", "end_to_end"]
    exclusive: tuple[tuple[str, ...], ...] = ()
    """Groups of labels that one object cannot wear two of at once (a lorry is not also a bus)."""
    thresholds: Thresholds
    parity: Parity | None = None
    """Of scores, and of boxes in shares of the input; nobody knows it of files that others exported."""

    def cross_faults(self) -> Iterator[Wrong]:
        """Labels differ, and groups are of labels there are."""
        yield from super().cross_faults()
        named = [label for _, label in texts(self.labels)]
        for number, group in enumerate(self.exclusive):
            for place, label in texts(group):
                if label not in named:
                    yield Wrong(("exclusive", number, place), one_of(label, named))


class VerdictThresholds(Settings):
    """Between the two the answer is *unknown*."""

    helmetless: Annotated[float, Field(gt=0, lt=1, description="from here on a head is called helmetless")]
    helmet: Annotated[float, Field(gt=0, lt=1, description="up to here a head is called helmeted")]

    def cross_faults(self) -> Iterator[Wrong]:
        """No head is both."""
        if self.right("helmetless", "helmet") and self.helmet >= self.helmetless:
            yield Wrong(("helmet",), f"expected less than helmetless, {self.helmetless}, got {self.helmet}")


class HelmetManifest(ModelManifest):
    """A classifier of heads: one probability, that the head in the crop's middle wears no helmet."""

    head: Literal["helmet"]
    labels: tuple[Literal["helmetless"]]
    context: Annotated[float, Field(ge=1, le=4, description="side of the crop, in longer sides of the head")]
    smallest: Annotated[float, Field(gt=0, le=200, description="pixels; smaller heads are unknown")]
    thresholds: VerdictThresholds
    parity: Parity


class WaterThresholds(Settings):
    """What the model's makers found to keep dry roads dry."""

    water: Annotated[float, Field(gt=0, lt=1, description="from here on the model is sure of water")]
    dry_shown: Annotated[
        float | None,
        Field(
            gt=0, lt=1, description="the same on a camera that was shown its dry road; `water` unless given"
        ),
    ] = None
    extent: Annotated[
        float | None,
        Field(gt=0, lt=1, description="around sure cells water is from here on; only sure ones unless given"),
    ] = None

    @property
    def known(self) -> float:
        """The threshold on a camera that was shown its dry road."""
        return self.water if self.dry_shown is None else self.dry_shown


class WaterManifest(ModelManifest):
    """A segmenter: one map of probabilities, that water stands in each cell of the picture."""

    head: Literal["water"]
    labels: tuple[Literal["water"]]
    thresholds: WaterThresholds
    parity: Parity


class FireThresholds(Settings):
    """What the model's makers found to raise no alarm where nothing burns."""

    fire: Annotated[float, Field(gt=0, lt=1, description="from here on a cell is called open fire")]
    smoke: Annotated[float, Field(gt=0, lt=1, description="from here on a cell is called smoke")]


class FireManifest(ModelManifest):
    """A segmenter: two maps of probabilities, that each cell of the picture shows open fire, or smoke."""

    head: Literal["fire"]
    labels: tuple[Literal["fire"], Literal["smoke"]]
    thresholds: FireThresholds
    parity: Parity


class PrivacyThresholds(Settings):
    """What the model's makers found to hide nearly everybody without hiding the street."""

    head: Annotated[float, Field(gt=0, lt=1, description="from here on a cell is hidden as part of a head")]
    plate: Annotated[float, Field(gt=0, lt=1, description="from here on a cell is hidden as part of a plate")]
    near: Annotated[
        float | None,
        Field(
            gt=0, lt=1, description="where a person's head may be, from here on; as elsewhere unless given"
        ),
    ] = None


class PrivacyManifest(ModelManifest):
    """A segmenter: two maps of probabilities, that each cell of the picture shows a head, or a number plate."""

    head: Literal["privacy"]
    labels: tuple[Literal["head"], Literal["plate"]]
    thresholds: PrivacyThresholds
    parity: Parity


_KINDS: dict[str, type[ModelManifest]] = {
    "fire": FireManifest,
    "helmet": HelmetManifest,
    "privacy": PrivacyManifest,
    "water": WaterManifest,
}
"""By ``head``; any other is a detector's."""


MAPPED: dict[str, tuple[str, ...]] = {"fire": ("fire", "smoke"), "water": ("water",)}
"""By ``head``, the labels of the segmenters whose maps scenes look at."""


def read_manifest(path: Path) -> ModelManifest:
    """Read and check one manifest, as the kind that its ``head`` says.

    Raises:
        InvalidConfigError: ``config.invalid``, with every fault and its line.
    """
    found = re.search(r"^head:[ \t]*([a-z_]+)[ \t]*$", _text(path), re.MULTILINE)
    return load_config(path, _KINDS.get(found.group(1), Manifest) if found else Manifest)


def _text(path: Path) -> str:
    """What can be read of a file; what cannot be is told by who reads it next."""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
