"""Models are opened only when they are byte for byte what their manifest says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from common.runtime.errors import ConfigError, InvalidError
from models.cli import app
from models.store import MANIFESTS, list_manifests, load_manifest, open_model


def _copied_manifest(directory: Path, **changes: object) -> Path:
    content = yaml.safe_load((MANIFESTS / "cocossd.yaml").read_text(encoding="utf-8"))
    content.update(changes)
    path = directory / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_shipped_model_is_what_its_manifest_says() -> None:
    model = open_model("cocossd")
    assert model.path.stat().st_size == model.manifest.size
    assert model.manifest.licence == "Apache-2.0"
    assert len(model.manifest.labels) == 90
    assert len(model.manifest.names) == 80


def test_every_shipped_manifest_can_be_read_and_is_called_like_its_file() -> None:
    assert [manifest.name for manifest in list_manifests()] == [
        "cocossd",
        "fire",
        "helmet",
        "privacy",
        "water",
        "yolox_nano",
    ]


def test_a_missing_model_says_where_it_was_looked_for_and_whether_it_ships(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidError, match=r"expected the weights of yolox_nano at .*yolox_nano\.onnx"
    ) as caught:
        open_model("yolox_nano", tmp_path)
    assert caught.value.code == "model.missing"
    assert "does not ship" in caught.value.hint


def test_a_tampered_model_is_refused_with_both_fingerprints(tmp_path: Path) -> None:
    model = open_model("cocossd")
    changed = tmp_path / model.manifest.file
    shutil.copyfile(model.path, changed)
    with changed.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\x00\x01\x02\x03")
    with pytest.raises(InvalidError) as caught:
        open_model("cocossd", tmp_path)
    assert caught.value.code == "model.tampered"
    assert model.manifest.sha256 in caught.value.message
    assert "got" in caught.value.message


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    model = open_model("cocossd")
    (tmp_path / model.manifest.file).write_bytes(model.path.read_bytes()[:1000])
    with pytest.raises(InvalidError, match="1000 bytes"):
        open_model("cocossd", tmp_path)


def test_an_unknown_model_names_the_nearest_one() -> None:
    with pytest.raises(InvalidError) as caught:
        load_manifest("cocosd")
    assert caught.value.code == "model.unknown"
    assert "did you mean cocossd?" in caught.value.hint


def test_a_users_own_manifest_hides_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    _copied_manifest(tmp_path, title="Mine")
    assert load_manifest("cocossd", tmp_path).title == "Mine"


def test_a_faulty_manifest_reports_every_fault_at_once(tmp_path: Path) -> None:
    _copied_manifest(tmp_path, sha256="short", head="ssdd", labels=["person", "person"], surprise=1)
    with pytest.raises(ConfigError) as caught:
        load_manifest("cocossd", tmp_path)
    for key in ("sha256", "head", "surprise"):
        assert key in caught.value.message


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"strong": 0.5, "birth": 0.4}, "expected at least strong, 0.5, got 0.4"),
        ({"birth": 0.2}, "expected at least score, 0.3, got 0.2"),
        ({"strong": 0.05}, "expected at least weak, 0.1, got 0.05"),
        ({"birth": 1.5}, "less than 1"),
        ({"strong": -0.1}, "greater than 0"),
        ({"score": 0.3, "birth": 0}, "greater than 0"),
    ],
)
def test_scores_that_cannot_begin_a_track_are_refused_with_their_line_and_what_was_expected(
    tmp_path: Path, changed: dict[str, float], said: str
) -> None:
    _copied_manifest(tmp_path, thresholds={"score": 0.3, "weak": 0.1, "overlap": 0.5} | changed)
    with pytest.raises(ConfigError, match=rf"cocossd\.yaml:\d+.*{said}") as caught:
        load_manifest("cocossd", tmp_path)
    assert caught.value.hint


def test_a_manifest_with_a_label_twice_is_refused(tmp_path: Path) -> None:
    _copied_manifest(tmp_path, labels=["person", "person"], exclusive=[])
    with pytest.raises(ConfigError, match="'person' already stands on line"):
        load_manifest("cocossd", tmp_path)


def test_a_manifest_under_another_name_is_refused(tmp_path: Path) -> None:
    _copied_manifest(tmp_path).rename(tmp_path / "other.yaml")
    with pytest.raises(InvalidError, match="to name the model other, got cocossd"):
        load_manifest("other", tmp_path)


def test_the_list_command_shows_what_ships() -> None:
    result = CliRunner().invoke(app, ["list"], terminal_width=200)
    assert result.exit_code == 0
    assert "cocossd" in result.output
    assert "Apache-2.0" in result.output


def test_the_verify_command_passes_shipped_models_and_fails_missing_ones(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["verify"]).exit_code == 0
    failed = runner.invoke(app, ["verify", "yolox_nano", "--directory", str(tmp_path)])
    assert failed.exit_code == 1
    assert "expected the weights of yolox_nano" in failed.output


def test_the_card_the_notice_and_the_manifest_of_a_shipped_model_agree() -> None:
    root = MANIFESTS.parent
    notice = (root / "NOTICE.md").read_text(encoding="utf-8")
    for manifest in list_manifests():
        if manifest.ships:
            card = (root / "cards" / f"{manifest.name}.md").read_text(encoding="utf-8")
            assert manifest.file in notice
            assert manifest.sha256 in notice
            assert manifest.licence in card
