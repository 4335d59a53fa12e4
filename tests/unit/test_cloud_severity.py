"""How severity rises: by rules in order, by what only grows, and never down."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cloud.district.checks import read_district
from cloud.severity.cli import app
from cloud.severity.domain import Facts, Seen, SeverityRule, VulnerablePlace, decide, places_near, trace
from common.runtime.config import InvalidConfigError
from tests.unit.test_cloud_district import SMALL

SCHOOL = VulnerablePlace("school", "实验小学", "Primary School", 119.3, 26.08, 150, ("flood.*",))
RULES = (
    SeverityRule(1, "school-flooded", "flood.*", 4, level=0.2, near=("school",)),
    SeverityRule(2, "long-water", "flood.*", 4, lasts_s=3600),
    SeverityRule(3, "many-see", "*", 3, devices=3),
    SeverityRule(4, "many-tell", "*", 3, reports=5),
)


def water(level: float | None = 0.1, *, duration_s: float = 60, devices: int = 1) -> Seen:
    return Seen("flood.water_level", duration_s, devices, frozenset(range(devices)), level, "m")


def facts(*seen: Seen, reports: int = 0, near: bool = False) -> Facts:
    return Facts("flood.water_level", seen, reports, ((SCHOOL, 80.0),) if near else ())


def test_nothing_raises_what_no_rule_asks_for() -> None:
    assert decide(RULES, facts(water()), 2) is None


def test_deep_water_at_a_school_is_critical_and_says_so() -> None:
    raised = decide(RULES, facts(water(0.25), near=True), 2)
    assert raised is not None
    assert raised.told(2) == {
        "from": 2,
        "to": 4,
        "because": "rule",
        "rule": "school-flooded",
        "facts": {
            "level": 0.25,
            "unit": "m",
            "near": {"kind": "school", "name_zh": "实验小学", "name_en": "Primary School", "metres": 80},
        },
    }
    assert decide(RULES, facts(water(0.25)), 2) is None  # elsewhere
    assert decide(RULES, facts(water(0.1), near=True), 2) is None  # shallow


@pytest.mark.parametrize(
    ("known", "rule"),
    [
        (facts(water(duration_s=3600)), "long-water"),
        (facts(water(devices=3)), "many-see"),
        (facts(water(), Seen("flood.water_level", 5, 2, frozenset({7, 8}))), "many-see"),
        (facts(reports=5), "many-tell"),
    ],
)
def test_duration_devices_and_reports_raise(known: Facts, rule: str) -> None:
    raised = decide(RULES, known, 2)
    assert raised is not None
    assert raised.rule.name == rule


def test_the_same_device_in_two_incidents_is_one_device() -> None:
    assert decide(RULES, facts(*[water(devices=2)] * 5), 2) is None


def test_what_stands_as_high_already_is_not_raised_and_never_lowered() -> None:
    assert decide(RULES, facts(water(devices=3)), 3) is None
    assert decide(RULES, facts(water(devices=3)), 4) is None


def test_a_trace_says_of_each_rule_why_it_does_not_fit() -> None:
    told = [step.wrong for step in trace(RULES, facts(water(None)))]
    assert told == [
        "it asks for level of 0.2, known is none",
        "it asks for lasts_s of 3600, known is 60",
        "it asks for devices of 3, known is 1",
        "it asks for reports of 5, known is 0",
    ]


def test_a_place_is_near_within_its_own_radius_and_for_its_own_categories() -> None:
    at = (SCHOOL.lon, SCHOOL.lat + 0.001)  # 111 m
    ((place, away),) = places_near([SCHOOL], ["flood.water_level", "camera.standing_water"], *at)
    assert (place, round(away)) == (SCHOOL, 111)
    assert places_near([SCHOOL], ["camera.standing_water"], *at) == ()
    assert places_near([SCHOOL], ["flood.water_level"], SCHOOL.lon, SCHOOL.lat + 0.002) == ()


_SEEN = st.builds(
    Seen,
    st.sampled_from(["flood.water_level", "camera.standing_water", "smoke.alarm"]),
    st.floats(0, 10_000),
    st.integers(1, 9),
    st.frozensets(st.integers(0, 9), min_size=1),
    st.none() | st.floats(0, 1),
    st.just("m"),
)


@given(st.lists(_SEEN, max_size=6), st.randoms(use_true_random=False), st.integers(0, 9), st.booleans())
def test_the_order_in_which_a_matter_becomes_known_does_not_show_in_its_severity(
    seen: list[Seen], dice: object, reports: int, near: bool
) -> None:
    def severity_after(order: list[Seen]) -> int:
        severity = 2
        for known in range(len(order) + 1):
            raised = decide(RULES, facts(*order[:known], reports=reports, near=near), severity)
            assert raised is None or raised.rule.raise_to > severity
            severity = raised.rule.raise_to if raised else severity
        return severity

    shuffled = list(seen)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert severity_after(shuffled) == severity_after(seen)


def refused(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "district.yaml"
    path.write_text(SMALL + text, encoding="utf-8")
    with pytest.raises(InvalidConfigError) as caught:
        read_district(path)
    return [fault.message for fault in caught.value.faults]


def test_a_rule_that_raises_further_stands_first(tmp_path: Path) -> None:
    (said,) = refused(
        tmp_path,
        "severity:\n"
        "  - {name: many, category: flood.*, raise_to: 3, devices: 2}\n"
        "  - {name: deep, category: flood.*, raise_to: 4, level: 0.5}\n",
    )
    assert "the gravest stand first" in said


def test_a_rule_that_is_never_reached_is_refused(tmp_path: Path) -> None:
    (said,) = refused(
        tmp_path,
        "severity:\n"
        "  - {name: some, category: '*', raise_to: 4, devices: 2}\n"
        "  - {name: more, category: flood.*, raise_to: 4, devices: 3, lasts: 1h}\n",
    )
    assert "never reached" in said


def test_every_fault_of_severity_places_and_families_is_told_at_once(tmp_path: Path) -> None:
    said = refused(
        tmp_path,
        "severity:\n"
        "  - {name: nothing, category: flood.*, raise_to: 4}\n"
        "  - {name: near, category: flod.*, raise_to: 4, near: [shool]}\n"
        "  - {name: nowhere, category: flood.*, raise_to: 3, near: [metro]}\n"
        "vulnerable:\n"
        "  - {name_zh: 学校, name_en: School, kind: school, lon: 0.5, lat: 0.5, categories: [flod.*]}\n"
        "fusion:\n"
        "  - {name: water, categories: [flood.water_level, camera.wrong_way], rejoin: 15m}\n"
        "  - {name: again, categories: [camera.fire, flood.water_level], rejoin: 15m}\n",
    )
    for fault in (
        "asks for nothing",
        "expected one of school",
        "never fits: no vulnerable place is a metro",
        "no category is called 'flod.*'",
        "'camera.wrong_way' passes",
        "'flood.water_level' already is of the family",
    ):
        assert any(fault in one for one in said), (fault, said)


def test_a_district_may_say_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "district.yaml"
    path.write_text(
        SMALL + "severity:\n"
        "  - {name: school, category: flood.*, raise_to: 4, level: 0.2, near: [school, metro]}\n"
        "  - {name: long, category: flood.*, raise_to: 3, lasts: 20m}\n"
        "vulnerable:\n"
        "  - {name_zh: 学校, name_en: School, kind: school, lon: 0.5, lat: 0.5, categories: [flood.*]}\n"
        "fusion:\n"
        "  - {name: water, categories: [camera.standing_water, flood.water_level], radius_m: 80, rejoin: 15m}\n",
        encoding="utf-8",
    )
    district = read_district(path)
    assert district.severity[1].rule(2) == SeverityRule(2, "long", "flood.*", 3, lasts_s=1200)
    assert district.vulnerable[0].place().radius_m == 100
    family = district.fusion[0].family()
    assert (family.radius_m, family.rejoin_s, family.stale_s) == (80, 900, 3600)


def test_the_example_of_the_page_is_accepted_as_it_stands(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "matters.md").read_text(encoding="utf-8")
    example = page.split("<!-- example -->\n```yaml\n")[1].split("```")[0]
    path = tmp_path / "district.yaml"
    path.write_text(SMALL + example, encoding="utf-8")
    district = read_district(path)
    assert [rule.name for rule in district.severity] == ["deep-at-school", "half-an-hour", "many-tell"]
    assert len(district.recurring) == len(district.fusion) == len(district.bands) == 1


def test_the_command_says_of_each_rule_of_a_file_why_it_fits_or_not() -> None:
    demo = Path(__file__).parents[2] / "firmware_configs" / "districts" / "demo.yaml"
    at = ["--lon", "119.3071", "--lat", "26.0802", "--district", str(demo)]
    asked = ["explain", "--category", "flood.water_level", *at]
    deep = CliRunner().invoke(app, [*asked, "--level", "0.4"])
    assert deep.exit_code == 0, deep.output
    assert "Long Dyke Road underpass" in deep.output
    assert "severity 4, raised from 3 by deep-water-near-people" in deep.output
    shallow = CliRunner().invoke(app, [*asked, "--level", "0.1"])
    assert "it asks for level of 0.3, known is 0.1" in shallow.output
    assert "severity 3: no rule raises it" in shallow.output


def test_the_command_refuses_a_category_that_there_is_not() -> None:
    said = CliRunner().invoke(app, ["explain", "--category", "flod.water", "--lon", "1", "--lat", "1"])
    assert "severity.unknown_category" in repr(said.exception) or "expected a category" in str(said.exception)
