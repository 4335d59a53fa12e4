"""What tells who somebody is, in ``helmet-riders``: heads and number plates, by picture; parts of pictures with maps.

The sides of the split are those of ``models.data.riders``, so that no picture that the helmet model was judged on is
learnt from here either.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.plates import KINDS, put_over
from models.data.riders import BARE, FULL, HALF, parts, read_heads, read_picture
from models.data.unlabelled import Seen, heads_unlabelled, plate_places, plates_unlabelled

CLASSES: Final = ("head", "plate")
"""By channel of the network's answer."""
PLATE: Final = 0
"""The data set's label of number plates."""
STRIDE: Final = 4
"""Pixels of the network's input for each cell of its answer."""
_HEADS: Final = frozenset({BARE, FULL, HALF})
_RIDER: Final = 4
#: Pixels: of what is smaller nobody asks.
_TINY: Final = 5.0
_GREY: Final = 114
#: How much it counts that no plate is labelled where a vehicle may well have one.
_ON_VEHICLES: Final = 0.2

Side = Literal["learnt", "tuned", "judged"]


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """One photo.

    Attributes:
        picture: the file.
        group: near-duplicates share it.
        heads, plates: float64 ``(N, 4)``, left, top, right, bottom as shares of the picture.
        unsure: boxes labelled as heads that are whole riders; heads are somewhere in them.
    """

    picture: Path
    group: str
    heads: NDArray[np.float64]
    plates: NDArray[np.float64]
    unsure: NDArray[np.float64]


def read_labelled(data: Path, *sides: Side) -> list[Labelled]:
    """The photos of these sides of the split; all when none is named.

    Raises:
        InvalidError: ``dataset.missing`` when the folder is not what ``models.data.riders`` describes.
    """
    split = parts(read_heads(data))
    side_of: dict[str, Side] = {head.group: "tuned" for head in split.tuned}
    side_of |= {head.group: "judged" for head in split.judged}
    pictures = {path.stem: path for path in (data / "images").iterdir()}
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [(row["file"], row["group"]) for row in csv.DictReader(file)]
    return [
        _read(pictures[name], group, data / "labels" / f"{name}.txt")
        for name, group in rows
        if not sides or side_of.get(group, "learnt") in sides
    ]


def _read(picture: Path, group: str, labels: Path) -> Labelled:
    rows = [line.split() for line in labels.read_text(encoding="utf-8").splitlines()]

    def boxes(kinds: frozenset[int]) -> NDArray[np.float64]:
        found = np.array([row[1:5] for row in rows if int(row[0]) in kinds], np.float64).reshape(-1, 4)
        return np.concatenate((found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2), axis=1)

    heads = boxes(_HEADS)
    riders = heads_that_are_riders(heads, boxes(frozenset({_RIDER})))
    return Labelled(picture, group, heads[~riders], boxes(frozenset({PLATE})), heads[riders])


