"""What a fine-tuned detector is said to find: counted against labels, compared with the trainer's answer."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.accuracy.detector import DetectorReport, LabelFigures
from models.accuracy.figures import Figure
from models.data.riders import read_picture
from models.data.streets import read_streets
from models.describe import SIDE, described
from models.fitting import PictureFitter
from models.manifest import Manifest
from models.train.finds import Labelled, apart, failures, lay_out
from tests.fixtures.onnx_files import answering

NAMES = ["handcart", "scooter"]
_STORY = {"base": "yolo26n.pt", "epochs": 3, "seed": 0, "torch": "2.14"}


def test_a_picture_lies_in_the_corner_of_a_grey_square_as_on_a_box(tmp_path: Path) -> None:
    file = answering(tmp_path / "d.onnx", [np.zeros((1, 7, 9))], shape=(1, 3, SIDE, SIDE), name="pixels")
    manifest = Manifest.model_validate(described(file, "d", None, NAMES, _STORY))
    tensor, across, down = PictureFitter(manifest.input).prepare(np.full((104, 208, 3), 200, np.uint8))
    assert (tensor[..., :208, :] == 200).all()
    assert (tensor[..., 208:, :] == 114).all()
    assert across == down == 2


def test_two_answers_are_as_far_apart_as_their_scores_or_their_boxes_in_shares_of_the_input() -> None:
    one = np.zeros((1, 6, 10), np.float32)
    other = one.copy()
    other[0, 4, 3] = 0.25
    assert apart(one, other) == 0.25
    other = one.copy()
    other[0, 2, 3] = SIDE / 2
    assert apart(one, other) == 0.5


def test_finds_that_rounding_put_in_another_order_are_the_same_finds() -> None:
    first, second = [10, 10, 50, 60, 0.5, 0], [200, 10, 250, 60, 0.5, 1]
    assert apart(_list(first, second), _list(second, first)) == 0.0
    assert apart(_list(first, second), _list(first, [*second[:4], 0.4, 1])) == pytest.approx(0.1)
    assert apart(_list(first), _list([*first[:5], 1])) == math.inf


def test_pictures_of_several_folders_are_laid_out_as_evaluate_takes_them(tmp_path: Path) -> None:
    labelled = []
    for folder in ("north", "south"):
        (tmp_path / folder).mkdir()
        picture = tmp_path / folder / "1.png"
        cv2.imwrite(str(picture), np.zeros((40, 80, 3), np.uint8))
        labelled.append(Labelled(picture, np.array([[0.5, 0.5, 0.25, 0.5]]), np.array([1]), folder))
    labelled.append(Labelled(picture, np.zeros((0, 4)), np.zeros(0, np.intp)))
    names, streets = read_streets(lay_out(labelled, NAMES, tmp_path / "laid_out"))
    assert names == tuple(NAMES)
    assert [street.labels for street in streets] == [("scooter",), ("scooter",), ()]
    assert [street.group for street in streets] == ["north", "south", "2-1"]
    assert streets[0].boxes.tolist() == [[0.375, 0.25, 0.625, 0.75]]
    assert read_picture(streets[2].picture).shape == (40, 80, 3)


def test_labels_of_which_little_is_found_or_right_are_named_and_those_nobody_showed(tmp_path: Path) -> None:
    file = answering(tmp_path / "d.onnx", [np.zeros((1, 7, 9))], shape=(1, 3, SIDE, SIDE), name="pixels")
    names = ["cart", "scooter", "tricycle"]
    manifest = Manifest.model_validate(described(file, "d", None, names, _STORY))
    good, poor = Figure(0.9, 0.8, 1.0), Figure(0.25, 0.1, 0.4)
    figures = {"cart": LabelFigures(8, good, poor, good), "scooter": LabelFigures(8, poor, good, good)}
    assert list(failures(DetectorReport(manifest, 4, 4, figures), names)) == [
        "cart: of what is called so 25% are right.",
        "scooter: of 8 labelled ones 25% are found.",
        "tricycle: no picture of `val` shows one, so nothing is known of it.",
        "Of cameras, weather and hours that `val` does not show nothing is known.",
    ]


def _list(*rows: list[float]) -> NDArray[np.float32]:
    return np.array([rows], np.float32)
