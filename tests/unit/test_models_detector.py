"""A detector is measured on anybody's labelled pictures or video: what counts as found, how AP is taken, what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from common.runtime.errors import InvalidError
from models.accuracy.detector import Looked, figures, paired
from models.accuracy.sections import SECTIONS, section_of
from models.cli import app
from models.data.streets import read_mot_truth, read_streets
from tests.fixtures.onnx_files import answering

SIDE = 64


def _looked(*cast: tuple[float, bool], labelled: int) -> Looked:
    return Looked(
        np.array([score for score, _ in cast]), np.array([hit for _, hit in cast], np.bool_), labelled
    )


def test_what_is_labelled_once_is_found_once_by_the_surest_that_fits() -> None:
    overlap = np.array([[0.9, 0.0], [0.6, 0.55], [0.4, 0.3]], np.float32)
    looked = paired(np.array([0.5, 0.8, 0.9]), overlap)
    assert looked.hit.tolist() == [False, True, False], (
        "the second took the first label, of the other .0 is left"
    )
    assert paired(np.array([0.8, 0.5, 0.9]), overlap).hit.tolist() == [True, True, False]
    assert paired(np.array([0.8]), np.zeros((1, 0), np.float32)).hit.tolist() == [False]


def test_average_precision_takes_the_best_precision_at_each_recall() -> None:
    # Down the scores: hit, miss, hit; two of four labels are found at precisions 1 and 2/3.
    looked = [_looked((0.9, True), (0.2, True), labelled=3), _looked((0.5, False), labelled=1)]
    told = figures(looked, ["a", "b"], 0.4, rounds=10)
    assert told.labelled == 4
    assert told.average_precision.value == pytest.approx((1 + 2 / 3) / 4)
    assert told.recall.value == 0.25
    assert told.precision.value == 0.5


@given(st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), max_size=20), st.integers(0, 5))
def test_all_figures_are_shares(cast: list[tuple[float, bool]], unfound: int) -> None:
    labelled = sum(hit for _, hit in cast) + unfound
    if not labelled:
        return
    told = figures([_looked(*cast, labelled=labelled)], ["a"], 0.5, rounds=2)
    for one in (told.recall, told.precision, told.average_precision):
        assert 0 <= one.value <= 1
    if cast and all(hit for _, hit in cast) and not unfound:
        assert told.average_precision.value == pytest.approx(1)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two grey pictures of 128x64: a cart in the left half of the first, and nothing in the second."""
    data = tmp_path / "pictures"
    for name in ("images", "labels"):
        (data / name).mkdir(parents=True)
    for number in range(2):
        cv2.imwrite(str(data / "images" / f"{number}.png"), np.full((SIDE, 2 * SIDE, 3), 90, np.uint8))
    (data / "labels" / "0.txt").write_text("1 0.25 0.5 0.25 0.5\n", encoding="utf-8")
    (data / "data.yaml").write_text(
        yaml.safe_dump({"names": {0: "person", 1: "hand cart"}}), encoding="utf-8"
    )
    return data


