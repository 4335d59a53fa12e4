"""Entity tags: what replaces something, and what is refused before anything is read or written."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.errors import PreconditionRequiredError, StaleVersionError
from cloud.etags import ANY_STATE, IfMatch, etag_of
from common.runtime.errors import InvalidError


@given(st.dictionaries(st.text(), st.integers() | st.text(), min_size=2))
def test_a_tag_names_what_is_said_in_whatever_order(said: dict[str, object]) -> None:
    tag = etag_of(said)
    assert etag_of(dict(reversed(said.items()))) == tag
    assert IfMatch.read(tag) == IfMatch(frozenset({tag}))
    first = next(iter(said))
    assert (
        etag_of(said | {first: "something else entirely"}) != tag or said[first] == "something else entirely"
    )


@given(st.lists(st.text(string.ascii_letters + string.digits + "-", min_size=1), min_size=1))
def test_any_of_several_tags_will_do(names: list[str]) -> None:
    asked = IfMatch.read(" , ".join(f'"{name}"' for name in names))
    for name in names:
        asked.check(f'"{name}"')
    with pytest.raises(StaleVersionError, match='expected If-Match to be "of today"'):
        asked.check('"of today"')


def test_a_star_is_any_state_and_a_weak_tag_is_none() -> None:
    assert IfMatch.read(" * ") == ANY_STATE
    ANY_STATE.check('"1"')
    with pytest.raises(StaleVersionError):
        IfMatch.read('W/"1"').check('"1"')


def test_who_does_not_say_what_they_read_is_asked_for_it() -> None:
    with pytest.raises(PreconditionRequiredError) as refused:
        IfMatch.read(None)
    assert refused.value.code == "request.no_if_match"


@pytest.mark.parametrize(
    "header", ["", "1", "yesterday", '"', '"a" "b"', '"a",', ',"a"', '"a b', 'w/"a"', '"\x00"']
)
def test_what_is_no_tag_is_refused(header: str) -> None:
    with pytest.raises(InvalidError) as refused:
        IfMatch.read(header)
    assert refused.value.code == "request.wrong_etag"
