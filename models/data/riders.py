"""Heads of riders with and without helmets: ``helmet-riders``, labels as YOLO text, groups of near-duplicates.

The folder holds ``images/``, ``labels/`` (class, centre x, centre y, width, height as shares of the picture) and
``manifest.csv`` with the columns ``file`` (name without ending), ``group`` and, if somebody found labels doubtful,
``suspect_head_boxes_px`` (a JSON list of class, left, top, right, bottom).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from common.runtime.errors import InvalidError

#: The labels of heads; the others are number plates and whole riders.
BARE: Final = 1
FULL: Final = 2
HALF: Final = 3
#: Pixels: two boxes whose sides differ by less are the same box.
_SAME_BOX: Final = 4.0


@dataclass(frozen=True, slots=True)
class Head:
    """One labelled head.

    Attributes:
        picture: the file.
        group: near-duplicates share it; it never stands on both sides of a split.
        bare: whether it wears no helmet.
        box: left, top, right, bottom in pixels.
        suspect: somebody looked and doubts the label.
        half: wears a half helmet or one of a bright colour, which are the rarer ones here.
    """

    picture: Path
    group: str
    bare: bool
    box: tuple[float, float, float, float]
    suspect: bool
    half: bool = False

    @property
    def size(self) -> float:
        """The shorter side in pixels."""
        left, top, right, bottom = self.box
        return min(right - left, bottom - top)


def read_heads(directory: Path) -> list[Head]:
    """Every labelled head, in the manifest's order.

    Raises:
        InvalidError: ``dataset.missing`` when the folder is not what is described above.
    """
    manifest = directory / "manifest.csv"
    if not manifest.is_file():
        raise InvalidError(
            "dataset.missing",
            f"expected riders with labels in {directory}, found no {manifest.name}",
            "name the folder that holds images/, labels/ and manifest.csv",
        )
    pictures = {path.stem: path for path in (directory / "images").iterdir()}
    with manifest.open(newline="", encoding="utf-8") as file:
        return [
            head
            for row in csv.DictReader(file)
            for head in _heads_of(pictures[row["file"]], directory / "labels" / f"{row['file']}.txt", row)
        ]


def _heads_of(picture: Path, labels: Path, row: dict[str, str]) -> Iterator[Head]:
    height, width = read_picture(picture).shape[:2]
    doubted = [
        tuple(float(side) for side in box[1:]) for box in json.loads(row.get("suspect_head_boxes_px") or "[]")
    ]
    for line in labels.read_text(encoding="utf-8").splitlines():
        label, *shares = line.split()
        if int(label) not in (BARE, FULL, HALF):
            continue
        x, y, across, down = (float(share) for share in shares)
        box = (
            (x - across / 2) * width,
            (y - down / 2) * height,
            (x + across / 2) * width,
            (y + down / 2) * height,
        )
        suspect = any(
            max(abs(one - other) for one, other in zip(box, doubt, strict=True)) < _SAME_BOX
            for doubt in doubted
        )
        yield Head(picture, row["group"], int(label) == BARE, box, suspect, int(label) == HALF)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A photo as ``(height, width, 3)`` BGR; raises InvalidError ``dataset.unreadable`` when it is none."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise InvalidError(
            "dataset.unreadable", f"expected a picture at {path}, found none", "copy the data set again"
        )
    return np.asarray(picture, np.uint8)


def held_out_groups(groups: Iterable[str], share: float, seed: int) -> frozenset[str]:
    """The groups that training never sees: the same ones for the same seed, whatever the order given."""
    known = sorted(set(groups))
    np.random.default_rng(seed).shuffle(known)
    return frozenset(known[: round(share * len(known))])


def split(heads: Sequence[Head], share: float = 0.25, seed: int = 7) -> tuple[list[Head], list[Head]]:
    """Training and held-out heads; no group is in both."""
    held_out = held_out_groups((head.group for head in heads), share, seed)
    return (
        [head for head in heads if head.group not in held_out],
        [head for head in heads if head.group in held_out],
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """Heads by what they are for; no group is in two parts.

    Attributes:
        learnt: the network sees them.
        tuned: thresholds are chosen on them.
        judged: figures are taken on them, and nothing else is.
    """

    learnt: list[Head]
    tuned: list[Head]
    judged: list[Head]


def parts(heads: Sequence[Head]) -> Parts:
    """The one split that the shipped weights, their thresholds and their figures rest on."""
    rest, judged = split(heads)
    learnt, tuned = split(rest, share=0.16, seed=8)
    return Parts(learnt, tuned, judged)
