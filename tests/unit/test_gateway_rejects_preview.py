"""A person can look at any bytes, and no bytes can do anything to the person's terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.wire.codec import encode_packet, encode_status
from common.wire.messages import Abandoned, Events, Observation, Readings, Series, Status
from common.wire.topics import Address
from gateway.rejects.preview import content, preview, printable

BOX = Address("kiln", "box-0")


@given(
    st.one_of(
        st.binary(max_size=400), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
    )
)
def test_only_printable_characters_reach_the_terminal(payload: bytes) -> None:
    assert all(line.isprintable() for line in preview(payload, 300))
    assert content(BOX.up("readings"), payload).isprintable()


def test_an_escape_sequence_is_shown_and_not_obeyed() -> None:
    assert preview(b'{"note": "\x1b[2Jgone"}', 100) == ['{"note": "\\x1b[2Jgone"}']
    assert printable("a\u202eb\x07") == "a\\u202eb\\x07"


def test_text_is_shown_as_text_and_anything_else_as_bytes_beside_text() -> None:
    assert preview("烟雾\nsmoke".encode(), 100) == ["烟雾", "smoke"]
    assert preview(bytes(range(250, 256)) + b"MZ", 100) == [
        "00000000  fa fb fc fd fe ff 4d 5a                          ......MZ"
    ]
    assert preview(b"", 10) == ["(empty)"]


def test_what_is_cut_is_said() -> None:
    assert preview(b"a" * 50, 20) == ["a" * 20, "… 30 bytes more"]


def test_what_a_message_says_is_told_in_a_line() -> None:
    at = 1_790_000_000_000
    readings = encode_packet(BOX, 9, 3, at, Readings([Series("s1", "temperature", [at, at + 1], [1.0, 2.0])]))
    assert content(BOX.up("readings"), readings) == "packet 9-3 with 2 readings of s1/temperature"
    seen = Observation(
        observation_id="0" * 8 + "-0000-0000-0000-" + "0" * 12,
        phase="start",
        revision=0,
        category="smoke.alarm",
        source="rule:smoke",
        sensor="s1",
        started_at=at,
        at=at,
        severity=3,
    )
    events = encode_packet(BOX, 9, 4, at, Events([seen]))
    assert content(BOX.up("events"), events) == "packet 9-4 with 1 observations: smoke.alarm (start)"
    lost = encode_packet(BOX, 9, 5, at, Abandoned("8", [(1, 7)], "no room\x1b[0m"))
    assert content(BOX.up("events"), lost) == "packet 9-5 with 1 ranges of epoch 8 given up: no room\\x1b[0m"
    status = encode_status(BOX, at, Status("online", at, "0.1", "9", {}))
    assert content(BOX.up("status"), status) == "status online of kiln/box-0, version 0.1"
    assert content(BOX.up("readings"), b"\x00").startswith("cannot be read: ")
    assert content("some/other/topic", b"1").startswith("cannot be read: ")
