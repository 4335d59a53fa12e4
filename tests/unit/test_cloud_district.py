"""A district's file: what it may say, and every fault at its own line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.dispatch.domain import fits
from cloud.district import geometry
from cloud.district.checks import read_district
from cloud.district.domain import ancestors, covers, is_within, shadowed, unmatched
from cloud.district.schemas import DistrictFile, RuleEntry
from cloud.district.service import areas
from common.runtime.config import Fault, InvalidConfigError
from common.wire.categories import BY_CODE

DEMO = Path(__file__).parents[2] / "firmware_configs" / "districts" / "demo.yaml"

SMALL = """\
units:
  - {code: centre, kind: centre, name_zh: 中心, name_en: Centre}
  - {code: east, kind: street, parent: centre, name_zh: 东街, name_en: East}
  - {code: mill, kind: community, parent: east, name_zh: 磨坊, name_en: Mill}
  - {code: mill-1, kind: grid, parent: mill, name_zh: 一, name_en: One, area: [[0, 0], [1, 0], [1, 1], [0, 1]]}
  - {code: mill-2, kind: grid, parent: mill, name_zh: 二, name_en: Two, area: [[1, 0], [2, 0], [2, 1], [1, 1]]}
  - {code: water, kind: department, parent: centre, name_zh: 水务, name_en: Water}
routing:
  - {category: flood.*, target: "department:water"}
  - {category: "*", target: "level:grid"}
policies:
  - {name: all, category: "*", acknowledge: 5m, arrive: 15m, resolve: 1d}
