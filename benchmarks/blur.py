"""Who leaves the box unblurred: ``python -m benchmarks.blur [--json] [--all] [--data DIRECTORY]``.

What evidence pictures hide, as the box makes them (street detector in the whole picture and in four parts of it,
privacy model, nothing followed), against the labels of street photos with riders. The photos are those of the
held-out groups, which no training saw and no threshold was chosen on; ``--all`` takes every photo there is. A head
counts as hidden when nine tenths of the ellipse in its box are. ``recall`` is of the heads of at least 16 px across
and down; ``excess`` is every pixel hidden, number plates aside, for each pixel of a labelled head's box.

Boxes labelled as heads that hold another head or fill a rider's box were drawn round whole riders; they are left out of
both, and ``recall_with_mislabelled`` and ``excess_with_mislabelled`` count them as if they were heads. ``by_size`` is
recall by the shorter side of the head.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import put
from common.runtime.errors import DrumtowerError, InvalidError
from edge.vision.blur import conceal
from edge.vision.detections import Detections
from edge.vision.detector import OnnxDetector
from edge.vision.evidence import EvidenceMaker, EvidenceSettings
from edge.vision.finder import open_finder
from models.accuracy.privacy import HIDDEN, SMALLEST, Hidden, count, figures
from models.accuracy.sections import write_figures
from models.data.privacy import Labelled, read_labelled
from models.data.riders import read_picture
from models.privacy import PrivacyFinder, Private
from models.store import open_model

RECALL: Final = 0.95
EXCESS: Final = 2.5
DATA: Final = Path(__file__).parents[2] / "shared" / "data" / "helmet-riders"
_CARD: Final = Path(__file__).parents[1] / "models" / "cards" / "privacy.md"


class Look(NamedTuple):
    """What the box sees in one photo: persons, and what the privacy model finds, if there is one.

    ``seconds`` is how long both took.
    """

    photo: Labelled
    size: tuple[int, int]
    persons: Detections
    found: Private | None
    seconds: float


class _Counts(NamedTuple):
    """Of each photo: heads as the box hides them, with the mislabelled boxes, by persons alone; plates."""

    heads: Hidden
    every: Hidden
    before: Hidden
    plates: Hidden


def looks(photos: Iterable[Labelled], threads: int = 2) -> Iterator[Look]:
    """See what the box sees, photo by photo."""
    detector, finder = OnnxDetector(open_model("cocossd"), threads=threads), _finder(threads)
    maker = EvidenceMaker(EvidenceSettings(), detector, finder)
    for photo in photos:
        picture = read_picture(photo.picture)
        height, width = picture.shape[:2]
        began = time.perf_counter()
        present = maker.present(picture, detector.detect(picture), ())
        found = None if finder is None else finder.find(picture)
        yield Look(photo, (width, height), present.persons, found, time.perf_counter() - began)


def measure(seen: Iterable[Look]) -> dict[str, Any]:
    """Hide what the box would hide, with and without the privacy model, and count."""
    counts: list[_Counts] = []
    sizes: list[float] = []
    spent: list[float] = []
    by = "persons alone"
    for look in seen:
        counts.append(_count(look.photo, look.persons, look.found, look.size))
        across = (look.photo.heads[:, 2:] - look.photo.heads[:, :2]) * look.size
        sizes += [side for side in across.min(axis=1).tolist() if side >= SMALLEST]
        spent.append(look.seconds)
        by = by if look.found is None else "privacy model and persons"
    ours, every, without, theirs = (figures(list(one)) for one in zip(*counts, strict=True))
    hidden = np.concatenate([one.heads.shares for one in counts]) >= HIDDEN
    return {
        "recall": round(ours.recall.value, 4),
        "recall_95": [round(ours.recall.low, 4), round(ours.recall.high, 4)],
        "excess": round(ours.excess.value, 3),
        "excess_95": [round(ours.excess.low, 3), round(ours.excess.high, 3)],
        "heads": ours.many,
        "photos": ours.photos,
        "groups": ours.groups,
        "by": by,
        "by_size": _by_size(np.array(sizes), hidden),
        "mislabelled": every.many - ours.many,
        "recall_with_mislabelled": round(every.recall.value, 4),
        "excess_with_mislabelled": round(every.excess.value, 3),
        "plates": theirs.many,
        "plate_recall": round(theirs.recall.value, 4),
        "plate_excess": round(theirs.excess.value, 3),
        "persons_alone_recall": round(without.recall.value, 4),
        "persons_alone_excess": round(without.excess.value, 3),
        "ms_a_photo": round(float(np.mean(spent)) * 1000, 1),
    }


def _count(photo: Labelled, persons: Detections, found: Private | None, size: tuple[int, int]) -> _Counts:
    width, height = size
    nothing = np.zeros((height, width), np.bool_)
    wide = conceal(None, persons, width, height)
    hidden = wide if found is None else conceal(found._replace(plates=nothing), persons, width, height)
    plates = nothing if found is None else found.plates
    return _Counts(
        count(photo.group, photo.heads, hidden, round_=True),
        count(photo.group, np.concatenate((photo.heads, photo.unsure)), hidden, round_=True),
        count(photo.group, photo.heads, wide, round_=True),
        count(photo.group, photo.plates, plates, round_=False),
    )


def _by_size(sizes: NDArray[np.float64], hidden: NDArray[np.bool_]) -> dict[str, float]:
    """Recall by the shorter side of the head in pixels."""
    edges = (SMALLEST, 24.0, 32.0, 48.0, 96.0, float("inf"))
    return {
        f"{first:.0f}-{last:.0f}": round(float(hidden[inside].mean()), 3)
        for first, last in pairwise(edges)
        if (inside := (sizes >= first) & (sizes < last)).any()
    }


def _finder(threads: int) -> PrivacyFinder | None:
    """The privacy model, if this build has one."""
    try:
        return open_finder(threads=threads)
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
            f"{found['by']}. A head counts as hidden when nine tenths of the ellipse in its box are. Pixels hidden for number",
            "plates count in the plates' line alone; all others count in the heads', those over people whom nobody labelled too.",
            "",
            "| | hidden | pixels hidden for each labelled one |",
            "|---|---|---|",
            f"| {found['heads']} heads of at least 16 px (limits: .95, 2.5) | {found['recall']:.3f} ({recall}) | "
            f"{found['excess']:.2f} ({excess}) |",
            f"| {found['plates']} number plates of at least 16 px | {found['plate_recall']:.3f} | "
            f"{found['plate_excess']:.2f} |",
            "",
            f"By the persons' boxes alone, as where the model fails: {found['persons_alone_recall']:.3f} of the heads, "
            f"{found['persons_alone_excess']:.2f}",
            f"pixels for each of a head. {found['mislabelled']} boxes were drawn round whole riders instead of heads and are left out;",
            f"counted as heads they make it {found['recall_with_mislabelled']:.3f} and {found['excess_with_mislabelled']:.2f}. Of heads "
            f"by size in pixels: "
            + ", ".join(f"{size} {share:.3f}" for size, share in found["by_size"].items())
            + ".",
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
    parser.add_argument(
        "--page", action="store_true", help="write the table into docs/accuracy.md and the card"
    )
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    try:
        photos = read_labelled(options.data) if options.all else read_labelled(options.data, "judged")
        found = measure(looks(photos))
    except DrumtowerError as error:
        raise SystemExit(f"blur: {error}") from error
    short = missed(found)
    if options.page:
        put("blur", table(found))
        write_figures(_CARD, table(found), "blur")
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
