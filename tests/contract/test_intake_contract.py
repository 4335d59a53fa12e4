"""What every intake must do, shown by each of them against the real broker, over TLS."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.config import BrokerAddress
from local.broker import Broker
from tests.conftest import Credential
from tests.fixtures.gateway_intakes import INTAKES, Rig, take, texts
from tests.fixtures.tcp_proxy import TcpProxy
from tests.integration.gateway_rig import eventually

pytestmark = pytest.mark.services


@pytest.fixture(params=sorted(INTAKES))
def kind(request: pytest.FixtureRequest) -> str:
    """Which intake."""
    return str(request.param)


@pytest.fixture
def rig(kind: str, broker: Broker, gateway_credential: Credential) -> Iterator[Rig]:
    """A rig of this test alone."""
    with TcpProxy(broker.port) as proxy:
        made = Rig(kind, broker, gateway_credential, proxy)
        yield made
        made.close()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that this test may kill."""
    with Broker(tmp_path / "own-broker") as running:
        yield running


@pytest.fixture
def rig_of_own(kind: str, own_broker: Broker) -> Iterator[Rig]:
    """A rig with a broker of its own."""
    credential = Credential("gateway", secrets.token_urlsafe(16))
    own_broker.add_gateway(credential.username, credential.password)
    with TcpProxy(own_broker.port) as proxy:
        made = Rig(kind, own_broker, credential, proxy)
        yield made
        made.close()


def test_messages_come_in_order_with_topic_size_and_time(rig: Rig) -> None:
    intake = rig.intake()
    before = time.time_ns() // 1_000_000
    rig.say("one", "two", "three")
    taken = take(intake, 3)
    assert texts(taken) == ["one", "two", "three"]
    raw = taken[0].raw
    assert (raw.topic, raw.size, raw.retain) == (rig.box.up("readings"), 3, False)
    assert before <= raw.received_at <= time.time_ns() // 1_000_000


def test_what_is_not_acknowledged_comes_again_to_the_successor(rig: Rig) -> None:
    first = rig.intake()
    rig.say("one", "two", "three")
    taken = take(first, 3)
    first.acknowledge(taken[:1])
    rig.settle(first)
    first.close()
    assert texts(take(rig.intake(), 2)) == ["two", "three"]


def test_what_is_said_while_nobody_listens_waits_in_the_session(rig: Rig) -> None:
    rig.intake().close()
    rig.say("meanwhile")
    assert texts(take(rig.intake(), 1)) == ["meanwhile"]


def test_no_more_than_the_receive_maximum_comes_without_an_acknowledgement(rig: Rig) -> None:
    intake = rig.intake(receive_maximum=10)
    rig.say(*[str(number) for number in range(30)])
    eventually(lambda: intake.waiting() == 10)
    time.sleep(1.0)
    assert intake.waiting() == 10
    seen = []
    for _ in range(3):
        taken = take(intake, 10)
        seen += texts(taken)
        intake.acknowledge(taken)
    assert seen == [str(number) for number in range(30)]


def test_an_acknowledgement_never_reaches_a_later_connection(rig: Rig) -> None:
    intake = rig.intake(receive_maximum=10)
    rig.say(*[str(number) for number in range(10)])
    old = take(intake, 10)
    rig.proxy.cut()
    eventually(lambda: intake.waiting() == 10)
    new = take(intake, 10)
    assert {d.message_id for d in old} & {d.message_id for d in new}, "message ids are used again"
    intake.acknowledge(old)
    rig.say("eleven")
    time.sleep(0.7)
    assert intake.waiting() == 0, "the window is still full: the old acknowledgements went nowhere"
    intake.acknowledge(new)
    assert texts(take(intake, 1)) == ["eleven"]


def test_after_a_cut_connection_nothing_said_meanwhile_is_missing(rig: Rig) -> None:
    intake = rig.intake()
    rig.say("acknowledged", "in hand")
    before = take(intake, 2)
    intake.acknowledge(before[:1])
    rig.settle(intake)
    rig.proxy.cut()
    rig.say("meanwhile")
    eventually(lambda: intake.waiting() == 2)
    assert texts(take(intake, 2)) == ["in hand", "meanwhile"]


