"""No message ends the gateway: what cannot be stored becomes a reject, and its neighbours go in."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.runtime.stop import Stop
from common.wire.codec import MAX_PACKET_BYTES, Data, encode_packet, encode_status
from common.wire.messages import Abandoned, Events, Evidence, Observation, Readings, Status
from common.wire.topics import Address
from gateway import transaction
from gateway.decode import Decoded, Decoder, RawMessage, Rejected
from gateway.fleet import repo as fleet
from gateway.lease import LeaseKeeper
from gateway.metrics_catalogue import Metric, catalogue
from gateway.rejects.retry import retry
from gateway.store import Limits, Store
from tests.integration.gateway_rig import now_ms, readings, register, rows

pytestmark = pytest.mark.services

BOX, OTHER = Address("kiln", "box-0"), Address("kiln", "box-1")
AT = now_ms()
DECODER = Decoder()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store of three boxes under a lease."""
    register(database_url, "kiln", "box-0", "box-1", "box-2")
    lease = LeaseKeeper(database_url, "default", "test").try_acquire()
    assert lease is not None
    made = Store(
        database_url, "default", lease.fencing, metrics=catalogue(), stop=Stop(), limits=Limits(2**45, 2**45)
    )
    yield made
    made.close()
    lease.release()


def decoded(payload: bytes, kind: str = "readings", address: Address = BOX) -> Decoded:
    """Whatever some bytes are."""
    return DECODER.decode(RawMessage(address.up(kind), payload, False, now_ms(), len(payload)))


def good(seq: int, address: Address = OTHER) -> Decoded:
    """A packet with nothing wrong."""
    return decoded(encode_packet(address, 7, seq, now_ms(), readings(float(seq))), address=address)


def big_packet(metric: str) -> bytes:
    """A packet near the largest size, whose whole numbers would grow by two bytes each if written again."""
    series = {"sensor": "s1", "metric": metric, "at": [AT] * 4000, "value": [1] * 4000}
    data = {"series": [dict(series, sensor=f"s{number}") for number in range(8)]}
    envelope = json.loads(encode_packet(BOX, 9, 1, AT, readings(1.0)))
    payload = json.dumps(envelope | {"data": data}, separators=(",", ":")).encode()
    assert 0.9 * MAX_PACKET_BYTES < len(payload) <= MAX_PACKET_BYTES
    return payload


def test_a_reject_keeps_a_large_packet_as_it_came(store: Store, database_url: str) -> None:
    payload = big_packet("phlogiston")
    result = store.commit([decoded(payload), good(1)])
    assert (result.packets, result.rejects) == (2, {"unknown_metric": 1})
    assert rows(database_url, "SELECT payload = %s, series FROM reject", payload) == [
        (True, [f"s{number}/phlogiston" for number in range(8)])
    ]
    assert rows(database_url, "SELECT count(*)::int FROM reading") == [(1,)]


def test_only_the_rejected_series_of_a_packet_are_taken_in_later(store: Store, database_url: str) -> None:
    payload = encode_packet(
        BOX,
        9,
        1,
        AT,
        Readings(
            [
                *readings(1.0).series,
                *readings(7.0, metric="phlogiston").series,
                *readings(8.0, metric="aether").series,
            ]
        ),
    )
    store.commit([decoded(payload)])
    ((reject_id,),) = rows(database_url, "SELECT reject_id FROM reject")
    declared = catalogue([Metric("phlogiston", "g", 0, 10), Metric("aether", "g", 0, 10)])
    with fleet.connect(database_url, "test") as connection:
        assert retry(connection, reject_id, declared, Limits()) == 2
    assert rows(database_url, "SELECT value FROM reading ORDER BY 1") == [(1.0,), (7.0,), (8.0,)]


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0500-01-01T00:00:00Z"]
)
def test_an_envelope_from_outside_the_calendar_is_a_reject(
    store: Store, time: str, database_url: str
) -> None:
    batch = [good(1)]
    cases: list[tuple[Data, str]] = [
        (Abandoned("9", [(50, 60)], "full"), "events"),
        (readings(1.0, metric="phlogiston"), "readings"),
    ]
    for seq, (data, kind) in enumerate(cases, 1):
        envelope = json.loads(encode_packet(BOX, 9, seq, AT, data))
        batch.append(decoded(json.dumps(envelope | {"time": time}).encode(), kind))
    assert store.commit(batch).rejects == {"wrong_shape": 2}
    assert rows(database_url, "SELECT count(*)::int FROM reading") == [(1,)]


def test_a_decoder_that_knows_the_names_holds_the_time_to_its_bounds_as_well() -> None:
    decoder = Decoder()
    payload = encode_packet(BOX, 9, 1, AT, readings(1.0))
    decoder.decode(RawMessage(BOX.up("readings"), payload, False, AT, len(payload)))
    for time in ("0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59"):
        wild = json.dumps(json.loads(payload) | {"time": time}).encode()
        item = decoder.decode(RawMessage(BOX.up("readings"), wild, False, AT, len(wild)))
        assert isinstance(item, Rejected), time


def stumble(monkeypatch: pytest.MonkeyPatch, error: Exception, over: Callable[[Any], bool]) -> None:
    """Let the transaction meet a fault of its own in some packets."""
    take = transaction.Transaction._take

    def stumbling(self: transaction.Transaction, device: Any, item: Any) -> None:
        if not isinstance(item, Rejected) and over(item):
            raise error
        take(self, device, item)

    monkeypatch.setattr(transaction.Transaction, "_take", stumbling)