def heads_that_are_riders(heads: NDArray[np.float64], riders: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes of heads were drawn round a whole rider: they hold another head, or fill a rider's box.

    A network that learns from them takes jackets and motorcycles for heads.

    Args:
        heads: ``(N, 4)``.
        riders: ``(M, 4)``, of motorcycles with whoever rides them.
    """
    area = (heads[:, 2:] - heads[:, :2]).prod(axis=1)
    middle = (heads[:, :2] + heads[:, 2:]) / 2
    holds = ((middle[None] > heads[:, None, :2]) & (middle[None] < heads[:, None, 2:])).all(axis=2)
    larger = area[:, None] > 3 * area[None, :]
    corner, far = (
        np.maximum(heads[:, None, :2], riders[None, :, :2]),
        np.minimum(heads[:, None, 2:], riders[None, :, 2:]),
    )
    shared = np.maximum(far - corner, 0).prod(axis=2)
    fills = shared > 0.5 * (riders[:, 2:] - riders[:, :2]).prod(axis=1)[None, :]
    return np.asarray((holds & larger).any(axis=1) | fills.any(axis=1), np.bool_)


def part_of(
    one: Labelled, side: int, rng: np.random.Generator, seen: Seen | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """A square part of a photo, nearer or further, now and then mirrored, and what is known of each cell.

    Args:
        one: the photo.
        side: pixels across and down of the part.
        rng: of everything random.
        seen: who and what else is in the photo; nothing, if nobody looked. Plates are drawn over some of the labelled
            ones and onto vehicles; where the others may have one, and where persons may have heads, less is known.

    Returns:
        The part, uint8 ``(side, side, 3)``; truth and weight, float32 ``(2 classes, side / 4, side / 4)``.
    """
    photo = read_picture(one.picture)
    height, width = photo.shape[:2]
    size = (width, height)
    seen = Seen.nothing() if seen is None else seen
    plates = with_drawn_plates(photo, one.plates, seen.vehicles, rng)
    warp = _view(np.concatenate((one.heads, plates)), size, side, rng)
    if warp[1, 1] < 0.5:
        photo = np.asarray(cv2.blur(photo, (2, 2)), np.uint8)
    shown = cv2.warpAffine(photo, warp, (side, side), borderValue=(_GREY, _GREY, _GREY))
    truth, weight = maps_of([_moved(boxes, size, warp) for boxes in (one.heads, plates)], side)
    nobody = np.concatenate((one.heads, one.unsure))
    for label, unsure, known in (
        (0, one.unsure, 0.0),
        (0, heads_unlabelled(seen.persons, nobody), 0.0),
        (1, plates_unlabelled(seen.vehicles), _ON_VEHICLES),
    ):
        corners = np.clip(_moved(unsure, size, warp) / STRIDE, 0, side // STRIDE).astype(int)
        for left, top, right, bottom in corners.tolist():
            place = (label, slice(top, bottom + 1), slice(left, right + 1))
            weight[place] = np.minimum(weight[place], np.maximum(truth[place], known))
    return np.asarray(shown, np.uint8), truth, weight


def with_drawn_plates(
    photo: NDArray[np.uint8],
    plates: NDArray[np.float64],
    vehicles: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    over: float = 0.35,
    onto: float = 0.35,
) -> NDArray[np.float64]:
    """Draw plates of other kinds into a photo, in place.

    Args:
        photo: uint8 ``(height, width, 3)``, changed.
        plates: ``(N, 4)``, labelled.
        vehicles: ``(M, 4)``, onto one or two of which a plate is drawn.
        rng: of everything random.
        over: share of the labelled plates that are drawn over.
        onto: of the photos with vehicles, the share that gets plates there.

    Returns:
        Every plate, those drawn onto vehicles last.
    """
    height, width = photo.shape[:2]
    scale = np.array([width, height, width, height])
    kinds = list(KINDS)

    def put(box: NDArray[np.float64]) -> NDArray[np.float64]:
        left, top, right, bottom = (box * scale).tolist()
        kind = kinds[int(rng.integers(len(kinds)))]
        drawn = put_over(photo, (left, top, right, bottom), kind, rng)
        return np.asarray(np.array(drawn) / scale, np.float64)

    every = [put(box) if rng.random() < over else box for box in plates]
    if len(vehicles) and rng.random() < onto:
        some = vehicles[rng.integers(0, len(vehicles), int(rng.integers(1, 3)))]
        every += [put(box) for box in plate_places(some, rng)]
    return np.array(every, np.float64).reshape(-1, 4)


def _view(
    known: NDArray[np.float64], size: tuple[int, int], side: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """From the photo to a part of it, mostly around something that is known."""
    width, height = size
    zoom = float(np.exp(rng.uniform(np.log(0.45), np.log(1.7)))) * 640 / max(size)
    across = side / zoom
    pixels = known * (width, height, width, height)
    if len(pixels) and rng.random() < 0.7:
        left, top, right, bottom = pixels[rng.integers(len(pixels))]
        centre = np.array([left + right, top + bottom]) / 2 + rng.uniform(-0.4, 0.4, 2) * across
    else:
        centre = rng.uniform(0, 1, 2) * size
    half = across / 2
    # Not much of what lies beyond the picture is shown.
    middle = np.array(size) / 2
    centre = np.clip(centre, np.minimum(half, middle), np.maximum(2 * middle - half, middle))
    sign = -1.0 if rng.random() < 0.5 else 1.0
    return np.array(
        [[sign * zoom, 0, side / 2 - sign * zoom * centre[0]], [0, zoom, side / 2 - zoom * centre[1]]]
    )


def _moved(
    boxes: NDArray[np.float64], size: tuple[int, int], warp: NDArray[np.float64]
) -> NDArray[np.float64]:
    x = warp[0, 0] * boxes[:, [0, 2]] * size[0] + warp[0, 2]
    y = warp[1, 1] * boxes[:, [1, 3]] * size[1] + warp[1, 2]
    return np.stack((x.min(axis=1), y[:, 0], x.max(axis=1), y[:, 1]), axis=1)


def maps_of(
    boxes: Sequence[NDArray[np.float64]], side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """By class, the share of each cell that is covered, and whether it is known: a head fills the ellipse in its box."""
    truth = np.zeros((len(CLASSES), side, side), np.float32)
    weight = np.ones((len(CLASSES), side, side), np.float32)
    for label, some in enumerate(boxes):
        for left, top, right, bottom in _solid(some, side):
            tiny = min(right - left, bottom - top) < _TINY
            layer = weight[label] if tiny else truth[label]
            value = 0.0 if tiny else 1.0
            if label == 0:
                middle = (round((left + right) * 8), round((top + bottom) * 8))
                axes = (round((right - left) * 8), round((bottom - top) * 8))
                cv2.ellipse(layer, middle, axes, 0, 0, 360, value, -1, shift=4)
            else:
                corners = (round(left), round(top)), (round(right) - 1, round(bottom) - 1)
                cv2.rectangle(layer, *corners, value, -1)
    cells = (side // STRIDE, side // STRIDE)

    def coarse(layers: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([cv2.resize(layer, cells, interpolation=cv2.INTER_AREA) for layer in layers])

    return coarse(truth), coarse(weight)


def _solid(boxes: NDArray[np.float64], side: int) -> Iterator[tuple[float, float, float, float]]:
    for left, top, right, bottom in boxes.tolist():
        if right > 0 and bottom > 0 and left < side and top < side:
            yield left, top, right, bottom