def _brought(directory: Path, name: str = "carts") -> Path:
    """A detector that sees a cart where the first picture has one, surely, and another below, whatever it is shown."""
    directory.mkdir()
    # Pictures are 128 across and the input 64: all lies at half of its pixels, in the upper half.
    rows = [[8, 8, 24, 24, 0.9, 0], [40, 8, 56, 24, 0.3, 0]]
    file = answering(directory / "carts.onnx", [np.array([rows])], shape=(1, 3, SIDE, SIDE))
    content = file.read_bytes()
    told = {
        "name": name,
        "title": "carts",
        "file": file.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "ships": False,
        "head": "end_to_end",
        "input": {
            "name": "images",
            "width": SIDE,
            "height": SIDE,
            "layout": "nchw",
            "channels": "rgb",
            "dtype": "float32",
            "fit": "letterbox",
        },
        "labels": ["hand_cart"],
        "thresholds": {"score": 0.5, "weak": 0.1, "overlap": 0.5},
        "licence": "its maker's",
        "origin": "this test",
    }
    (directory / f"{name}.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    return directory


def test_a_detector_brought_by_manifest_is_measured_and_its_card_told(pictures: Path, tmp_path: Path) -> None:
    models = _brought(tmp_path / "models.d")
    card = models / "carts.md"
    card.write_text("# carts\n<!-- figures -->\nnone yet\n<!-- end -->\n", encoding="utf-8")
    asked = ["evaluate", "carts", "--data", str(pictures), "--directory", str(models)]
    ran = CliRunner().invoke(app, [*asked, "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.output)
    (cart,) = told["labels"].items()
    assert cart[0] == "hand_cart"
    assert (cart[1]["labelled"], cart[1]["recall"]["value"], cart[1]["precision"]["value"]) == (1, 1.0, 0.5)
    assert (told["pictures"], told["groups"], told["score"]) == (2, 2, 0.5)
    assert "| hand_cart | 1 | 1.000" in card.read_text(encoding="utf-8")
    assert "none yet" not in card.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [section.NAME for section in SECTIONS])
def test_a_detector_that_is_called_as_another_kind_of_model_is_measured_as_a_detector(
    pictures: Path, tmp_path: Path, name: str
) -> None:
    models = _brought(tmp_path / "models.d", name)
    asked = ["evaluate", name, "--data", str(pictures), "--directory", str(models), "--json"]
    ran = CliRunner().invoke(app, asked)
    assert ran.exit_code == 0, ran.output
    assert list(json.loads(ran.output)["labels"]) == ["hand_cart"]
    assert section_of(name) in SECTIONS, "the one that ships is measured as ever"


def test_pictures_in_which_nothing_is_labelled_that_the_detector_knows_are_refused(pictures: Path) -> None:
    with pytest.raises(
        InvalidError, match=r"found boxes of hand_cart \(classes: person, hand_cart\)"
    ) as caught:
        section_of("cocossd").measure(pictures)
    assert caught.value.code == "dataset.labels"


def test_a_folder_or_video_without_labels_is_refused_saying_what_is_missing(tmp_path: Path) -> None:
    for data, missing in ((tmp_path, "images"), (tmp_path / "street.avi", r"street-gt.gt\.txt")):
        with pytest.raises(InvalidError, match=missing) as caught:
            section_of("cocossd").measure(data)
        assert caught.value.code == "dataset.missing"


@pytest.mark.parametrize(
    "line",
    ["2 0.5 0.5 0.1 0.1", "-1 0.5 0.5 0.1 0.1", "0 0.5 0.5 0.1", "cart 0.5 0.5 0.1 0.1", "0 0 0 1 0 1 1"],
)
def test_a_line_of_labels_that_is_no_box_is_refused_with_its_number(pictures: Path, line: str) -> None:
    (pictures / "labels" / "1.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n", encoding="utf-8")
    with pytest.raises(InvalidError, match=r"1\.txt in line 2 a class below 2") as caught:
        read_streets(pictures)
    assert caught.value.code == "dataset.broken"


def test_what_is_no_picture_is_named_before_anything_is_looked_at(pictures: Path) -> None:
    (pictures / "images" / "more").mkdir()
    (pictures / "images" / "notes.txt").write_text("a cart, twice\n", encoding="utf-8")
    (pictures / "images" / "2.jpg").write_bytes(b"")
    with pytest.raises(InvalidError, match=r"found 2\.jpg, more, notes\.txt") as caught:
        read_streets(pictures)
    assert caught.value.code == "dataset.unreadable"


@pytest.mark.parametrize("content", ["names: []", "nc: 2", "names: {1: person}", "names: [person"])
def test_a_description_without_names_is_refused(pictures: Path, content: str) -> None:
    (pictures / "data.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidError, match=r"data\.yaml") as caught:
        read_streets(pictures)
    assert caught.value.code == "dataset.broken"


def test_pictures_that_are_alike_share_a_group_and_others_are_their_own(pictures: Path) -> None:
    (pictures / "manifest.csv").write_text("file,group\n0,north\n", encoding="utf-8")
    names, streets = read_streets(pictures)
    assert names == ("person", "hand_cart")
    assert [(one.group, one.labels) for one in streets] == [("north", ("hand_cart",)), ("1", ())]


def test_a_manifest_of_groups_without_its_columns_is_refused_saying_which(pictures: Path) -> None:
    (pictures / "manifest.csv").write_text("name,group\none,a\n", encoding="utf-8")
    with pytest.raises(InvalidError, match="the columns `file` and `group`, found name, group"):
        read_streets(pictures)


@pytest.mark.shared_data
def test_the_shipped_detector_is_measured_on_a_video_with_its_truth(
    shared_data: Path, tmp_path: Path
) -> None:
    """On its first eight seconds; the whole is what ``benchmarks.detection`` and its gates look at."""
    video = shared_data / "data" / "video"
    (tmp_path / "square.avi").symlink_to(video / "vtest.avi")
    (tmp_path / "square-gt").mkdir()
    rows = (video / "vtest-gt" / "gt.txt").read_text(encoding="utf-8").splitlines()
    short = [row for row in rows if int(row.split(",")[0]) <= 80]
    (tmp_path / "square-gt" / "gt.txt").write_text("\n".join(short) + "\n", encoding="utf-8")
    ran = CliRunner().invoke(app, ["evaluate", "cocossd", "--data", str(tmp_path / "square.avi"), "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.output)
    person = told["labels"]["person"]
    assert (told["pictures"], told["groups"]) == (80, 2)
    assert person["labelled"] == sum(
        len(ids) for ids, _ in read_mot_truth(tmp_path / "square-gt" / "gt.txt").values()
    )
    assert person["recall"]["low"] <= person["recall"]["value"] <= person["recall"]["high"]
    assert min(person[key]["value"] for key in ("recall", "precision", "average_precision")) > 0.6