@pytest.mark.parametrize(
    "error", [ValueError("v"), OverflowError("o"), ZeroDivisionError("z"), TypeError("t"), KeyError("k")]
)
def test_a_packet_that_our_own_code_stumbles_over_is_kept_and_its_neighbours_go_in(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    stumble(monkeypatch, error, lambda item: item.seq == 3)
    batch = [good(seq) for seq in range(1, 7)]
    result = store.commit(batch)
    assert (result.packets, result.rejects) == (5, {"store_refused": 1})
    assert rows(database_url, "SELECT reason, seq FROM reject") == [("store_refused", 3)]
    assert rows(database_url, "SELECT committed, missing FROM device_packets") == [(6, 0)]


def test_one_device_with_nothing_but_poison_never_ends_the_gateway(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stumble(monkeypatch, OverflowError("poison"), lambda item: item.address == BOX)
    for seq in range(1, 10):
        assert store.commit([good(seq, BOX)]).rejects == {"store_refused": 1}
    assert store.commit([good(seq, BOX) for seq in range(100, 130)]).rejects == {"store_refused": 30}
    assert store.commit([good(1)]).packets == 1


def test_a_fault_that_hits_every_packet_ends_the_gateway_instead_of_rejecting_the_district(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stumble(monkeypatch, TypeError("a bug"), lambda _item: True)
    with pytest.raises(TypeError, match="a bug"):
        store.commit([good(seq, address) for seq in range(1, 20) for address in (BOX, OTHER)])
    assert rows(database_url, "SELECT count(*)::int FROM reject") == [(0,)], "the boxes keep them all"


def test_a_fault_in_small_batches_ends_the_gateway_after_some(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stumble(monkeypatch, TypeError("a bug"), lambda _item: True)
    store.commit([good(1, BOX)])
    store.commit([good(1, OTHER)])
    with pytest.raises(TypeError, match="a bug"):
        store.commit([good(2, BOX)])


def _observation(phase: Any) -> Observation:
    evidence = Evidence("a" * 64, "image/jpeg", 5, AT, 10, 10)
    return Observation(
        observation_id=str(uuid.UUID(int=1)),
        phase=phase,
        revision=0,
        category="smoke.alarm",
        source="rule:smoke",
        sensor="s1",
        started_at=AT,
        at=AT,
        severity=3,
        ended_at=AT,
        value=1.5,
        unit="dB/m",
        evidence=[evidence],
        detail={"note": "ok", "level": 1, "share": 0.5},
    )


VALID: list[tuple[str, dict[str, Any]]] = [
    (kind, json.loads(payload))
    for kind, payload in (
        ("readings", encode_packet(BOX, 9, 1, AT, readings(20.0, 20.5))),
        ("readings", encode_packet(BOX, 9, 1, AT, readings(20.0, 20.5, metric="phlogiston"))),
        ("events", encode_packet(BOX, 9, 1, AT, Events([_observation("start"), _observation("end")]))),
        ("events", encode_packet(BOX, 9, 1, AT, Abandoned("9", [(2, 30)], "disk full"))),
        ("status", encode_status(BOX, AT, Status("online", AT, "0.1", "9", {"frames": 1, "mode": "day"}))),
    )
]
TIMES = st.sampled_from(
    ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1970-01-01T00:00:00Z", "6429-10-17T02:45:55Z"]
) | st.datetimes(timezones=st.just(None)).map(lambda at: at.isoformat() + "Z")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.sampled_from(
        [2**31 - 1, 2**31, 2**47 - 1, 2**47, 2**53 + 1, 2**62 - 1, 2**63, 2**64, 10**400, -(2**63)]
    ),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=6),
    st.sampled_from(
        ["\x00", "\ud800", "s1\n", "\u202e", "😀" * 3, "\\", '"', "{", "%s", "ff", "9-1", "offline"]
    ),
    TIMES,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a JSON value something can be changed."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, inner in items for found in places(inner, (*path, key))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A JSON value with one place changed."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


@st.composite
def mutants(draw: st.DrawFn) -> tuple[str, bytes]:
    """A valid message with some values replaced."""
    kind, envelope = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(envelope)))
        envelope = changed(envelope, path, draw(VALUES))
        if not isinstance(envelope.get("data"), dict):
            break
    return kind, json.dumps(envelope).encode("utf-8", "surrogatepass")


def test_whatever_is_changed_in_a_valid_message_it_is_stored_or_kept_and_ends_nothing(
    store: Store, database_url: str
) -> None:
    known = [decoded(encode_packet(BOX, 3, 1, AT, readings(1.0)))]
    store.commit(known)
    seq = iter(range(1, 10**6))

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(mutants(), min_size=1, max_size=6))
    def commits(messages: list[tuple[str, bytes]]) -> None:
        batch = [decoded(payload, kind) for kind, payload in messages]
        neighbour = good(next(seq))
        result = store.commit([*batch, neighbour])
        assert result.rejects["store_refused"] == result.rejects["database_refused"] == 0, result.rejects

    commits()
    assert rows(
        database_url,
        "SELECT missing = 0 AND committed > 100 FROM device_packets p JOIN device USING"
        " (device_id) WHERE name = 'box-1'",
    ) == [(True,)]