"""


@pytest.fixture(scope="module")
def demo() -> DistrictFile:
    return read_district(DEMO)


def faults_of(tmp_path: Path, text: str) -> list[Fault]:
    file = tmp_path / "district.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidConfigError) as caught:
        read_district(file)
    return caught.value.faults


def test_the_demo_district_has_its_units(demo: DistrictFile) -> None:
    kinds = [unit.kind for unit in demo.units]
    counted = {kind: kinds.count(kind) for kind in ("centre", "street", "community", "grid", "department")}
    assert counted == {"centre": 1, "street": 3, "community": 9, "grid": 27, "department": 8}


def test_the_demo_grids_tile_the_district_without_gap_or_overlap(demo: DistrictFile) -> None:
    outlines = areas(demo)
    grids = [unit.ring for unit in demo.units if unit.kind == "grid" and unit.ring]
    assert all(unit.code in outlines for unit in demo.units if unit.kind != "department")
    whole = geometry.signed_area(outlines["centre"])
    assert sum(abs(geometry.signed_area(ring)) for ring in grids) == pytest.approx(whole, rel=1e-6)


def test_the_demo_routes_every_category_without_the_last_resort(demo: DistrictFile) -> None:
    named = [rule for rule in demo.routing if rule.category != "*"]
    assert unmatched(named, BY_CODE) == []


def test_every_place_of_the_demo_box_lies_in_one_grid(demo: DistrictFile) -> None:
    grids = [unit.ring for unit in demo.units if unit.kind == "grid" and unit.ring]
    for column in range(17):
        for row in range(13):
            place = (119.29 + column * 0.0025, 26.07 + row * 0.0025)
            assert sum(geometry.contains(ring, place) for ring in grids) == 1, place


def test_a_small_district_is_read(tmp_path: Path) -> None:
    file = tmp_path / "district.yaml"
    file.write_text(SMALL, encoding="utf-8")
    district = read_district(file)
    assert district.policies[0].resolve == 86_400
    outlines = areas(district)
    assert geometry.signed_area(outlines["east"]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("code: mill-2", "code: mill-1", 6, "already stands on line 5"),
        ("parent: east", "parent: eats", 4, "no unit 'eats' (did you mean 'east'?)"),
        ("parent: east", "parent: centre", 4, "a community stands below a street; 'centre' is a centre"),
        ("kind: street, parent: centre", "kind: street", 3, "a street stands below a centre"),
        ("[[1, 0], [2, 0], [2, 1], [1, 1]]", "[[1, 0], [2, 1], [2, 0], [1, 1]]", 6, "crosses itself"),
        (
            "[[1, 0], [2, 0], [2, 1], [1, 1]]",
            "[[0.5, 0], [2, 0], [2, 1], [0.5, 1]]",
            6,
            "overlaps 'mill-1': 50%",
        ),
        (", area: [[1, 0], [2, 0], [2, 1], [1, 1]]", "", 6, "a grid owns a place"),
        ("department:water", "department:watre", 9, "no department 'watre' (did you mean 'water'?)"),
        ('target: "department:water"', 'target: "level:grid", call: [fire]', 9, "no department 'fire'"),
        ('"department:water"', '"department:water", call: [water]', 9, "owns it already"),
        ("flood.*", "flod.*", 9, "no category is called 'flod.*'"),
        ("acknowledge: 5m", "acknowledge: 2h", 12, "acknowledge ≤ arrive ≤ resolve"),
        ("acknowledge: 5m", "acknowledge: 5 minutes", 12, "expected a time such as 45s"),
        ('name: all, category: "*"', "name: all, category: flood.*", 11, "no clocks for"),
        ("code: centre", "cod: centre", 2, "did you mean 'code'?"),
    ],
)
def test_each_fault_is_told_with_its_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in SMALL
    found = faults_of(tmp_path, SMALL.replace(old, new, 1))
    assert [(fault.line, True) for fault in found if words in fault.message] == [(line, True)], found


def test_a_rule_behind_a_wider_one_is_never_reached(tmp_path: Path) -> None:
    late = SMALL.replace(
        'target: "level:grid"}', 'target: "level:grid"}\n  - {category: rain.*, target: "level:street"}'
    )
    assert "never reached: the one on line 10 (*)" in faults_of(tmp_path, late)[0].message


def test_faults_of_form_and_of_agreement_come_together(tmp_path: Path) -> None:
    text = (
        SMALL.replace("name_en: East", "name_en: 7")
        .replace("parent: east", "parent: nowhere")
        .replace("department:water", "department:fire")
        .replace("acknowledge: 5m", "acknowledge: soon")
        .replace("code: mill-2", "code: mill-1")
    )
    assert [fault.line for fault in faults_of(tmp_path, text)] == [3, 4, 6, 9, 12]


def test_a_file_that_is_no_yaml_or_not_there_says_so(tmp_path: Path) -> None:
    assert "not YAML" in faults_of(tmp_path, "units: [")[0].message
    with pytest.raises(InvalidConfigError, match="cannot be read"):
        read_district(tmp_path / "none.yaml")


def test_patterns_match_a_code_a_family_or_all() -> None:
    assert fits("*", "flood.water_level")
    assert fits("flood.*", "flood.water_level")
    assert not fits("flood.*", "floods.water_level")
    assert fits("flood.water_level", "flood.water_level")
    assert not fits("flood.water_level", "flood.water")
    assert covers("*", "flood.*")
    assert covers("flood.*", "flood.water_level")
    assert not covers("flood.*", "*")


def test_a_rule_for_grave_cases_does_not_hide_the_one_for_all() -> None:
    grave = RuleEntry(category="flood.*", min_severity=4, target="level:centre", call=[])
    every = RuleEntry(category="flood.*", target="level:grid", call=[])
    assert list(shadowed([grave, every])) == []
    assert list(shadowed([every, grave])) == [(1, 0)]


def test_a_unit_stands_within_those_above_it() -> None:
    parents = {"centre": None, "east": "centre", "mill": "east", "lost": "nowhere"}
    assert list(ancestors(parents, "mill")) == ["mill", "east", "centre"]
    assert is_within(parents, "mill", "centre")
    assert not is_within(parents, "east", "mill")
    assert list(ancestors({"a": "b", "b": "a"}, "a")) == ["a", "b"]  # a loop ends
    assert list(ancestors(parents, "lost")) == ["lost"]