def test_what_finds_no_room_waits_with_the_broker(rig: Rig) -> None:
    size, room = 200_000, 1_000_000
    intake = rig.intake(queue_bytes=room, receive_maximum=100)
    said = [f"{number:03d}".ljust(size, ".") for number in range(20)]
    rig.say(*said)
    most = 0
    eventually(lambda: intake.waiting() * size >= room)
    for _ in range(10):
        time.sleep(0.05)
        most = max(most, intake.waiting())
    assert most * size <= room + 3 * size, "no more is taken than there is room for, and what was on its way"
    seen: dict[str, int] = {}

    def all_seen() -> bool:
        taken = intake.poll(100, 0.2)
        seen.update(dict.fromkeys(texts(taken), 1))
        intake.acknowledge(taken)
        return len(seen) == len(said)

    eventually(all_seen)
    assert set(seen) == set(said)


def test_a_killed_broker_that_kept_nothing_is_subscribed_to_anew(own_broker: Broker, rig_of_own: Rig) -> None:
    changes: list[bool] = []
    intake = rig_of_own.intake(on_connection=changes.append)
    rig_of_own.say("before")
    take(intake, 1)
    own_broker.kill(delete_persistence=True)
    eventually(lambda: not intake.is_connected())
    assert not intake.publish(rig_of_own.box.down("receipt"), b"nobody there")
    own_broker.start()
    eventually(intake.is_connected, seconds=30)
    time.sleep(0.5)
    eventually(rig_of_own.is_box_connected, seconds=30)
    rig_of_own.say("after")
    (delivery,) = take(intake, 1, seconds=30)
    assert texts([delivery]) == ["after"]
    intake.acknowledge([delivery])
    assert intake.publish(rig_of_own.box.down("receipt"), b"for the new one")
    eventually(lambda: [message.payload for message in rig_of_own.heard] == [b"for the new one"])
    assert changes == [True, False, True]
    assert not intake.has_ended()


def test_a_broker_that_restarts_in_order_has_kept_what_was_not_acknowledged(
    own_broker: Broker, rig_of_own: Rig
) -> None:
    intake = rig_of_own.intake()
    rig_of_own.say("acknowledged", "in hand")
    intake.acknowledge(take(intake, 2)[:1])
    rig_of_own.settle(intake)
    own_broker.restart()
    assert texts(take(intake, 1, seconds=30)) == ["in hand"]


def test_receipts_reach_the_box(rig: Rig) -> None:
    intake = rig.intake()
    assert intake.publish(rig.box.down("receipt"), b"well received")
    eventually(lambda: rig.receipts() == [b"well received"])


def test_nothing_is_published_without_a_connection(rig: Rig) -> None:
    intake = rig.intake(started=False)
    assert not intake.publish(rig.box.down("receipt"), b"lost")
    intake.start()
    eventually(intake.is_connected)
    rig.settle(intake)
    assert rig.receipts() == [], "and not afterwards either: a newer receipt follows"


def test_a_successor_ends_its_predecessor(rig: Rig) -> None:
    first = rig.intake()
    second = rig.intake()
    eventually(first.has_ended)
    assert not first.has_died()
    rig.say("for the second")
    assert texts(take(second, 1)) == ["for the second"]
    assert not second.has_ended()


def test_an_intake_that_may_not_connect_again_gives_up(rig: Rig) -> None:
    allowed = [True]
    intake = rig.intake(may_connect=lambda: allowed[0])
    allowed[0] = False
    rig.proxy.cut()
    eventually(intake.has_ended)
    assert not intake.has_died()
    time.sleep(1.5)
    assert not intake.is_connected()


def test_sites_may_come_and_go_while_connected(rig: Rig) -> None:
    intake = rig.intake()
    intake.listen_to(frozenset({"elsewhere"}))
    rig.settle(intake)
    rig.say("unheard")
    assert intake.poll(10, 1.0) == []
    intake.listen_to(frozenset({"elsewhere", rig.site}))
    rig.settle(intake)
    rig.say("heard")
    assert texts(take(intake, 1)) == ["heard"]


