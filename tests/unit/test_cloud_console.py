"""The console's words, filters, drawing and buttons, without a server."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.auth.domain import ROLES, Account
from cloud.auth.roles import ALLOWED
from cloud.console import actions
from cloud.console.drawing import Projection, draw, place_labels, spread
from cloud.console.filters import STATE_CHOICES, ListFilter
from cloud.console.pages import SECURITY_HEADERS, safe_next
from cloud.console.texts import DEFAULT_LANGUAGE, LANGUAGES, Texts, texts
from cloud.district.domain import MapFeature, Unit
from cloud.sla.domain import CLOCK_NAMES
from cloud.tickets.domain import TRANSITIONS, Action, EventKind, State, allowed_actions
from cloud.tickets.schemas import Assignment, TicketDetail

CONSOLE = Path(__file__).parents[2] / "cloud" / "console"
TEMPLATES = sorted((CONSOLE / "templates").rglob("*.html"))
SOURCES = "".join(path.read_text(encoding="utf-8") for path in [*TEMPLATES, *sorted(CONSOLE.glob("*.py"))])
NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)


# ---- words ----


def test_chinese_is_what_everybody_gets_who_did_not_choose() -> None:
    assert DEFAULT_LANGUAGE == "zh-CN"
    assert texts("fr").language == "zh-CN"


def test_all_languages_have_the_same_texts_with_the_same_values() -> None:
    def shape(language: str) -> dict[str, set[str]]:
        return {
            key: {name for _, name, _, _ in Formatter().parse(text) if name}
            for key, text in texts(language).entries.items()
        }

    first, *others = map(shape, LANGUAGES)
    assert first
    for other in others:
        assert other == first


def test_no_text_is_empty_and_none_is_left_in_the_other_language() -> None:
    han = re.compile(r"[\u4e00-\u9fff]")
    for key, text in texts("zh-CN").entries.items():
        assert text.strip()
        assert han.search(text) or key in _WITHOUT_WORDS, key
    for key, text in texts("en").entries.items():
        assert text.strip()
        assert not han.search(text) or key == "language.other", key


#: Their Chinese has no Chinese in it.
_WITHOUT_WORDS = {
    "language.other",
    "account.who",
    "detail.by",
    "evidence.caption",
    "map.ticket",
    "map.device",
}


def test_every_state_event_action_clock_role_and_severity_has_its_words() -> None:
    needed = {
        *(f"state.{state.value}" for state in State),
        *(f"event.{kind.value}" for kind in EventKind),
        *(f"action.{action.value}" for action in Action if not TRANSITIONS[action].by_system),
        *(f"clock.{name}" for name in CLOCK_NAMES),
        *(f"role.{role}" for role in ROLES),
        *(f"severity.{level}" for level in range(1, 5)),
    }
    assert needed <= set(texts("en").entries)


def test_every_text_that_a_template_names_exists_and_every_one_that_exists_is_used() -> None:
    known = set(texts("en").entries)
    quoted = set(re.findall(r"""["']([a-z_]+(?:\.[a-z_0-9]+)+)["']""", SOURCES)) & known
    named = quoted | set(re.findall(r"""\bt\(["']([a-z_.0-9]+[a-z0-9])["']""", SOURCES))
    assert named <= known, sorted(named - known)
    families = set(re.findall(r"""["']([a-z_]+\.)["'] ~""", SOURCES)) | {"age.", "error."}
    unused = {key for key in known - named if not key.startswith(tuple(families))}
    assert not unused, sorted(unused)


class _BareText(HTMLParser):
    """Finds words that a person would read and that come from no catalogue."""

    read_aloud = ("title", "alt", "aria-label", "placeholder", "label")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        if re.search(r"[^\W\d_]", data):
            self.found.append(data.strip())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [
            f"{name}={value}"
            for name, value in attrs
            if name in self.read_aloud and re.search(r"\w", value or "")
        ]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_words_of_its_own(template: Path) -> None:
    source = template.read_text(encoding="utf-8")
    # These two blocks stand inside a tag of base.html, not between tags.
    source = re.sub(r"\{% block body_(class|data) %\}.*?\{% endblock %\}", "", source, flags=re.DOTALL)
    plain = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", source, flags=re.DOTALL)
    parser = _BareText()
    parser.feed(plain)
    assert parser.found == []


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_needs_an_inline_script_or_style(template: Path) -> None:
    source = template.read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", source)
    assert not re.search(r"<script(?![^>]*\ssrc=)", source)
    assert "http://" not in source
    assert "https://" not in source


def test_the_script_shows_no_words_of_its_own_and_loads_nothing_from_elsewhere() -> None:
    source = (CONSOLE / "static" / "console.js").read_text(encoding="utf-8")
    assert not re.search(
        r"https?://", source + (CONSOLE / "static" / "console.css").read_text(encoding="utf-8")
    )
    for dangerous in ("eval(", "new Function", "document.write", "insertAdjacentHTML", "outerHTML"):
        assert dangerous not in source
    offered = set(
        re.findall(r"data-([a-z-]+)=", (CONSOLE / "templates/overview.html").read_text(encoding="utf-8"))
    )
    used = {
        re.sub(r"[A-Z]", lambda match: "-" + match[0].lower(), name)
        for name in re.findall(r"\bwords\.([a-zA-Z]+)", source)
    }
    assert used <= offered


def test_a_page_lets_in_nothing_from_elsewhere() -> None:
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_instants_are_told_in_the_districts_time() -> None:
    t = texts("en")
    assert t.moment(NOW, NOW) == "12:00:00"
    assert t.moment(NOW - timedelta(hours=13), NOW) == "02-28 23:00"
    assert t.moment(NOW - timedelta(days=100), NOW) == "2025-11-21 12:00"


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [
        (0, "0 秒前", "0 s ago"),
        (59, "59 秒前", "59 s ago"),
        (60, "1 分钟前", "1 min ago"),
        (7300, "2 小时前", "2 h ago"),
        (200_000, "2 天前", "2 d ago"),
    ],
)
def test_ages_are_told_in_their_largest_unit(seconds: int, zh: str, en: str) -> None:
    at = NOW - timedelta(seconds=seconds)
    assert (texts("zh-CN").age(at, NOW), texts("en").age(at, NOW)) == (zh, en)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "00:00"), (271, "04:31"), (-271, "04:31"), (7471, "2:04:31"), (266_641, "3 d 02:04")],
)
def test_a_clock_counts_down_in_one_form(seconds: int, shown: str) -> None:
    assert texts("en").left(seconds) == shown


