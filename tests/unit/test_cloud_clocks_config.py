"""Routing by place and time, ladders, rotas, and what a district's file may say of them; without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.calendar.domain import DISTRICT_ZONE, WorkingCalendar
from cloud.dispatch.checking import check, loops
from cloud.dispatch.cli import check_file
from cloud.dispatch.domain import Book, Matter, Rule, StandIn, decide, trace
from cloud.district.checks import read_district
from cloud.district.service import book_of, place_of
from cloud.duty.domain import Shift, holes, on_duty
from cloud.sla.domain import Escalate, Policy
from cloud.sla.ladder import DEFAULT_LADDER, Rung, next_rung
from cloud.storm.domain import Plan, codes
from tests.unit.test_cloud_district import SMALL, faults_of

OFFICE = WorkingCalendar("office", frozenset({1, 2, 3, 4, 5}), ((9 * 3600, 17 * 3600),))
DAY = datetime(2026, 6, 1, 10, tzinfo=DISTRICT_ZONE)
NIGHT = datetime(2026, 6, 1, 23, tzinfo=DISTRICT_ZONE)
PLACE = {"grid": "g-1", "community": "c-1", "street": "s-1", "centre": "centre"}
PARENTS = {"centre": None, "s-1": "centre", "c-1": "s-1", "g-1": "c-1", "g-2": "c-1", "water": "centre"}
KINDS = {
    "centre": "centre",
    "s-1": "street",
    "c-1": "community",
    "g-1": "grid",
    "g-2": "grid",
    "water": "department",
}
UNITS = frozenset(PARENTS)


# ---- routing ----


def test_a_rule_may_be_for_some_places_and_some_times_only() -> None:
    rules = [
        Rule(1, "flood.*", 1, "level:street", place=("g-2",)),
        Rule(2, "flood.*", 1, "department:water", during="office"),
        Rule(3, "flood.*", 1, "level:centre", outside="office"),
    ]
    book = Book(rules, UNITS, {"office": OFFICE})
    assert decide(book, Matter("flood.water_level", 2, PLACE, DAY)).unit_code == "water"
    assert decide(book, Matter("flood.water_level", 2, PLACE, NIGHT)).unit_code == "centre"
    assert decide(book, Matter("flood.water_level", 2, PLACE | {"grid": "g-2"}, NIGHT)).unit_code == "s-1"
    assert decide(book, Matter("flood.water_level", 2, PLACE)).unit_code is None


def test_every_rule_that_was_tried_says_why_it_fits_or_not() -> None:
    rules = [
        Rule(1, "smoke.*", 1, "level:street"),
        Rule(2, "flood.*", 4, "level:street"),
        Rule(3, "flood.*", 1, "level:street", place=("g-2",)),
        Rule(4, "flood.*", 1, "level:street", during="office"),
        Rule(5, "flood.*", 1, "level:street", outside="night"),
        Rule(6, "flood.*", 1, "department:water"),
        Rule(7, "*", 1, "level:grid"),
    ]
    steps, route = trace(Book(rules, UNITS, {"office": OFFICE}), Matter("flood.level", 3, PLACE, NIGHT))
    assert [step.because for step in steps] == [
        "it is for smoke.*",
        "it is from severity 4 up",
        "it is for g-2",
        "it is only within the hours of office",
        "it asks for the calendar 'night', which there is not",
        "everything it asks for is so",
    ]
    assert route.unit_code == "water"


def test_outside_its_hours_another_stands_in_and_a_circle_gives_it_to_nobody() -> None:
    rules = [Rule(1, "*", 1, "department:water", call=("s-1",))]
    chain = {"water": StandIn(OFFICE, "s-1"), "s-1": StandIn(OFFICE, "centre")}
    book = Book(rules, UNITS, {}, chain)
    assert decide(book, Matter("a.b", 1, PLACE, DAY)).unit_code == "water"
    found = decide(book, Matter("a.b", 1, PLACE, NIGHT))
    assert (found.unit_code, found.called) == ("centre", ("s-1",))
    circle = Book(rules, UNITS, {}, chain | {"s-1": StandIn(OFFICE, "water")})
    lost = decide(circle, Matter("a.b", 1, PLACE, NIGHT))
    assert lost.unit_code is None
    assert "water → s-1 → water" in lost.because


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("abcdefg"), max_size=6))
def test_every_circle_of_stand_ins_is_found_once(stand_ins: dict[str, str]) -> None:
    inside = set()
    for code in stand_ins:
        path, at = [], code
        while at in stand_ins and at not in path:
            path.append(at)
            at = stand_ins[at]
        if at == code:
            inside.add(code)
    found = list(loops(stand_ins))
    assert {code for circle in found for code in circle} == inside
    members = [code for circle in found for code in circle[:-1]]
    assert len(members) == len(set(members))
    assert all(circle[0] == circle[-1] for circle in found)


def test_the_check_finds_what_is_wrong_and_names_it() -> None:
    rules = [
        Rule(1, "flood.*", 1, "department:gone", call=("nobody",), place=("g-9",)),
        Rule(2, "smoke.*", 1, "level:grid"),
        Rule(3, "smoke.alarm", 2, "level:street", place=("g-1",)),
        Rule(4, "camera.*", 1, "level:grid", during="office"),
    ]
    stand_ins = {"g-1": StandIn(OFFICE, "g-2"), "g-2": StandIn(OFFICE, "g-1")}
    book = Book(rules, UNITS, {"office": OFFICE}, stand_ins)
    found = check(book, PARENTS, KINDS, ["camera.fire", "flood.level", "smoke.alarm"], DAY)
    told = [(one.kind, one.message) for one in found]
    assert told[0] == ("loop", "stand-ins go in a circle: g-1 → g-2 → g-1")
    assert [message for kind, message in told if kind == "unknown_unit"] == [
        "rule 1 names 'nobody', which is no unit",
        "rule 1 names 'g-9', which is no unit",
        "rule 1 names 'gone', which is no unit",
    ]
    assert ("unreachable", "rule 3 is never reached: rule 2 takes everything it would") in told
    nobody = [message for kind, message in told if kind == "no_owner"]
    assert any(message.startswith("camera.fire at severity 1, 2, 3, 4") for message in nobody)
    assert any("flood.level" in message and "no rule covers" in message for message in nobody)
    assert any("smoke.alarm" in message and "go in a circle" in message for message in nobody)


def test_rules_for_another_place_or_time_hide_nothing() -> None:
    rules = [
        Rule(1, "*", 1, "level:street", place=("g-1",)),
        Rule(2, "*", 1, "level:street", during="office"),
        Rule(3, "*", 1, "level:street", place=("c-1",), during="office"),
        Rule(4, "*", 1, "level:grid"),
    ]
    book = Book(rules, UNITS, {"office": OFFICE})
    found = check(book, PARENTS, KINDS, ["smoke.alarm"], DAY)
    assert [one.message for one in found] == ["rule 3 is never reached: rule 2 takes everything it would"]


# ---- the ladder ----


def test_a_matter_goes_up_step_by_step_past_its_owner_to_the_head() -> None:
    def way(owner: str | None, place: dict[str, str]) -> list[str]:
        level, steps = 0, []
        while (found := next_rung(DEFAULT_LADDER, level, place, owner)) is not None:
            level = found[0].level
            steps.append(f"{found[0].name}:{found[1]}")
        return steps

    assert way("g-1", PLACE) == ["street:s-1", "district:centre", "head:centre"]
    assert way("water", PLACE) == ["street:s-1", "district:centre", "head:centre"]
    assert way("s-1", PLACE) == ["district:centre", "head:centre"]
    assert way("centre", PLACE) == ["head:centre"]
    assert way("water", {"centre": "centre"}) == ["district:centre", "head:centre"]


def test_a_policy_may_name_the_step_and_a_missing_one_means_the_next() -> None:
    assert next_rung(DEFAULT_LADDER, 0, PLACE, "g-1", "head") == (DEFAULT_LADDER[2], "centre")
    assert next_rung(DEFAULT_LADDER, 2, PLACE, "g-1", "street") is None  # it stands higher already
    assert next_rung(DEFAULT_LADDER, 0, {"centre": "centre"}, None, "street") == (DEFAULT_LADDER[1], "centre")
    assert next_rung(DEFAULT_LADDER, 0, PLACE, "g-1", "gone") == (DEFAULT_LADDER[0], "s-1")
    village = Rung(1, "village", "村社", "Village", "level:community")
    assert next_rung([village], 0, PLACE, "s-1") is None  # the street does not hand down to its village


def test_a_policy_that_names_clocks_leads_up_for_these_only() -> None:
    plain = Policy("plain", 60, 120, 600)
    assert plain.escalation_of("arrive") == Escalate("arrive")
    named = Policy("named", 60, 120, 600, calendar=OFFICE, escalate=(Escalate("ack", "street", 5, 60),))
    assert named.escalation_of("ack") == Escalate("ack", "street", 5, 60)
    assert named.escalation_of("resolve") is None
    assert Policy.from_snapshot(named.snapshot()) == named


# ---- the rota ----

START = datetime(2026, 6, 1, tzinfo=UTC)
shifts = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 20)).map(
        lambda span: Shift(
            "water",
            "Lin",
            "",
            START + timedelta(hours=span[0]),
            START + timedelta(hours=span[0] + span[1]),
        )
    ),
    max_size=8,
)


@given(shifts, st.integers(0, 47))
def test_a_moment_is_in_a_hole_exactly_when_nobody_is_on_duty(rota: list[Shift], hour: int) -> None:
    at = START + timedelta(hours=hour)
    found = holes(rota, START, START + timedelta(hours=48))
    assert any(begins <= at < ends for begins, ends in found) == (not on_duty(rota, at))
    assert all(one[1] < other[0] for one, other in pairwise(found))


def test_of_several_on_duty_the_first_is_called_first() -> None:
    end = START + timedelta(hours=8)
    rota = [Shift("water", "Wu", "", START, end, 2), Shift("water", "Lin", "", START, end, 1)]
    assert [shift.person for shift in on_duty(rota, START)] == ["Lin", "Wu"]
    assert on_duty(rota, end) == []


def test_a_storm_concerns_the_categories_that_its_patterns_mean() -> None:
    plan = Plan(("flood.*", "smoke.alarm"), 3)
    assert plan.concerns("flood.water_level")
    assert not plan.concerns("rain.intense")
    assert codes(("flood.*", "rain.*"), ["rain.intense", "smoke.alarm", "flood.a"]) == [
        "flood.a",
        "rain.intense",
    ]


# ---- the district's file ----

FULL = SMALL.replace(
    "routing:",
    """\
