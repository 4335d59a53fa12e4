"""A client's session: order of acknowledgements, window of messages, what survives a connection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.mqtt.frames import Frame, Pingreq, Puback, Publish, Subscribe, Unsubscribe
from gateway.mqtt.parser import Parser
from gateway.mqtt.session import Session


def opened(
    session: Session, *, kept: bool = False, receive_maximum: int = 100, largest: int = 10_000
) -> list[Frame]:
    """What goes out when a connection opens."""
    session.opened(kept=kept, version=5, receive_maximum=receive_maximum, largest=largest)
    return out(session)


def out(session: Session) -> list[Frame]:
    """What is to be sent."""
    parser = Parser()
    frames = parser.feed(session.take_output())
    assert parser.fault is None
    assert not session.has_output()
    return frames


def messages(frames: list[Frame]) -> list[Publish]:
    """The messages among packets."""
    return [frame for frame in frames if isinstance(frame, Publish)]


@given(st.permutations(range(1, 9)), st.integers(1, 8))
def test_acknowledgements_go_out_in_the_order_of_arrival(order: list[int], split: int) -> None:
    session = Session()
    opened(session)
    session.came(range(1, 9))
    told: list[Frame] = []
    for first in range(0, 8, split):
        session.done_with(order[first : first + split])
        told += out(session)
        done = set(order[: first + split])
        ready = next((number - 1 for number in range(1, 9) if number not in done), 8)
        assert told == [Puback(number) for number in range(1, ready + 1)]
    assert told == [Puback(number) for number in range(1, 9)]


def test_a_message_acknowledged_twice_is_told_once() -> None:
    session = Session()
    opened(session)
    session.came([5])
    session.done_with([5])
    session.done_with([5])
    session.came([6])
    session.done_with([6, 5])
    assert out(session) == [Puback(5), Puback(6)]


def test_nothing_of_an_earlier_connection_is_acknowledged() -> None:
    session = Session()
    opened(session)
    session.came([1, 2])
    assert opened(session, kept=True) == []
    session.done_with([1, 2])
    assert out(session) == []


def test_no_more_is_under_way_than_the_broker_takes() -> None:
    session = Session()
    opened(session, receive_maximum=2)
    assert all(session.publish("a", bytes([number])) for number in range(5))
    first = messages(out(session))
    assert [message.payload for message in first] == [b"\0", b"\1"]
    session.acknowledged(first[0].packet_id)
    assert [message.payload for message in messages(out(session))] == [b"\2"]
    session.acknowledged(9999)
    assert out(session) == [], "an answer to nothing makes no room"
    assert session.under_way() == 4


def test_messages_wait_only_as_long_as_there_is_room_and_only_if_the_broker_takes_their_size() -> None:
    session = Session(room=3)
    opened(session, receive_maximum=1, largest=1000)
    assert not session.publish("a", b"x" * 1000)
    assert [session.publish("a", b"") for _ in range(4)] == [True, True, True, False]


def test_messages_without_an_answer_go_again_as_repeats_where_the_session_was_kept() -> None:
    session = Session()
    opened(session, receive_maximum=3)
    for number in range(4):
        session.publish("a", bytes([number]))
    first = messages(out(session))
    session.acknowledged(first[0].packet_id)
    out(session)
    again = messages(opened(session, kept=True, receive_maximum=3))
    assert [(message.payload, message.dup) for message in again] == [
        (b"\1", True),
        (b"\2", True),
        (b"\3", True),
    ]
    assert [message.packet_id for message in again[:2]] == [message.packet_id for message in first[1:]]


def test_a_broker_that_takes_fewer_than_before_is_not_given_more() -> None:
    session = Session()
    opened(session, receive_maximum=5)
    for number in range(5):
        session.publish("a", bytes([number]))
    out(session)
    again = messages(opened(session, kept=True, receive_maximum=2))
    assert [message.payload for message in again] == [b"\0", b"\1"]
    seen = []
    while again:
        seen.append(again[0].payload)
        session.acknowledged(again[0].packet_id)
        again = again[1:] + messages(out(session))
    assert seen == [b"\0", b"\1", b"\2", b"\3", b"\4"]


def test_messages_without_an_answer_are_new_ones_where_the_session_was_lost() -> None:
    session = Session()
    opened(session, receive_maximum=2)
    for number in range(3):
        session.publish("a", bytes([number]))
    out(session)
    again = messages(opened(session, kept=False, receive_maximum=2))
    assert [(message.payload, message.dup) for message in again] == [(b"\0", False), (b"\1", False)]


@given(st.lists(st.sampled_from(["publish", "acknowledge", "subscribe", "reconnect", "lose"]), max_size=60))
def test_ids_are_never_used_twice_and_every_message_is_answered_in_the_end(steps: list[str]) -> None:
    session = Session()
    opened(session, receive_maximum=4)
    broker: dict[int, Publish] = {}
    asked: set[int] = set()
    published: list[bytes] = []
    answered: list[bytes] = []

    def deliver(frames: list[Frame]) -> None:
        for frame in frames:
            if isinstance(frame, Publish):
                assert frame.packet_id not in asked
                assert frame.packet_id not in broker or frame.dup
                broker[frame.packet_id] = frame
            elif isinstance(frame, Subscribe):
                assert frame.packet_id not in asked | broker.keys()
                asked.add(frame.packet_id)
        assert len(broker) <= 4

    def acknowledge() -> None:
        packet_id = next(iter(broker))
        answered.append(broker.pop(packet_id).payload)
        session.acknowledged(packet_id)
        deliver(out(session))

    for number, step in enumerate(steps):
        if step == "publish":
            published.append(str(number).encode())
            assert session.publish("a", published[-1])
            deliver(out(session))
        elif step == "acknowledge" and broker:
            acknowledge()
        elif step == "subscribe":
            session.subscribe(["a/#"])
            deliver(out(session))
        elif step in {"reconnect", "lose"}:
            broker.clear()
            asked.clear()
            deliver(opened(session, kept=step == "reconnect", receive_maximum=4))
    while broker:
        acknowledge()
    assert answered == published


def test_many_filters_are_asked_for_in_several_packets() -> None:
    session = Session()
    opened(session)
    session.subscribe(f"dt/v1/site-{number}/+/up/#" for number in range(250))
    asked = [frame for frame in out(session) if isinstance(frame, Subscribe)]
    assert [len(frame.filters) for frame in asked] == [100, 100, 50]
    assert {options for frame in asked for _, options in frame.filters} == {0x11}
    assert session.answered(asked[2].packet_id) == tuple(topic for topic, _ in asked[2].filters)
    assert session.answered(asked[2].packet_id) == (), "once"
    session.unsubscribe(["a/#"])
    session.say(Pingreq())
    gone, ping = out(session)
    assert isinstance(gone, Unsubscribe)
    assert gone.filters == ("a/#",)
    assert ping == Pingreq()
