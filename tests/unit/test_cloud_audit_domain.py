"""The chain of a history: whatever is changed, taken away or put elsewhere is found."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cloud.audit.domain import (
    GENESIS,
    Anchor,
    Head,
    Line,
    anchor_fault,
    anchor_hash,
    canonical,
    exported,
    first_fault,
    link,
    parse,
)

TICKET = uuid.UUID(int=7)
AT = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Line, bytes]]:
    previous, chain = GENESIS, []
    for n in range(1, draw(st.integers(2, 7)) + 1):
        line = Line(
            TICKET,
            n,
            AT + timedelta(microseconds=draw(st.integers(0, 10**12))),
            draw(st.sampled_from(["opened", "dispatched", "noted"])),
            draw(TEXT),
            draw(TEXT),
            draw(st.none() | st.just("open")),
            draw(st.sampled_from(["open", "closed"])),
            draw(TEXT),
            draw(st.dictionaries(TEXT, JSON, max_size=3)),
        )
        previous = link(previous, line)
        chain.append((line, previous))
    return chain


@given(histories())
def test_a_history_as_it_was_written_is_whole(chain: list[tuple[Line, bytes]]) -> None:
    assert first_fault(chain, len(chain)) == ""


CHANGES: dict[str, Callable[[Line], Any]] = {
    "ticket_id": lambda _: uuid.UUID(int=8),
    "at": lambda line: line.at + timedelta(microseconds=1),
    "kind": lambda line: line.kind + "x",
    "actor_id": lambda line: line.actor_id + "x",
    "actor_name": lambda line: line.actor_name + " ",
    "from_state": lambda _: "void",
    "to_state": lambda _: "void",
    "note": lambda line: line.note + ".",
    "detail": lambda line: {**line.detail, "more": len(line.detail)},
}


@given(histories(), st.data())
def test_any_single_change_is_named_by_its_line(chain: list[tuple[Line, bytes]], data: st.DataObject) -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Line)} - {"n"}
    place = data.draw(st.integers(0, len(chain) - 1))
    name = data.draw(st.sampled_from(sorted(CHANGES)))
    line, stored = chain[place]
    changed: dict[str, Any] = {name: CHANGES[name](line)}
    broken = [*chain[:place], (dataclasses.replace(line, **changed), stored), *chain[place + 1 :]]
    assert first_fault(broken, len(chain)).startswith(f"line {place + 1} (")


@given(histories(), st.data())
def test_any_line_taken_away_is_named(chain: list[tuple[Line, bytes]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(chain) - 1))
    left = [*chain[:place], *chain[place + 1 :]]
    fault = first_fault(left, len(chain))
    assert fault.startswith(f"line {place + 1} is missing" if place + 1 < len(chain) else "it ends with line")
    # And numbering the rest anew helps nobody.
    renumbered = [(dataclasses.replace(line, n=n), stored) for n, (line, stored) in enumerate(left, start=1)]
    assert first_fault(renumbered, len(chain))


@given(histories(), st.data())
def test_any_two_lines_that_changed_places_are_named(
    chain: list[tuple[Line, bytes]], data: st.DataObject
) -> None:
    one = data.draw(st.integers(0, len(chain) - 2))
    other = data.draw(st.integers(one + 1, len(chain) - 1))
    swapped = list(chain)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    assert first_fault(swapped, len(chain)).startswith(f"line {one + 1} is missing")
    # Contents exchanged under their old numbers: the same history word for word is no change.
    (a, hash_a), (b, hash_b) = chain[one], chain[other]
    exchanged = list(chain)
    exchanged[one] = (dataclasses.replace(b, n=a.n), hash_a)
    exchanged[other] = (dataclasses.replace(a, n=b.n), hash_b)
    if dataclasses.replace(b, n=a.n) != a:
        assert first_fault(exchanged, len(chain)).startswith(f"line {one + 1} (")


@given(histories(), st.data())
def test_a_changed_hash_is_found_even_where_the_line_fits_it(
    chain: list[tuple[Line, bytes]], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(chain) - 2))
    line, _ = chain[place]
    changed = dataclasses.replace(line, note=line.note + "!")
    before = chain[place - 1][1] if place else GENESIS
    broken = [*chain[:place], (changed, link(before, changed)), *chain[place + 1 :]]
    assert first_fault(broken, len(chain)).startswith(f"line {place + 2} (")


@given(JSON)
def test_a_value_has_one_text_however_it_was_written(value: object) -> None:
    text = canonical(value)
    assert canonical(parse(text)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (1e-7, "0.0000001"),
        (1e22, "10000000000000000000000"),
        (Decimal("0.10"), "0.1"),
        (100, "100"),
        (True, "true"),
        ({"é": 1, "a": [None], "A": "\n\x1f\x7f“"}, '{"A":"\\n\\u001f\x7f“","a":[null],"é":1}'),
    ],
)
def test_the_text_of_a_value(value: object, text: str) -> None:
    assert canonical(value) == text


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="datetime"):
        canonical(AT)


def anchor(heads: list[Head], previous: bytes = GENESIS, number: int = 1) -> Anchor:
    return Anchor(number, AT, len(heads), anchor_hash(previous, AT, heads))


def test_an_anchor_holds_its_time_its_heads_and_all_anchors_before() -> None:
    heads = [Head(uuid.UUID(int=n), n, hashlib.sha256(bytes([n])).digest()) for n in range(1, 4)]
    made = anchor(heads)
    assert anchor_fault(made, 1, GENESIS, heads) == ""
    assert anchor_fault(anchor([]), 1, GENESIS, []) == ""
    assert "missing" in anchor_fault(anchor(heads, number=2), 1, GENESIS, heads)
    assert "names 3" in anchor_fault(made, 1, GENESIS, heads[:2])
    changed = [*heads[:2], dataclasses.replace(heads[2], n=9)]
    assert "not what was written" in anchor_fault(made, 1, GENESIS, changed)
    assert anchor_fault(made, 1, hashlib.sha256(b"another").digest(), heads)
    later = dataclasses.replace(made, at=AT + timedelta(microseconds=1))
    assert anchor_fault(later, 1, GENESIS, heads)
    assert made.hash.hex() in exported(made)