def test_retained_messages_come_marked_and_only_to_a_new_session(rig: Rig) -> None:
    rig.say("kept", retain=True)
    first = rig.intake()
    (delivery,) = take(first, 1)
    assert delivery.raw.retain
    first.acknowledge([delivery])
    rig.settle(first)
    first.close()
    assert rig.intake().poll(10, 1.0) == []
    rig.say("", retain=True)  # leave nothing behind


def test_an_oversized_message_is_cut_but_its_size_is_known(rig: Rig) -> None:
    intake = rig.intake()
    rig.say("x" * 600_000)
    (delivery,) = take(intake, 1)
    assert (delivery.raw.size, len(delivery.raw.payload)) == (600_000, 4096)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda right: BrokerAddress(right.host, right.port, True, right.username, "wrong", right.ca_file),
        lambda right: BrokerAddress(right.host, right.port, True, right.username, right.password, None),
        lambda right: BrokerAddress(right.host, 1, True, right.username, right.password, right.ca_file),
    ],
    ids=["wrong password", "unknown authority", "nobody there"],
)
def test_a_broker_that_cannot_be_used_is_waited_for(
    rig: Rig, wrong: Callable[[BrokerAddress], BrokerAddress]
) -> None:
    intake = rig.intake(started=False, address=wrong(rig.address))
    intake.start()
    time.sleep(1.5)
    assert not intake.is_connected()
    assert not intake.has_ended()


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"], ids=["missing", "empty", "damaged"])
def test_a_certificate_that_cannot_be_read_yet_is_said_and_waited_for(
    rig: Rig, tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    right = rig.address
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)
    address = BrokerAddress(right.host, right.port, True, right.username, right.password, ca_file)
    intake = rig.intake(started=False, address=address)
    intake.start()
    said = ""

    def is_said() -> bool:
        nonlocal said
        said += "".join(capfd.readouterr())
        return str(ca_file) in said

    eventually(is_said)
    assert "DRUMTOWER_CA_FILE" in said
    assert not intake.is_connected()
    assert not intake.has_ended()
    assert right.ca_file is not None
    shutil.copy(right.ca_file, ca_file)
    eventually(intake.is_connected)
    rig.say("at last")
    assert texts(take(intake, 1)) == ["at last"]


def test_an_intake_that_waits_for_a_certificate_closes_and_gives_up_as_any_other(
    rig: Rig, tmp_path: Path
) -> None:
    right, allowed = rig.address, [True]
    nowhere = BrokerAddress(right.host, right.port, True, right.username, right.password, tmp_path / "ca.pem")
    closed = rig.intake(started=False, address=nowhere)
    closed.start()
    closed.close()
    replaced = rig.intake(started=False, address=nowhere, may_connect=lambda: allowed[0])
    replaced.start()
    time.sleep(0.3)
    assert not replaced.has_ended()
    allowed[0] = False
    eventually(replaced.has_ended)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_intake_that_dies_of_a_fault_keeps_nobody_waiting(rig: Rig) -> None:
    def fail(connected: object) -> None:
        if connected:
            raise RuntimeError("a fault of ours")

    intake = rig.intake(started=False, on_connection=fail)
    assert not intake.has_ended()
    assert not intake.has_died()
    intake.start()
    eventually(intake.has_ended)
    assert intake.has_died()
    intake.close()
    assert not intake.is_connected()


def test_an_intake_closes_without_ever_having_connected(rig: Rig) -> None:
    rig.intake(started=False).close()
    started = rig.intake(started=False, address=BrokerAddress("127.0.0.1", 1, False, "u", "p", None))
    started.start()
    started.close()
    assert not started.is_connected()


def test_quality_of_service_0_comes_in_and_needs_no_acknowledgement(rig: Rig) -> None:
    intake = rig.intake(receive_maximum=10)
    rig.say(*[str(number) for number in range(18)], qos=0)
    taken = take(intake, 18)
    assert texts(taken) == [str(number) for number in range(18)]
    assert {delivery.qos for delivery in taken} == {0}
    intake.acknowledge(taken)
    rig.say("at least once")
    assert texts(take(intake, 1)) == ["at least once"]
