"""What is in street pictures, for measuring a detector: a folder of labelled pictures, or a sequence of the MOT benchmark.

The folder holds ``images/``, ``labels/`` (class, centre x, centre y, width, height as shares of the picture; a picture in
which nothing is labelled needs no file) and ``data.yaml`` with the ``names`` of the classes, a list or by number. Where
pictures come in near-duplicates, ``manifest.csv`` gives each ``file`` (name without ending) a ``group``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from common.runtime.errors import InvalidError

Labelled = Mapping[int, tuple[NDArray[np.int64], NDArray[np.float32]]]
"""By frame: ids ``(N,)`` and boxes ``(N, 4)`` as left, top, right, bottom."""
_NAMED: Final = 5
"""Of the files that are no pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class Street:
    """One labelled picture.

    Attributes:
        picture: the file.
        group: near-duplicates share it; its own name where nobody said.
        labels: of each box.
        boxes: float32 ``(N, 4)``, left, top, right, bottom as shares of the picture.
    """

    picture: Path
    group: str
    labels: tuple[str, ...]
    boxes: NDArray[np.float32]


def read_streets(directory: Path) -> tuple[tuple[str, ...], list[Street]]:
    """The names of the classes, blanks as underscores, and every picture, by name.

    Raises:
        InvalidError: ``dataset.missing`` when the folder is not what is described above, ``dataset.broken`` when a line
            of its labels is not, ``dataset.unreadable`` when something beside its pictures is none.
    """
    images, told = directory / "images", directory / "data.yaml"
    if not told.is_file() or not images.is_dir():
        raise InvalidError(
            "dataset.missing",
            f"expected street pictures with labels in {directory}, found no {(told if images.is_dir() else images).name}",
            "name a folder that holds images/, labels/ and data.yaml, or a video NAME with its truth in NAME-gt/gt.txt",
        )
    names = _names(told)
    groups = read_groups(directory / "manifest.csv")
    streets = []
    for picture in _pictures(images):
        labels, boxes = _boxes(directory / "labels" / f"{picture.stem}.txt", names)
        streets.append(Street(picture, groups.get(picture.stem, picture.stem), labels, boxes))
    return names, streets


def read_mot_truth(path: Path) -> Labelled:
    """Read a MOTChallenge ``gt.txt``; frame 1 of the file becomes frame 0, ignored boxes are left out.

    Raises:
        InvalidError: ``dataset.missing`` when there is no such file.
    """
    if not path.is_file():
        raise InvalidError(
            "dataset.missing",
            f"expected the truth of a MOTChallenge sequence at {path}, found nothing",
            "put gt.txt there, or name a folder that holds images/, labels/ and data.yaml",
        )
    rows = np.loadtxt(path, delimiter=",", ndmin=2)
    rows = rows[rows[:, 6] > 0]
    truth = {}
    for frame in np.unique(rows[:, 0]):
        here = rows[rows[:, 0] == frame]
        boxes = np.concatenate((here[:, 2:4], here[:, 2:4] + here[:, 4:6]), axis=1).astype(np.float32)
        truth[int(frame) - 1] = (here[:, 1].astype(np.int64), boxes)
    return truth


def _pictures(images: Path) -> list[Path]:
    """By name. Whatever else lies there would be counted as a picture, and be found out when half of them are looked at."""
    found = sorted(images.iterdir())
    others = [path.name for path in found if not path.is_file() or not cv2.haveImageReader(str(path))]
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        raise InvalidError(
            "dataset.unreadable",
            f"expected nothing but pictures in {images}, found {', '.join(others[:_NAMED])}{more}",
            "take away what is no picture, and copy again what should be one",
        )
    return found


def _names(told: Path) -> tuple[str, ...]:
    try:
        content = yaml.safe_load(told.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _broken(told, "YAML", str(error)) from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not names or not isinstance(names, list):
        raise _broken(told, "`names`, a list or by number from 0 on", repr(names))
    return tuple(str(name).replace(" ", "_") for name in names)


def read_groups(manifest: Path) -> dict[str, str]:
    """The group of each picture, by its name without ending, as a ``manifest.csv`` says; nothing where there is none."""
    if not manifest.is_file():
        return {}
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"file", "group"} <= set(rows.fieldnames or ()):
            raise _broken(
                manifest, "the columns `file` and `group`", ", ".join(rows.fieldnames or ()) or "none"
            )
        return {row["file"]: row["group"] for row in rows}


def _boxes(path: Path, names: tuple[str, ...]) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    by_number = dict(enumerate(names))
    labels, boxes = [], []
    for number, line in enumerate(lines, 1):
        try:
            name, x, y, across, down = line.split()
            labels.append(by_number[int(name)])
            middle, size = np.array([x, y], np.float32), np.array([across, down], np.float32)
        except (ValueError, KeyError) as error:
            expected = f"a class below {len(names)} and centre, width and height of a box"
            raise _broken(path, f"in line {number} {expected}", repr(line)) from error
        boxes.append(np.concatenate((middle - size / 2, middle + size / 2)))
    return tuple(labels), np.array(boxes, np.float32).reshape(-1, 4)


def _broken(path: Path, expected: str, found: str) -> InvalidError:
    return InvalidError(
        "dataset.broken", f"expected in {path} {expected}, found {found}", "correct the file, or leave it out"
    )