calendars:
  - {name: office, days: [mon, tue, wed, thu, fri], hours: ["09:00-12:00", "13:00-17:00"]}
ladder:
  - {name: village, name_zh: 村社, name_en: Village, unit: "level:community"}
  - {name: head, name_zh: 区长, name_en: Head, unit: "unit:centre", lead: true}
storm:
  categories: [flood.*]
  policies:
    - {name: drain, category: flood.*, acknowledge: 2m, arrive: 15m, resolve: 30m}
  rule: {categories: [rain.*], incidents: 5, within: 30m, quiet: 1h}
routing:
  - {category: rain.*, target: "level:street", place: [mill], during: office}""",
).replace(
    "name_zh: 水务, name_en: Water}",
    "name_zh: 水务, name_en: Water, hours: office, after_hours: east}",
).replace(
    "acknowledge: 5m, arrive: 15m, resolve: 1d}",
    "acknowledge: 5m, arrive: 15m, resolve: 1d, hours: office, escalate: [{clock: ack, to: head, after: 5m}]}",
)  # fmt: skip


def test_a_district_may_say_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / "district.yaml"
    file.write_text(FULL, encoding="utf-8")
    district = read_district(file)
    book = book_of(district)
    assert place_of(district, 0.5, 0.5) == {
        "centre": "centre",
        "street": "east",
        "community": "mill",
        "grid": "mill-1",
    }
    assert place_of(district, 9, 9) == {"centre": "centre"}
    assert decide(book, Matter("rain.intense", 2, place_of(district, 0.5, 0.5), DAY)).unit_code == "east"
    assert decide(book, Matter("flood.water_level", 2, {}, NIGHT)).unit_code == "east"
    assert district.policies[0].resolve.under(7 * 3600) == 7 * 3600


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("days: [mon,", "days: [mon, mon,", "expected each day once"),
        ('"09:00-12:00", "13:00-17:00"', '"13:00-17:00", "09:00-12:00"', "hours in order and apart"),
        ('"09:00-12:00"', '"12:00-09:00"', "expected hours of one day"),
        ("name: office", "name: unit", "choose another name"),
        ("during: office", "during: offfice", "no calendar 'offfice' (did you mean 'office'?)"),
        ("during: office", "during: office, outside: office", "never: within and outside"),
        ("place: [mill]", "place: [mil]", "no unit 'mil' (did you mean 'mill'?)"),
        ("after_hours: east", "after_hours: eats", "no unit 'eats' (did you mean 'east'?)"),
        ("hours: office, after_hours: east", "after_hours: east", "expected hours as well"),
        (
            "name_zh: 东街, name_en: East}",
            "name_zh: 东街, name_en: East, hours: office, after_hours: water}",
            "a routing loop: east → water → east",
        ),
        ("name: head", "name: village", "'village' already stands on line"),
        ("unit:centre", "unit:center", "no unit 'center' (did you mean 'centre'?)"),
        ("to: head", "to: heads", "no step of the ladder is called 'heads' (did you mean 'head'?)"),
        ("{clock: ack, to: head", "{clock: ack}, {clock: ack, to: head", "'ack' already stands"),
        ("resolve: 1d, hours: office", "resolve: 1d, hours: ofice", "no calendar 'ofice'"),
        ("arrive: 15m, resolve: 1d", "arrive: 20h, resolve: 1d", "under 'office', where a day is a working day"),
        ("categories: [rain.*]", "categories: [rian.*]", "no category is called 'rian.*'"),
        ("name: drain", "name: all", "is an ordinary policy's name"),
        (
            "  - {name: all,",
            "  - {name: grave, category: flood.*, min_severity: 3, acknowledge: 1h, arrive: 2h, resolve: 3h, hours: office}\n"
            "  - {name: all,",
            "overlaps",
        ),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_told(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in FULL
    found = faults_of(tmp_path, FULL.replace(old, new, 1))
    assert any(words in fault.message for fault in found), found


def test_overlapping_policies_are_told_with_who_wins_and_what_is_odd(tmp_path: Path) -> None:
    text = SMALL.replace(
        "  - {name: all,",
        "  - {name: grave, category: flood.*, min_severity: 4, acknowledge: 1m, arrive: 15m, resolve: 2d}\n"
        "  - {name: all,",
    )
    (fault,) = faults_of(tmp_path, text)
    assert fault.line == 13
    assert fault.message.startswith(
        "overlaps the one on line 12: flood.water_level has more time to resolve at severity 4 by 'grave'"
    )


def test_the_districts_of_the_documents_and_of_the_demo_are_sound(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "clocks.md").read_text(encoding="utf-8")
    file = tmp_path / "district.yaml"
    file.write_text(page.split("<!-- example -->\n```yaml\n")[1].split("```")[0], encoding="utf-8")
    for path in (file, root / "firmware_configs" / "districts" / "demo.yaml"):
        assert check_file(path, DAY) == []
