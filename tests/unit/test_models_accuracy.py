"""Figures are counted rightly, on heads that no training saw, and the shipped model keeps its limits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from common.runtime.errors import InvalidError
from models.accuracy import __main__ as everything
from models.accuracy import helmet
from models.accuracy.figures import area_under_curve, bootstrapped
from models.accuracy.sections import SECTIONS, section_of, write_figures
from models.cli import app
from models.data.riders import Head, parts, read_heads
from models.manifest import VerdictThresholds
from models.store import list_manifests, load_manifest

REPOSITORY = Path(__file__).parents[2]


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=30))
def test_the_area_is_how_often_a_bare_head_scores_above_a_helmeted_one(cast: list[tuple[int, bool]]) -> None:
    score = np.array([one for one, _ in cast], np.float64)
    bare = np.array([one for _, one in cast], np.bool_)
    if bare.all() or not bare.any():
        return
    wins = [(a > b) + 0.5 * (a == b) for a in score[bare] for b in score[~bare]]
    assert area_under_curve(score, bare) == pytest.approx(float(np.mean(wins)))


def test_an_interval_is_wider_when_the_pictures_are_copies_of_each_other() -> None:
    values = np.random.default_rng(1).random(60)
    copied = np.repeat(values, 10)
    single = bootstrapped([str(n) for n in range(600)], lambda at: float(copied[at].mean()))
    grouped = bootstrapped([str(n // 10) for n in range(600)], lambda at: float(copied[at].mean()))
    assert single.low <= single.value <= single.high
    assert grouped.value == pytest.approx(single.value)
    assert grouped.high - grouped.low > 2 * (single.high - single.low)


def _judged(*cast: tuple[bool, float, bool]) -> helmet.Judged:
    heads = [
        Head(Path("street.jpg"), str(n), bare, (0.0, 0.0, 40.0, 40.0), suspect)
        for n, (bare, _, suspect) in enumerate(cast)
    ]
    return helmet.Judged(heads, np.array([probability for _, probability, _ in cast]))


def test_verdicts_are_counted_by_what_the_heads_wear() -> None:
    judged = _judged(
        (True, 0.9, False), (True, 0.5, False), (True, 0.1, False), (True, 0.8, False),
        (False, 0.9, False), (False, 0.5, False), (False, 0.1, False), (False, 0.05, False),
    )  # fmt: skip
    counted = helmet.figures(judged, VerdictThresholds(helmetless=0.7, helmet=0.3), rounds=10)
    assert (counted.heads, counted.bare, counted.groups) == (8, 4, 8)
    assert counted.recall.value == 0.5
    assert counted.missed.value == 0.25
    assert counted.false.value == 0.25
    assert counted.unknown.value == 0.25


def test_suspects_are_left_out_where_they_are_to_be() -> None:
    judged = _judged((True, 0.9, False), (False, 0.9, True), (False, 0.1, False)).without_suspects()
    assert judged.probability.tolist() == [0.9, 0.1]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=30, max_size=60))
def test_chosen_thresholds_err_no_more_often_than_they_may(cast: list[tuple[bool, float]]) -> None:
    judged = _judged(*((bare, probability, False) for bare, probability in cast))
    bare = np.array([one for one, _ in cast])
    if bare.all() or not bare.any():
        return
    chosen = helmet.choose_thresholds(judged, 0.05, 0.1)
    assert chosen.helmet < chosen.helmetless
    false = judged.probability[~bare] >= chosen.helmetless
    missed = judged.probability[bare] <= chosen.helmet
    assert false.mean() <= 0.05 or chosen.helmetless == 0.99
    assert missed.mean() <= 0.1 or chosen.helmet == 0.01


def test_what_falls_short_is_named() -> None:
    counted = helmet.figures(
        _judged((True, 0.1, False), (False, 0.9, False), (False, 0.5, False)),
        VerdictThresholds(helmetless=0.7, helmet=0.3),
        rounds=10,
    )
    assert [one.split()[0] for one in counted.shortfalls()] == ["AUC", "false", "unknown"]


@pytest.mark.shared_data
def test_no_group_is_learnt_from_and_judged_on(shared_data: Path) -> None:
    split = parts(read_heads(shared_data / helmet.DATA))
    groups = [frozenset(head.group for head in part) for part in (split.learnt, split.tuned, split.judged)]
    assert len(frozenset.union(*groups)) == sum(map(len, groups))
    assert min(map(len, groups)) > 50


@pytest.mark.shared_data
def test_the_shipped_helmet_model_keeps_its_limits_on_heads_it_never_saw(shared_data: Path) -> None:
    """By the command, whose exit code says so too."""
    data = str(shared_data / helmet.DATA)
    ran = CliRunner().invoke(app, ["evaluate", "helmet", "--data", data, "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.output)
    clean = told["suspects_left_out"]
    assert clean["area"]["value"] >= 0.96
    assert clean["false"]["value"] <= 0.02
    assert clean["unknown"]["value"] <= 0.20
    assert told["with_suspects"]["heads"] > clean["heads"] > 400


def test_data_that_are_not_there_are_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidError) as caught:
        helmet.measure(tmp_path)
    assert caught.value.code == "dataset.missing"


def test_a_model_that_is_not_measured_names_those_that_are() -> None:
    with pytest.raises(InvalidError, match="helmet") as caught:
        section_of("helmets")
    assert caught.value.hint == "did you mean helmet?"


@pytest.mark.parametrize("name", [section.NAME for section in SECTIONS])
def test_page_and_card_tell_of_the_weights_that_ship(name: str) -> None:
    fingerprint = load_manifest(name).sha256[:16]
    for page in ("docs/accuracy.md", f"models/cards/{name}.md"):
        text = (REPOSITORY / page).read_text(encoding="utf-8")
        assert fingerprint in text, f"{page} tells of other weights: run `make accuracy`"


def test_figures_go_between_the_marks_of_a_card(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("before\n<!-- figures -->\nold\n<!-- end -->\nafter\n", encoding="utf-8")
    write_figures(card, "new \\1")
    assert card.read_text(encoding="utf-8") == "before\n<!-- figures -->\nnew \\1\n<!-- end -->\nafter\n"


def test_without_the_data_the_accuracy_command_fails_and_leaves_the_page_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "accuracy.md"
    page.write_text("measured once\n", encoding="utf-8")
    monkeypatch.setattr(everything, "_SHARED", tmp_path / "nowhere")
    monkeypatch.setattr(everything, "_PAGE", page)
    assert everything.main() == 1
    assert "expected" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == "measured once\n"


@pytest.mark.parametrize("name", ["cocossd", "yolox_nano"])
def test_a_street_detectors_card_says_what_the_page_says(name: str) -> None:
    page = (REPOSITORY / "docs" / "accuracy.md").read_text(encoding="utf-8")
    section = page.partition("\n## detection\n")[2].partition("\n## ")[0].strip()
    card = (REPOSITORY / "models" / "cards" / f"{name}.md").read_text(encoding="utf-8")
    assert f"<!-- figures -->\n{section}\n<!-- end -->" in card
    assert section.count("–") >= 12


def test_every_model_that_a_manifest_names_has_a_card() -> None:
    cards = {card.stem for card in (REPOSITORY / "models" / "cards").glob("*.md")}
    assert cards == {manifest.name for manifest in list_manifests()}


def test_the_privacy_models_card_says_what_the_page_says_of_evidence() -> None:
    page = (REPOSITORY / "docs" / "accuracy.md").read_text(encoding="utf-8")
    section = page.partition("\n## blur\n")[2].partition("\n## ")[0].strip()
    card = (REPOSITORY / "models" / "cards" / "privacy.md").read_text(encoding="utf-8")
    assert f"<!-- blur -->\n{section}\n<!-- end -->" in card