def test_a_name_is_taken_in_the_language_of_the_page() -> None:
    thing = {"unit_zh": "区水务局", "unit_en": "Water Bureau"}
    assert texts("zh-CN").named(thing, "unit") == "区水务局"
    assert texts("en").named(thing, "unit") == "Water Bureau"
    with pytest.raises(KeyError):
        Texts("en", {})("no.such")


# ---- filters ----


@given(
    st.dictionaries(st.sampled_from(["show", "category", "unit", "severity", "cursor"]), st.text(max_size=80))
)
def test_any_address_gives_a_filter_that_the_service_takes(query: dict[str, str]) -> None:
    chosen = ListFilter.read(query)
    chosen.tickets()
    assert ListFilter.read({}).query() == ""
    again = dict(pair.split("=") for pair in chosen.query().removeprefix("?").split("&") if pair)
    assert ListFilter.read(again).tickets() == chosen.tickets()


@pytest.mark.parametrize(("name", "state"), STATE_CHOICES)
def test_a_filter_by_state_shows_that_state(name: str, state: str) -> None:
    assert ListFilter.read({"show": name}).tickets().state == (State(state),)


def test_open_means_every_ticket_that_is_not_over() -> None:
    filters = ListFilter.read({"show": "open", "severity": "3", "unit": "yunxi"}).tickets()
    assert (filters.open, filters.state, filters.min_severity, filters.unit_code) == (True, (), 3, "yunxi")
    assert ListFilter.read({"show": "all"}).tickets().open is None
    assert ListFilter.read({"show": "overdue"}).tickets().overdue is True
    assert ListFilter.read({"show": "unassigned"}).tickets().unassigned is True


@pytest.mark.parametrize(
    ("target", "goes_to"),
    [
        ("/tickets/1?show=all", "/tickets/1?show=all"),
        ("", "/"),
        ("//elsewhere.example", "/"),
        ("/\\elsewhere.example", "/"),
        ("https://elsewhere.example", "/"),
        ("/a\nLocation: x", "/"),
        ("tickets", "/"),
    ],
)
def test_after_sign_in_one_goes_on_to_this_site_only(target: str, goes_to: str) -> None:
    assert safe_next(target) == goes_to


# ---- the drawing ----


def square(code: str, kind: str, parent: str | None, corner: tuple[float, float], size: float) -> Unit:
    x, y = corner
    ring = ((x, y), (x + size, y), (x + size, y + size), (x, y + size))
    return Unit(code, parent, kind, code, code, ring)  # type: ignore[arg-type]


