"""Who leaves the box unblurred: ``python -m benchmarks.blur [--json] [--all] [--data DIRECTORY]``.

What evidence pictures hide, as the box makes them (street detector in the whole picture and in four parts of it,
privacy model where this build has one, nothing followed), against the labels of street photos with riders. The photos are those of the
held-out groups, which no training saw; ``--all`` takes every photo there is. A head counts as hidden when nine tenths
of the ellipse in its box are. ``recall`` is of the heads of at least 16 px across and down; ``excess`` is every pixel
hidden, number plates aside, for each pixel of a labelled head's box.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.page import put
from common.runtime.errors import DrumtowerError, InvalidError
from edge.vision.blur import conceal
from edge.vision.detector import OnnxDetector
from edge.vision.evidence import EvidenceMaker, EvidenceSettings, open_finder
from models.accuracy.privacy import Hidden, count, figures
from models.data.privacy import Labelled, read_labelled
from models.data.riders import read_picture
from models.privacy import PrivacyFinder, Private
from models.store import open_model

RECALL: Final = 0.95
EXCESS: Final = 2.5
DATA: Final = Path(__file__).parents[2] / "shared" / "data" / "helmet-riders"


def measure(photos: Sequence[Labelled]) -> dict[str, Any]:
    """Hide what the box would hide, with and without the privacy model."""
    detector, finder = OnnxDetector(open_model("cocossd")), _finder()
    maker = EvidenceMaker(EvidenceSettings(), detector, finder)
    heads: list[Hidden] = []
    plates: list[Hidden] = []
    before: list[Hidden] = []
    spent = 0.0
    for photo in photos:
        picture = read_picture(photo.picture)
        height, width = picture.shape[:2]
        began = time.perf_counter()
        persons = maker.persons(picture, detector.detect(picture), ())
        found = None if finder is None else finder.find(picture)
        spent += time.perf_counter() - began
        nothing = np.zeros((height, width), np.bool_)
        wide = conceal(None, persons, width, height)
        hidden = wide if found is None else conceal(Private(found.heads, nothing), persons, width, height)
        heads.append(count(photo.group, photo.heads, hidden, round_=True))
        shown = nothing if found is None else found.plates
        plates.append(count(photo.group, photo.plates, shown, round_=False))
        before.append(count(photo.group, photo.heads, wide, round_=True))
    ours, theirs, without = figures(heads), figures(plates), figures(before)
    return {
        "recall": round(ours.recall.value, 4),
        "recall_95": [round(ours.recall.low, 4), round(ours.recall.high, 4)],
        "excess": round(ours.excess.value, 3),
        "excess_95": [round(ours.excess.low, 3), round(ours.excess.high, 3)],
        "heads": ours.many,
        "photos": ours.photos,
        "groups": ours.groups,
        "by": "persons alone" if finder is None else "privacy model and persons",
        "plates": theirs.many,
        "plate_recall": round(theirs.recall.value, 4),
        "plate_excess": round(theirs.excess.value, 3),
        "persons_alone_recall": round(without.recall.value, 4),
        "persons_alone_excess": round(without.excess.value, 3),
        "ms_a_photo": round(spent / max(len(photos), 1) * 1000, 1),
    }


def _finder() -> PrivacyFinder | None:
    """The privacy model, if this build has one."""
    try:
        return open_finder(threads=2)
    except InvalidError as error:
        if error.code != "model.unknown":
            raise
        return None


def table(found: dict[str, Any]) -> str:
    """As Markdown."""
    recall, excess = ("–".join(f"{one:.3f}" for one in found[f"{key}_95"]) for key in ("recall", "excess"))
    return "\n".join(
        [
            f"What evidence pictures hide, in {found['photos']} held-out street photos of {found['groups']} groups, by",
            f"{found['by']}. A head counts as hidden when nine tenths of the ellipse in its box are; every pixel hidden",
            "counts, the heads of people whom nobody labelled too.",
            "",
            "| | hidden | pixels hidden for each labelled one |",
            "|---|---|---|",
            f"| {found['heads']} heads of at least 16 px (limits: .95, 2.5) | {found['recall']:.3f} ({recall}) | "
            f"{found['excess']:.2f} ({excess}) |",
            f"| {found['plates']} number plates of at least 16 px | {found['plate_recall']:.3f} | "
            f"{found['plate_excess']:.2f} |",
        ]
    )


def missed(found: dict[str, Any]) -> list[str]:
    """What falls short of what is asked."""
    asked = (
        (found["recall"] >= RECALL, f"recall >= {RECALL:g}"),
        (found["excess"] <= EXCESS, f"excess <= {EXCESS:g}"),
    )
    return [words for met, words in asked if not met]


def main() -> int:
    """Measure and print; 1 when anything asked is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print only the last line")
    parser.add_argument("--all", action="store_true", help="every photo, those that were learnt from too")
    parser.add_argument("--page", action="store_true", help="write the table into docs/accuracy.md")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    try:
        photos = read_labelled(options.data) if options.all else read_labelled(options.data, "judged")
        found = measure(photos)
    except DrumtowerError as error:
        raise SystemExit(f"blur: {error}") from error
    short = missed(found)
    if options.page:
        put("blur", table(found))
    if not options.json:
        print(
            f"heads hidden {found['recall']} (at least {RECALL}), {found['excess']} px for each px of head "
            f"(at most {EXCESS}); plates {found['plate_recall']}; {found}"
        )
        print("missed: " + (", ".join(short) or "nothing"))
    line = {
        "name": "blur",
        "value": found["recall"],
        "unit": "of heads hidden",
        "limit": RECALL,
        "ratio": round(found["recall"] / RECALL, 3),
        "detail": found | {"of": "all photos" if options.all else "held-out groups", "missed": short},
    }
    print(json.dumps(line))
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
