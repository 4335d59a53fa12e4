"""Looks at labelled pictures with a detector, for ``drumtower models evaluate``: detectors are opened by this tier alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from common.runtime.errors import InvalidError
from edge.camera.file import FileSource
from edge.camera.frame import Image
from edge.vision.detections import Boxes, overlaps
from edge.vision.detector import OnnxDetector
from models.accuracy.detector import LEAST_SCORE, DetectorReport, Looked, figures, paired
from models.data.riders import read_picture
from models.data.streets import Labelled, Street, read_mot_truth, read_streets
from models.store import open_model

_STRETCH_S: Final = 5
"""Seconds of a video that are drawn together: neighbouring pictures show the same people."""


class _Shown(NamedTuple):
    """A picture, its group and what is labelled in it: boxes ``(N, 4)`` in pixels, and the label of each."""

    image: Image
    group: str
    boxes: Boxes
    labels: tuple[str, ...]


class DetectorSection:
    """How a detector is measured: a section as ``models.accuracy.sections`` has them.

    Args:
        name: as in its manifest.
    """

    DATA: Final = Path("data/video/vtest.avi")

    def __init__(self, name: str) -> None:
        self.NAME = name

    def measure(
        self, data: Path, directory: Path | None = None, *, everything: bool = False, rounds: int = 1000
    ) -> DetectorReport:
        """Open the detector, look at every picture whole, and count.

        Args:
            data: a folder as ``models.data.streets`` describes, or a video ``NAME`` with the truth of a MOTChallenge
                sequence, which is of persons alone, in ``NAME-gt/gt.txt`` beside it.
            directory: where a detector that does not ship lies.
            everything: without meaning here: nobody here trained it, so nothing is held out.
            rounds: of the bootstrap.

        Raises:
            InvalidError: ``dataset.missing``, ``dataset.broken``, ``dataset.labels`` when nothing that the detector
                knows is labelled, or what ``open_model`` and ``OnnxDetector`` raise.
        """
        del everything
        model = open_model(self.NAME, directory)
        if data.is_dir():
            names, streets = read_streets(data)
            shown = _pictures(streets)
            labelled = {label for street in streets for label in street.labels}
        else:
            truth = read_mot_truth(data.with_name(f"{data.stem}-gt") / "gt.txt")
            names, shown, labelled = ("person",), _frames(data, truth), {"person"}
        wanted = [label for label in model.manifest.names if label in labelled]
        if not wanted:
            raise InvalidError(
                "dataset.labels",
                f"expected boxes in {data} of what {self.NAME} knows ({', '.join(model.manifest.names)}), "
                f"found boxes of {', '.join(sorted(labelled)) or 'nothing'} (classes: {', '.join(names)})",
                "name the classes of data.yaml as the detector does, or measure another detector",
            )
        detector = OnnxDetector(model, labels=wanted, threads=2, score_threshold=LEAST_SCORE)
        looked, groups = _look(detector, shown)
        score = model.manifest.thresholds.score
        counted = {label: figures(looked[label], groups, score, rounds) for label in wanted}
        return DetectorReport(model.manifest, len(groups), len(set(groups)), counted)


def _look(detector: OnnxDetector, shown: Iterator[_Shown]) -> tuple[dict[str, list[Looked]], list[str]]:
    """By label what was found in each picture, and the pictures' groups."""
    looked: dict[str, list[Looked]] = defaultdict(list)
    groups = []
    for one in shown:
        found = detector.detect(one.image)
        groups.append(one.group)
        for label in detector.labels:
            there = one.boxes[np.array([label == other for other in one.labels], np.bool_)]
            said = found.of(label)
            looked[label].append(paired(said.score.astype(np.float64), overlaps(said.xyxy, there)))
    return looked, groups


def _pictures(streets: Sequence[Street]) -> Iterator[_Shown]:
    for street in streets:
        image = read_picture(street.picture)
        height, width = image.shape[:2]
        pixels = street.boxes * np.array([width, height, width, height], np.float32)
        yield _Shown(image, street.group, pixels, street.labels)


def _frames(video: Path, truth: Labelled) -> Iterator[_Shown]:
    """Frames up to the last that has a truth; one without any in between shows nobody."""
    nobody = (np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
    with FileSource(video, paced=False) as source:
        began = None
        for frame in source.frames():
            began = frame.captured_at if began is None else began
            stretch = (frame.captured_at - began) // (_STRETCH_S * 1000)
            boxes = truth.get(frame.n, nobody)[1]
            yield _Shown(frame.image, str(stretch), boxes, ("person",) * len(boxes))
            if frame.n >= max(truth, default=0):
                return