UNITS = [
    Unit("centre", None, "centre", "中心", "Centre"),
    square("east", "street", "centre", (119.30, 26.07), 0.02),
    square("mill", "community", "east", (119.30, 26.07), 0.02),
    square("mill-1", "grid", "mill", (119.30, 26.07), 0.01),
    square("mill-2", "grid", "mill", (119.31, 26.07), 0.01),
    Unit("water", "centre", "department", "水务", "Water"),
]


def test_north_is_up_east_is_right_and_a_square_stays_square() -> None:
    projection = Projection.around([(119.30, 26.07), (119.34, 26.10)])
    west, east = projection.at(119.30, 26.08), projection.at(119.34, 26.08)
    low, high = projection.at(119.31, 26.07), projection.at(119.31, 26.10)
    assert east[0] > west[0]
    assert high[1] < low[1]
    assert 0 <= west[0] < east[0] <= 1000
    metres_x, metres_y = 0.04 * 111_320 * 0.8983, 0.03 * 110_800  # at 26° north
    assert (east[0] - west[0]) / (low[1] - high[1]) == pytest.approx(metres_x / metres_y, rel=0.01)


def test_the_drawing_has_each_unit_with_an_area_once_and_features_below() -> None:
    drawing = draw(UNITS, [MapFeature("river", "水", "River", ((119.30, 26.07), (119.32, 26.08)))])
    assert [len(drawing.streets), len(drawing.communities), len(drawing.grids)] == [1, 1, 2]
    assert drawing.grids[0].path.endswith("Z")
    assert not drawing.features[0].path.endswith("Z")
    assert draw([], []).view_box.startswith("0 0 1000 ")


def test_a_name_makes_room_for_a_device() -> None:
    drawing = draw(UNITS, [])
    community = drawing.communities[0]
    assert place_labels(drawing, [])[0].x == community.x
    moved = place_labels(drawing, [(community.x, community.y)])[0]
    assert (moved.x, moved.y) != (community.x, community.y)


@given(st.lists(st.sampled_from([(10.0, 10.0), (500.0, 300.0)]), max_size=60))
def test_markers_in_one_place_are_moved_apart(places: list[tuple[float, float]]) -> None:
    moved = spread(places, 20)
    assert len(set(moved)) == len(places)
    for index, one in enumerate(moved):
        for other in moved[:index]:
            assert (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2 > 18**2


# ---- buttons ----


def ticket(state: State, called: str | None = None) -> TicketDetail:
    called_in = [
        Assignment(
            unit_code=called,
            unit_zh="",
            unit_en="",
            kind="called",
            assigned_at=NOW,
            assigned_by="x",
            because="",
            ended_at=None,
        )
        for called in ([called] if called else [])
    ]
    return TicketDetail.model_construct(
        state=state,
        unit_code="water",
        grid_code="mill-1",
        actions=allowed_actions(state),
        assignments=tuple(called_in),
    )


def somebody(role: str, unit: str, *reach: str) -> Account:
    return Account(uuid.UUID(int=1), "somebody", role, unit, reach=frozenset({unit, *reach}))  # type: ignore[arg-type]


@pytest.mark.parametrize(("state", "role"), list(product(State, ROLES)))
def test_who_owns_a_ticket_gets_what_state_and_role_allow(state: State, role: str) -> None:
    shown = {button.action for button in actions.buttons(ticket(state), somebody(role, "water"))}
    allowed = {action for action in allowed_actions(state) if role in ALLOWED[action.value]}  # type: ignore[index]
    assert shown == allowed


def test_a_stranger_gets_no_buttons_and_a_viewer_none_at_all() -> None:
    assert actions.buttons(ticket(State.DISPATCHED), somebody("supervisor", "gas")) == []
    assert actions.buttons(ticket(State.DISPATCHED), somebody("viewer", "centre", "water", "mill-1")) == []


def test_the_street_may_call_onto_a_departments_ticket_and_a_called_unit_may_note() -> None:
    street = {
        one.action
        for one in actions.buttons(ticket(State.DISPATCHED), somebody("dispatcher", "east", "mill-1"))
    }
    assert Action.CALL in street
    assert Action.ACKNOWLEDGE not in street
    called = {
        one.action for one in actions.buttons(ticket(State.DISPATCHED, "gas"), somebody("handler", "gas"))
    }
    assert called == {Action.NOTE}
