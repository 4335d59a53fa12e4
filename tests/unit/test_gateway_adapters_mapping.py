"""Every fault of a mapping file has its line, what is allowed, and the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.runtime.config import InvalidConfigError
from gateway.adapters.mapping import Surroundings, load_mappings, parse_mapping
from gateway.metrics_catalogue import Metric, catalogue
from tests.fixtures.foreign import COVERS, PLANT

PATH = Path("plant.yaml")


def faults(text: str, around: Surroundings | None = None) -> list[str]:
    """What is wrong with a mapping."""
    with pytest.raises(InvalidConfigError) as caught:
        parse_mapping(text, PATH, around)
    return [str(fault) for fault in caught.value.faults]


def test_the_fixtures_are_right() -> None:
    assert len(parse_mapping(PLANT, PATH).topics) == 6
    assert parse_mapping(COVERS, Path("covers.yaml")).accounts == "one"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("unit: °F", "unit: °f", "plant.yaml:11: topics.0.value.unit: unknown unit (did you mean '°F'?)"),
        ("unit: mm}", "unit: psi}", "plant.yaml:23: topics.3.values.0.unit: expected a unit of length"),
        ("metric: battery", "metric: batery", "unknown metric (did you mean 'battery'?)"),
        ("to: m,", "to: meters,", "plant.yaml:4: units.0.to: unknown unit (did you mean 'meter'?)"),
        ("scale: 0.01", "scale: 0", "a scale other than 0"),
        ("payload: number", "payload: numbr", "expected one of number, json, chirpstack, got 'numbr'"),
        ("bits: 16", "bit: 16", "did you mean 'bits'?"),
        ("format: epoch_s}", "format: epoch}", "did you mean 'epoch_s'?"),
        ('sensor: "{place}"', 'sensor: "{room}"', "the topic has no such part"),
        ("{device}/bare", "gauge-1/bare", "expected either a part {device} in the topic"),
        ("{device}/bare", "{device}/timed", "a topic can match this and 'plant/{device}/timed'"),
        ("{device}/bare", "{device}/#", "each level"),
        ('id: "G 2"', 'id: "gauge-1"', "already stands on line"),
        (
            "name: gauge-2",
            "name: gauge-1",
            "plant.yaml:7: devices.1.name: 'gauge-1' already stands on line 6",
        ),
        ("range: [0, 300]", "range: [300, 0]", "low first"),
        ("lon: 119.3, lat: 26.1}", "lat: 26.1}", "lon: missing"),
        ("mapping: plant", "mapping: factory", "as the file is named"),
        ("silent_after_s: 60", "silent_after_s: 5", "greater than or equal to 30"),
        ("sensor: button, metric: pressed", "sensor: gauge, metric: water_level", "already stands on line"),
    ],
)
def test_a_fault_is_told_with_its_place(old: str, new: str, said: str) -> None:
    assert old in PLANT
    text = PLANT.replace(old, new, 1)
    assert any(said in fault for fault in faults(text)), faults(text)


def test_faults_of_all_kinds_are_told_at_once() -> None:
    text = (
        PLANT.replace("unit: °F", "unit: °G")
        .replace("metric: battery", "metric: power")
        .replace("unit: cm", "unit: V")
    )
    assert len(faults(text)) == 3


def test_two_files_may_not_share_a_topic_or_a_device(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(PLANT, encoding="utf-8")
    (tmp_path / "other.yaml").write_text(PLANT.replace("mapping: plant", "mapping: other"), encoding="utf-8")
    with pytest.raises(InvalidConfigError) as caught:
        load_mappings(tmp_path, catalogue())
    said = str(caught.value)
    assert "is a device of mapping 'other' already" in said
    assert "a topic can match this and 'plant/{device}/temp' of mapping 'other'" in said


def test_metrics_of_ones_own_are_known_and_taken_in_their_own_unit_only() -> None:
    around = Surroundings(catalogue([Metric("mood", "smiles", 0, 10)]))
    text = PLANT.replace("metric: battery, unit: ratio", "metric: mood, unit: smiles")
    assert parse_mapping(text, PATH, around)
    other = Surroundings(catalogue([Metric("mood", "smiles", 0, 10)]))
    assert "'smiles'" in faults(text.replace("unit: smiles", "unit: m"), other)[0]


def test_a_folder_that_is_not_there_holds_no_mappings(tmp_path: Path) -> None:
    assert load_mappings(tmp_path / "foreign", catalogue()) == ()
