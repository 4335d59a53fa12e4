"""The models that ship beside larger ones that may not: ``python -m benchmarks.yardsticks [--json] [--page] [--data DIRECTORY]``.

Two detectors from the Python package index whose checkpoints are AGPL-3.0: heads with and without helmet (YOLOv12m, 320
pixels) and fire and smoke (YOLOv8, 416 pixels). They do not ship and nothing was trained with them; they look at the same
pictures as ours, those of the held-out groups, and are counted by the same functions. Whether their own training saw
these pictures nobody here knows.

*Helmet*: our model is given each labelled head. The yardstick finds heads by itself, in the whole photo and, so that
small ones are no excuse, in a square of four head's sides around each; the surest find that shares three tenths with the
labelled head is its answer, and none is *unknown*.

*Fire*: its boxes are drawn into maps like ours, so that a look, three looks that agree and an alarm mean the same.

``--page`` writes the tables into docs/accuracy.md. There are no limits here: it tells how far one could get.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.page import put
from common.runtime.errors import DrumtowerError
from edge.camera.frame import Image
from edge.vision.detections import Detections, overlaps
from edge.vision.detector import OnnxDetector
from models.accuracy import fire, helmet
from models.accuracy.fire_count import LEAST_RECALL, LONG, FireFigures, watch
from models.accuracy.fire_count import figures as fire_figures
from models.accuracy.helmet import SMALLEST, HelmetFigures, Judged
from models.accuracy.helmet import figures as helmet_figures
from models.crops import crop
from models.data.riders import Head, parts, read_heads, read_picture
from models.fire import FireLook, FireSegmenter
from models.manifest import FireManifest, FireThresholds, Manifest, VerdictThresholds
from models.store import Model, open_as, verify

SHARED: Final = Path(__file__).parents[2] / "shared"
SURE: Final = 0.25
"""The score at which both are believed: what ultralytics asks for by itself."""
_AROUND: Final = 4.0
"""Sides of a head across the square that the yardstick is shown of it."""
_SAME: Final = 0.3
_ROWS, _COLUMNS = 48, 80
"""Cells of the maps that our fire model gives."""
_COMMON: Final = {
    "ships": False,
    "head": "yolo",
    "licence": "AGPL-3.0",
    "thresholds": {"score": SURE, "weak": 0.01, "overlap": 0.7},
}
_INPUT: Final = {
    "name": "images",
    "layout": "nchw",
    "channels": "rgb",
    "dtype": "float32",
    "fit": "letterbox",
    "scale": 1 / 255,
}
HELMET: Final = Manifest.model_validate(
    _COMMON
    | {
        "name": "helmet_yolov12m",
        "title": "YOLOv12m, heads with and without helmet",
        "file": "helmet_yolov12m_320_fp16.onnx",
        "sha256": "03a04dbc985bb920e30a0d7b7863fcc4d06419d67a89907dc006a428822eb674",
        "size": 39392203,
        "input": _INPUT | {"width": 320, "height": 320},
        "labels": ("helmet", "helmetless"),
        "exclusive": (("helmet", "helmetless"),),
        "origin": "PyPI helmet-detector 2.1.0",
    }
)
FIRE: Final = Manifest.model_validate(
    _COMMON
    | {
        "name": "fire_smoke_yolov8",
        "title": "YOLOv8, fire and smoke",
        "file": "fire_smoke_yolov8light_416_fp16.onnx",
        "sha256": "bfa7e6fbc008cbe9a2fd4593f6278a314a3e5a568b053b5efbf48c29dcd28c50",
        "size": 19421701,
        "input": _INPUT | {"width": 416, "height": 416},
        "labels": ("smoke", "fire"),
        "origin": "PyPI fire-detector 1.0.3",
    }
)


class BoxesAsMaps:
    """A detector of fire and smoke that answers as our segmenter does: each cell has the score of the surest box over it."""

    def __init__(self, detector: OnnxDetector) -> None:
        self._detector = detector

    def look(self, picture: NDArray[np.uint8]) -> FireLook:
        """What is seen in a uint8 BGR picture of any size."""
        found = self._detector.detect(picture)
        small = cv2.resize(picture, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.float32)
        return FireLook(
            drawn(found.of("fire"), picture.shape[:2]), drawn(found.of("smoke"), picture.shape[:2]), grey
        )


def drawn(found: Detections, shape: Sequence[int]) -> NDArray[np.float32]:
    """By cell of a picture of this height and width, the score of the surest box that has any part in it."""
    cells = np.zeros((_ROWS, _COLUMNS), np.float32)
    scale = np.array([_COLUMNS / shape[1], _ROWS / shape[0]] * 2, np.float32)
    for (left, top, right, bottom), score in zip(
        (found.xyxy * scale).tolist(), found.score.tolist(), strict=True
    ):
        place = cells[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]
        np.maximum(place, score, out=place)
    return cells


def probability(found: Detections, head: NDArray[np.float32]) -> float:
    """That a head is bare: from the surest find of it; a half where there is none.

    Args:
        found: heads, ``helmet`` or ``helmetless``.
        head: ``(4,)``, in the same pixels.
    """
    here = found.where(overlaps(found.xyxy, head[None])[:, 0] >= _SAME)
    if not len(here):
        return 0.5
    surest = int(here.score.argmax())
    sign = 1.0 if here.name(surest) == "helmetless" else -1.0
    return 0.5 + sign * float(here.score[surest]) / 2


def judged_in_photos(heads: Sequence[Head], detector: OnnxDetector) -> Judged:
    """Each photo looked at once, whole."""
    large = [head for head in heads if head.size >= SMALLEST]
    found = {picture: detector.detect(read_picture(picture)) for picture in {head.picture for head in large}}
    told = [probability(found[head.picture], np.array(head.box, np.float32)) for head in large]
    return Judged(large, np.array(told))


def judged_in_squares(heads: Sequence[Head], detector: OnnxDetector) -> Judged:
    """Each head looked at by itself, in the middle of a square."""
    large = [head for head in heads if head.size >= SMALLEST]
    return Judged(large, np.array([_in_square(head, read_picture(head.picture), detector) for head in large]))


def _in_square(head: Head, picture: Image, detector: OnnxDetector) -> float:
    left, top, right, bottom = head.box
    longer, size = max(right - left, bottom - top), detector.manifest.input.width
    middle = ((left + right) / 2, (top + bottom) / 2)
    across, down = ((right - left) / longer, (bottom - top) / longer)
    half = np.array([-across, -down, across, down], np.float32) * size / _AROUND / 2
    shown = crop(picture, middle, _AROUND * longer, size)
    return probability(detector.detect(shown), np.asarray(half + size / 2, np.float32))


def measure_helmet(data: Path, models: Path) -> dict[str, HelmetFigures]:
    """Ours and the yardstick, on held-out heads whose label nobody doubts."""
    detector = _opened(HELMET, models)
    heads = [head for head in parts(read_heads(data / "helmet-riders")).judged if not head.suspect]
    # A probability of .5 + s / 2 is a find of score s.
    verdicts = VerdictThresholds(helmetless=0.5 + SURE / 2, helmet=0.5 - SURE / 2)
    return {
        "ours": helmet.measure(data / "helmet-riders").clean,
        "in_photos": helmet_figures(judged_in_photos(heads, detector), verdicts),
        "in_squares": helmet_figures(judged_in_squares(heads, detector), verdicts),
    }


def measure_fire(data: Path, models: Path) -> dict[str, FireFigures]:
    """Ours and the yardstick, on held-out videos and on all footage without fire, as it was taken."""
    model = open_as(FireManifest, fire.NAME)
    theirs = BoxesAsMaps(_opened(FIRE, models))
    limits = FireThresholds(fire=SURE, smoke=SURE)
    return {
        "ours": fire_figures(
            watch(data, FireSegmenter(model, threads=2), as_taken=True), model.manifest.thresholds
        ),
        "theirs": fire_figures(watch(data, theirs, as_taken=True), limits),
    }


def _opened(manifest: Manifest, models: Path) -> OnnxDetector:
    path = models / manifest.file
    verify(manifest, path)
    return OnnxDetector(Model(manifest, path), labels=manifest.names, threads=2)


def helmet_table(found: dict[str, HelmetFigures]) -> list[str]:
    """As Markdown."""
    ways = [found["ours"], found["in_photos"], found["in_squares"]]
    rows = (
        ("AUC", [one.area for one in ways]),
        ("helmeted, called helmetless", [one.false for one in ways]),
        ("*unknown*", [one.unknown for one in ways]),
        ("bare, called helmetless", [one.recall for one in ways]),
        ("bare, called helmeted", [one.missed for one in ways]),
    )
    return [
        f"**Helmet**: {ways[0].heads} held-out heads ({ways[0].bare} bare) of {ways[0].groups} groups, suspect labels left out. "
        f"Ours is given each head; `{HELMET.file}`",
        "finds heads by itself, in the whole photo or in a square of four head's sides around each.",
        "",
        "| | ours | YOLOv12m, whole photo | YOLOv12m, square around each head |",
        "|---|---|---|---|",
        *(f"| {name} | {' | '.join(str(one) for one in figures)} |" for name, figures in rows),
    ]


def fire_table(found: dict[str, FireFigures]) -> list[str]:
    """As Markdown."""
    ways = [found["ours"], found["theirs"]]
    rows = (
        ("burning frames found in a single look, mean over all groups", [str(one.recall) for one in ways]),
        (f"the same over those of {LONG} burning frames or more", [str(one.long[0]) for one in ways]),
        (
            f"groups in which at least {LEAST_RECALL:g} of them are found",
            [f"{one.reached} of {len(one.videos)}" for one in ways],
        ),
        ("frames with fire, found as fire", [str(one.fire) for one in ways]),
        ("frames with smoke, found as smoke", [str(one.smoke) for one in ways]),
        (
            "frames where nothing burns, called burning in a single look",
            [f"{one.normal:.1%}" for one in ways],
        ),
        ("street photos called burning in a single look", [f"{one.photos:.1%}" for one in ways]),
        (
            "videos that the scene reports, three looks agreeing",
            ["{} of {}".format(*one.reported) for one in ways],
        ),
        (
            f"alarms in {ways[0].hours * 60:.1f} minutes of footage without fire",
            [str(one.alarms) for one in ways],
        ),
        ("a burning doll's house: looks that find fire or smoke", [f"{one.doll_house:.1%}" for one in ways]),
    )
    return [
        f"**Fire**: {len(ways[0].videos)} held-out groups of frames. `{FIRE.file}` gives boxes; each cell of the picture has the",
        "score of the surest box over it, and 0.3 % of the picture make a look burning, for either. Our thresholds are the least at",
        "which the footage without fire raises no alarm, so that the nought there is by choice.",
        "",
        "| | ours | YOLOv8 |",
        "|---|---|---|",
        *(f"| {name} | {' | '.join(figures)} |" for name, figures in rows),
    ]


def table(heads: dict[str, HelmetFigures], flames: dict[str, FireFigures]) -> str:
    """As Markdown."""
    lines = [
        "Larger detectors beside the models that ship: the same pictures, the same split, the same counting. Their checkpoints",
        f"are AGPL-3.0, so they do not ship, and nothing was trained with them. They are believed from {SURE:g} on, as ultralytics does by",
        "itself; whether their training saw these pictures nobody here knows. `python -m benchmarks.yardsticks --page` writes this alone.",
        "",
        *helmet_table(heads),
        "",
        *fire_table(flames),
        "",
        "The yardstick of the street detector, two by two tiles of every picture, stands under *detection*.",
    ]
    return "\n".join(lines)


def line(value: float | None, limit: float | None, detail: dict[str, Any]) -> dict[str, Any]:
    """The last line, of the helmet model's area and of the yardstick's; without figures where nothing was measured."""
    return {
        "name": "yardsticks",
        "value": None if value is None else round(value, 4),
        "unit": "AUC of the helmet model",
        "limit": None if limit is None else round(limit, 4),
        "ratio": None if value is None or limit is None else round(value / limit, 3),
        "detail": detail,
    }


def main() -> int:
    """Measure and print, one line of JSON last; there is nothing to miss, also where a yardstick is not at hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print only the last line")
    parser.add_argument("--page", action="store_true", help="write the tables into docs/accuracy.md")
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--models", type=Path, default=SHARED / "models", help="where the yardsticks lie")
    options = parser.parse_args()
    missing = [one.file for one in (HELMET, FIRE) if not (options.models / one.file).is_file()]
    if missing:
        told = f"not measured here: no {' and no '.join(missing)} in {options.models}"
        if not options.json:
            print(f"yardsticks: {told}")
        print(json.dumps(line(None, None, {"told": told, "missing": missing})))
        return 0
    try:
        heads = measure_helmet(options.data, options.models)
        flames = measure_fire(options.data, options.models)
    except DrumtowerError as error:
        raise SystemExit(f"yardsticks: {error}") from error
    if options.page:
        put("yardsticks", table(heads, flames))
    if not options.json:
        print(table(heads, flames))
    detail = {
        "helmet": {name: asdict(one) for name, one in heads.items()},
        "fire": {
            name: {"recall": asdict(one.recall), "normal": one.normal, "alarms": one.alarms}
            for name, one in flames.items()
        },
    }
    print(json.dumps(line(heads["ours"].area.value, heads["in_squares"].area.value, detail)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
