"""Markers of the map, which no template escapes."""

from __future__ import annotations

import uuid
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.console.marking import device_markers, ticket_markers
from cloud.console.service import Marker
from cloud.console.texts import LANGUAGES, texts

#: What XML cannot say at all, and what its readers make one line end of.
_WORDS = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff\u2028\u2029")
)
CHOSEN = uuid.UUID(int=7)


def ticket(number: int, category: str = "水位") -> Marker:
    row = {
        "ticket_id": uuid.UUID(int=number),
        "number": f"DT-{number}",
        "severity": number % 4 + 1,
        "state": "open",
        "category_zh": category,
        "category_en": category,
    }
    return Marker(row, 10.5 * number, 3.0)


@given(_WORDS, _WORDS)
def test_what_people_wrote_stays_text(category: str, query: str) -> None:
    t = texts(LANGUAGES[0])
    drawn = ElementTree.fromstring(f"<g>{ticket_markers([ticket(1, category)], t, f'?{query}', None)}</g>")  # noqa: S314
    (link,) = drawn
    assert link.get("href") == f"/tickets/{uuid.UUID(int=1)}?{query}"
    assert [part.tag for part in link] == ["title", "circle", "circle", "text"]
    assert category in (link[0].text or "")
    row = {"online": True, "title_zh": category, "title_en": category}
    (device,) = ElementTree.fromstring(f"<g>{device_markers([Marker(row, 1, 2)], t)}</g>")  # noqa: S314
    assert [part.tag for part in device] == ["title"]
    assert category in (device[0].text or "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_first_of_the_list_lies_above_and_the_chosen_one_is_marked(language: str) -> None:
    markers = [ticket(number) for number in (7, 8)]
    text = ticket_markers(markers, texts(language), "?show=all", CHOSEN)
    below, above = ElementTree.fromstring(f"<g>{text}</g>")  # noqa: S314
    assert (below.get("class"), above.get("class")) == ("marker s1", "marker s4 chosen")
    assert above.get("data-key") == f"marker-{CHOSEN}"
    assert (above[1].get("cx"), above[1].get("cy")) == ("73.5", "3.0")


def test_a_device_that_is_away_is_drawn_so() -> None:
    rows = [{"online": online, "title_zh": "盒", "title_en": "box"} for online in (True, False)]
    drawn = device_markers([Marker(row, 0, 0) for row in rows], texts("en"))
    first, second = ElementTree.fromstring(f"<g>{drawn}</g>")  # noqa: S314
    assert (first.get("class"), second.get("class")) == ("device", "device off")
